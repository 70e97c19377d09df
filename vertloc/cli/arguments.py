"""The arguments of all commands; imports nothing heavy, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import vertloc
from vertloc.cli.landmark_arguments import FORMAT_HELP, add_landmark_commands, format_names
from vertloc.cli.shared_arguments import (
    EXIT_CODES,
    Commands,
    add_cache,
    add_cluster,
    add_command,
    add_config,
    add_data,
    add_running,
    add_seed,
    not_negative,
    part,
    positive,
)

_DESCRIPTION = """\
Find and name the vertebrae in spine CT scans with random forests.

`vertloc predict` needs a scan and nothing else: a model comes with the package. A full experiment on annotated scans
takes one command, `vertloc study`. Step by step it is `train` on one fold file (a text file that names scans),
`predict` on the other, and `evaluate`. No data at hand? `vertloc phantom` makes a synthetic cohort."""

_EXAMPLE = """\
example:
  vertloc predict scan.nii.gz --out results
  vertloc phantom --out cohort --patients 16 --seed 1 --coarse
  vertloc study --data cohort --folds cohort/fold1.txt cohort/fold2.txt --config configs/default.yaml --out study

`vertloc COMMAND --help` tells more about a command."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the `vertloc` command."""
    parser = argparse.ArgumentParser(
        "vertloc",
        description=_DESCRIPTION,
        epilog=f"{_EXAMPLE}\n\n{EXIT_CODES}",
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
    add_landmark_commands(partial(add_command, commands))
    return parser


def _add_train(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = add_command(
        commands,
        "train",
        "learn a model from annotated scans",
        "Learn a model from the annotated scans that the fold files name, or from all scans below DIR. An annotation is"
        " a file of points beside its image and named after it, such as <scan>.lml.",
        "vertloc train --data spine-db --folds fold2-miccai2013.txt --config configs/default.yaml --out model-2.npz",
    )
    add_data(parser, required=True)
    add_config(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL.npz", help="the model file to write")
    add_cache(parser)
    add_seed(parser)
    add_cluster(parser)
    add_running(parser)


def _add_predict(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = add_command(
        commands,
        "predict",
        "find the vertebrae of scans",
        "Find the vertebrae of scans and write one <scan>.lml each, and run.json: what ran, how every scan went, and"
        " the confidence of every vertebra found. Scans are image files, folders that are searched for images, or what"
        " fold files name.",
        "vertloc predict --model model-2.npz --out results --data spine-db --folds fold1-miccai2013.txt\n"
        "  vertloc predict --out results scan1.nii.gz more-scans/\n"
        "  vertloc predict --out results --list scans.txt --part 3/20 --resume --preview",
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="image files, folders of images or of DICOM files, zips of DICOM files, or patterns such as **/ct.*",
    )
    parser.add_argument(
        "--series",
        metavar="NUMBER|UID",
        help="the DICOM series to take, by number or UID (default: in every folder the largest CT series of each"
        " study)",
    )
    parser.add_argument(
        "--keep-names",
        action="store_true",
        help="begin the names of results of DICOM series with the patient's name, which is left out otherwise",
    )
    parser.add_argument(
        "--list",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a text file with one INPUT a line, relative to the folder of that file; - reads the standard input",
    )
    parser.add_argument(
        "--part",
        type=part,
        metavar="I/N",
        help="only part I of N of the scans, for job arrays; run.json is then run-I-of-N.json",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="MODEL",
        help="a model that `train` wrote, or the name of a packaged one (default: the packaged ct-spine)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add_data(parser, required=False)
    parser.add_argument("--format", type=format_names, default=("lml",), metavar="NAME,NAME...", help=FORMAT_HELP)
    parser.add_argument(
        "--known",
        action="append",
        default=[],
        metavar="LEVEL=X,Y,Z",
        help="a level that you know, in mm of --frame, such as T12=41.5,60,120; the others follow it. Or a landmark"
        " file with some points, or a folder with such files for several scans. May be given several times",
    )
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
        help="settings: a file with a section 'prediction'; what it leaves out stays as stored in the model",
    )
    parser.add_argument("--preview", action="store_true", help="also write a picture per scan, <scan>.png")
    parser.add_argument("--report", action="store_true", help="also write report.html to look through the results")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="leave out scans that are finished already, with the same model, frame, settings and image",
    )
    add_cluster(parser)
    add_running(parser)


def _add_evaluate(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = add_command(
        commands,
        "evaluate",
        "score results against annotations",
        "Print identification rates and localization errors by region. A vertebra is identified if the point with its"
        " label lies within 20 mm of it and no other annotated vertebra is nearer.",
        "vertloc evaluate --truth spine-db --pred results --folds fold1-miccai2013.txt --json scores.json",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder, searched for annotations: <scan>.lml or another landmark file",
    )
    parser.add_argument(
        "--pred", type=Path, required=True, metavar="DIR", help="folder with the results to score, <scan>.lml"
    )
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
    parser = add_command(
        commands,
        "study",
        "cross-validation: train, predict and score, every fold with a model of the others",
        "Test each fold with a model trained on all others, and write into DIR: lml/<scan>.lml, table.md, scores.json,"
        " scores.csv, report.html to look through every scan, the models, and run-*.json with the confidence of every"
        " vertebra found. A fold is a text file that names scans, one a line; `vertloc folds` writes them.",
        "vertloc study --data spine-db --folds fold1-miccai2013.txt fold2-miccai2013.txt --out study",
    )
    add_data(parser, required=True, folds=False)
    parser.add_argument("--folds", type=Path, required=True, nargs="+", metavar="FILE", help="two fold files or more")
    add_config(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--resume", action="store_true", help="use what an earlier run finished with the same data, settings and seed"
    )
    add_cache(parser)
    parser.add_argument("--no-report", action="store_true", help="leave out report.html")
    add_seed(parser)
    add_cluster(parser)
    add_running(parser)


def _add_report(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = add_command(
        commands,
        "report",
        "make a page to look through results, the worst first",
        "Write report.html into a folder of results: an overview and, for each scan, curved views of the spine with the"
        " names found, levels with their confidence, and a slice viewer. It opens from the disk without a network. What"
        " a scan needs lies in report/ beside it, less than 1 MB each, and is loaded when the scan is opened. Ratings"
        " made on the page are saved as a file for `vertloc relabel`.",
        "vertloc report results --truth spine-db",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder with the results of predict or study")
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="DIR",
        help="folder, searched for annotations to score the results against (default: a study's own data)",
    )
    parser.add_argument(
        "--single-file",
        action="store_true",
        help="put everything into report.html, to send it; for some dozens of scans",
    )
    add_running(parser)


def _add_plot(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = add_command(
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
        help="a scan (posterior, candidates), a folder of results (errors), or several studies (learning)",
    )
    parser.add_argument("--model", type=Path, metavar="MODEL", help="whose work is drawn (default: the packaged model)")
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="DIR",
        help="folder, searched for annotations, for errors (default: a study's own data)",
    )
    parser.add_argument(
        "--tree", type=not_negative, default=0, metavar="N", help="which tree, counted from 0 (default 0)"
    )
    parser.add_argument("--depth", type=positive, default=3, metavar="N", help="levels of the tree (default 3)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .png, .svg or .pdf")
    add_running(parser)


def _add_phantom(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = add_command(
        commands,
        "phantom",
        "make a synthetic cohort, laid out as the Microsoft database",
        "Write a synthetic cohort: CT scans of random spines with the centres of their vertebrae, and two fold files"
        " that share no patient.",
        "vertloc phantom --out phantoms --patients 24 --seed 1",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the cohort")
    parser.add_argument("--patients", type=positive, required=True, metavar="N", help="number of patients")
    parser.add_argument(
        "--coarse", action="store_true", help="thick slices and large voxels: ten times smaller and faster, for a demo"
    )
    add_seed(parser)
    add_running(parser)


def _add_info(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = add_command(
        commands,
        "info",
        "tell what is in a model file",
        "Check a model file and print what it learnt from, what it is made of, and its settings.",
        "vertloc info model-2.npz",
    )
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="MODEL",
        help="a model that `train` wrote, or the name of a packaged one (default: the packaged ct-spine)",
    )
