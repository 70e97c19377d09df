"""The arguments of all commands; imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path

import vertloc

_DESCRIPTION = """\
Find and name the vertebrae in spine CT scans with random forests.

A full experiment on annotated scans takes one command, `vertloc study`. Step by step it is `train` on one fold file,
`predict` on the other, and `evaluate`. No data at hand? `vertloc phantom` makes a synthetic cohort."""

_EXAMPLE = """\
example:
  vertloc phantom --out cohort --patients 16 --seed 1 --coarse
  vertloc study --data cohort --folds cohort/fold1.txt cohort/fold2.txt --config configs/default.yaml --out study

`vertloc COMMAND --help` tells more about a command."""

_EXIT_CODES = """\
exit codes:
  0    all well
  1    some scans failed; the others are done
  2    nothing could be done: wrong arguments, configuration, model or data
  130  stopped by Ctrl-C; 143 by a signal to terminate"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the `vertloc` command."""
    parser = argparse.ArgumentParser(
        "vertloc",
        description=_DESCRIPTION,
        epilog=f"{_EXAMPLE}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"vertloc {vertloc.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_study(commands)
    _add_report(commands)
    _add_plot(commands)
    _add_phantom(commands)
    _add_info(commands)
    return parser


Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_train(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "train",
        "learn a model from annotated scans",
        "Learn a model from the annotated scans that the fold files name, or from all scans below DIR. An annotation is"
        " <scan>.lml beside its image.",
        "vertloc train --data spine-db --folds fold2-miccai2013.txt --config configs/default.yaml --out model-2.npz",
    )
    _add_data(parser, required=True)
    _add_config(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL.npz", help="the model file to write")
    _add_cache(parser)
    _add_seed(parser)
    _add_running(parser)


def _add_predict(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "predict",
        "find the vertebrae of scans",
        "Find the vertebrae of scans and write one <scan>.lml each, and run.json: what ran, how every scan went, and"
        " the confidence of every vertebra found. Scans are image files, folders that are searched for images, or what"
        " fold files name.",
        "vertloc predict --model model-2.npz --out results --data spine-db --folds fold1-miccai2013.txt\n"
        "  vertloc predict --model model-2.npz --out results scan1.nii.gz more-scans/",
    )
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="image files or folders of images")
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL.npz", help="a model that `train` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    _add_data(parser, required=False)
    parser.add_argument(
        "--frame",
        choices=("local", "world"),
        default="local",
        help="frame of the points in the .lml files: index times spacing as in the database (local, the default), or"
        " LPS mm with origin and direction (world)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="YAML",
        help="a file with a section 'prediction'; what it leaves out stays as stored in the model",
    )
    parser.add_argument("--preview", action="store_true", help="also write a picture per scan, <scan>.png")
    parser.add_argument("--report", action="store_true", help="also write report.html to look through the results")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave scans alone that are finished: the same model, frame, settings and image",
    )
    _add_running(parser)


def _add_evaluate(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "evaluate",
        "score results against annotations",
        "Print identification rates and localization errors by region. A vertebra is identified if the point with its"
        " label lies within 20 mm of it and no other annotated vertebra is nearer.",
        "vertloc evaluate --truth spine-db --pred results --folds fold1-miccai2013.txt --json scores.json",
    )
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="searched for annotated <scan>.lml")
    parser.add_argument("--pred", type=Path, required=True, metavar="DIR", help="holds the <scan>.lml to score")
    parser.add_argument(
        "--folds",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="score only the scans that these fold files name (default: every annotated scan; one without a result"
        " counts as missed)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the scores as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write one row per vertebra as CSV")


def _add_study(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "study",
        "two-fold cross-validation: train, predict and score in both directions",
        "Train on each fold, test on the other, and write into DIR: lml/<scan>.lml, table.md, scores.json, scores.csv,"
        " report.html to look through every scan, the two models, and run-*.json with the confidence of every vertebra"
        " found.",
        "vertloc study --data spine-db --folds fold1-miccai2013.txt fold2-miccai2013.txt --out study",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the database, searched for scans")
    parser.add_argument(
        "--folds", type=Path, required=True, nargs=2, metavar=("FOLD1", "FOLD2"), help="the two fold files"
    )
    _add_config(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    _add_cache(parser)
    parser.add_argument("--no-report", action="store_true", help="leave out report.html")
    _add_seed(parser)
    _add_running(parser)


def _add_report(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "report",
        "make a page to look through results, the worst first",
        "Write report.html into a folder of results: an overview and, for each scan, curved views of the spine with the"
        " names found, levels with their confidence, and a slice viewer. It opens from the disk without a network. What"
        " a scan needs lies in report/ beside it, less than 1 MB each, and is loaded when the scan is opened. Ratings"
        " made on the page are saved as a file for `vertloc relabel`.",
        "vertloc report results --truth spine-db",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="results of predict or study")
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="DIR",
        help="searched for annotations to score the results against (default: a study's own data)",
    )
    parser.add_argument(
        "--single-file",
        action="store_true",
        help="put everything into report.html, to send it; for some dozens of scans",
    )
    _add_running(parser)


def _add_plot(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "plot",
        "draw a figure of a model, a scan or a study",
        "Draw one figure. posterior: class probabilities along the spine of a scan. candidates: all candidates of a"
        " scan and the chain chosen among them. features: what a model's classifier looks at, by offset and box size."
        " tree: the first levels of one of its trees. errors: error and identification rate of a run, by level."
        " learning: identification rate of several studies against the number of their training scans.",
        "vertloc plot posterior scan.nii.gz --model model-2.npz --out posterior.png\n"
        "  vertloc plot tree --model model-2.npz --tree 3 --depth 3 --out tree.svg\n"
        "  vertloc plot learning study-10 study-30 study-100 --out learning.pdf",
    )
    kinds = ("posterior", "candidates", "features", "tree", "errors", "learning")
    parser.add_argument("figure", choices=kinds, help="what to draw; see above")
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="a scan (posterior, candidates), a run (errors), or several studies (learning)",
    )
    parser.add_argument("--model", type=Path, metavar="MODEL.npz", help="of a figure that shows a model's work")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="annotations, for errors (default: a study's own)")
    parser.add_argument("--tree", type=_not_negative, default=0, metavar="N", help="which tree (default 0)")
    parser.add_argument("--depth", type=_positive, default=3, metavar="N", help="levels of the tree (default 3)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .png, .svg or .pdf")
    _add_running(parser)


def _add_phantom(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "phantom",
        "make a synthetic cohort in the layout of the database",
        "Write a synthetic cohort: CT scans of random spines with their centroids, and two patient-wise fold files.",
        "vertloc phantom --out phantoms --patients 24 --seed 1",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the cohort")
    parser.add_argument("--patients", type=_positive, required=True, metavar="N", help="number of patients")
    parser.add_argument(
        "--coarse", action="store_true", help="thick slices and large voxels: ten times smaller and faster, for a demo"
    )
    _add_seed(parser)
    _add_running(parser)


def _add_info(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _add(
        commands,
        "info",
        "tell what is in a model file",
        "Check a model file and print where it comes from, its forests and its settings.",
        "vertloc info model-2.npz",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model that `train` wrote")


def _add(
    commands: Commands,  # type: ignore[valid-type]
    name: str,
    summary: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(  # type: ignore[attr-defined]
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}\n\n{_EXIT_CODES}",
        formatter_class=_Formatter,
    )
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps descriptions, but leaves the examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def _add_data(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--data", type=Path, required=required, metavar="DIR", help="the database: a folder, searched for scans"
    )
    parser.add_argument(
        "--folds", type=Path, nargs="+", default=[], metavar="FILE", help="fold files that name scans of the database"
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="settings; what it leaves out is as in configs/default.yaml"
    )


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep preprocessed scans in this folder, about 2 MB each; the next training reads them from there",
    )


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=_not_negative, default=0, metavar="N", help="seed of all randomness (default 0)")


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--n-jobs",
        type=_jobs,
        default=-1,
        metavar="N",
        help="threads to use, at most the cores this process may use (-1, the default: all of them; -2: all but one);"
        " the results do not depend on it",
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("--quiet", action="store_true", help="print nothing but errors")
    volume.add_argument("--verbose", action="store_true", help="also tell what is going on and how long it takes")


def _jobs(text: str) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from error
    if value == 0:
        raise argparse.ArgumentTypeError("expected a whole number of at least 1, or -1 for all cores, got 0")
    return value


def _positive(text: str) -> int:
    value = _not_negative(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value


def _not_negative(text: str) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from error
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return value
