"""Arguments that several commands share, and the types of arguments; imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

EXIT_CODES = """\
exit codes:
  0    all well
  1    some scans failed; the others are done
  2    nothing could be done: wrong arguments, configuration, model or data
  130  stopped by Ctrl-C; 143 by a signal to terminate"""

Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands,  # type: ignore[valid-type]
    name: str,
    summary: str,
    description: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command whose help ends with an example and the exit codes."""
    parser: argparse.ArgumentParser = commands.add_parser(  # type: ignore[attr-defined]
        name,
        help=summary,
        description=description,
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=_Formatter,
    )
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps descriptions, but leaves the examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example:"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def add_data(parser: argparse.ArgumentParser, required: bool, folds: bool = True) -> None:
    """Add --data and, unless the command has its own, --folds.

    required : where it is not, scans may be named behind it, and it takes one folder at a time
    """
    how = {"action": "extend", "nargs": "+"} if required else {"action": "append"}
    what = "folders, searched for scans" if required else "a folder, searched for scans"
    parser.add_argument(
        "--data",
        type=Path,
        required=required,
        metavar="DIR",
        help=f"{what}; may be given several times",
        **how,
    )
    if folds:
        parser.add_argument(
            "--folds",
            type=Path,
            nargs="+",
            default=[],
            metavar="FILE",
            help="only the scans that these text files name, one a line",
        )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add --config."""
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="settings; what the file leaves out is as in configs/default.yaml"
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add --cache."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep preprocessed scans in this folder, about 2 MB each; the next training reads them from there",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add --seed."""
    parser.add_argument("--seed", type=not_negative, default=0, metavar="N", help="seed of all randomness (default 0)")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add --dask."""
    parser.add_argument(
        "--dask",
        default="",
        metavar="ADDRESS",
        help="let the workers of the Dask scheduler at this address do the work, such as tcp://head:8786; all machines"
        " must see the same files",
    )


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add --n-jobs, --quiet and --verbose."""
    parser.add_argument(
        "--n-jobs",
        type=jobs,
        default=-1,
        metavar="N",
        help="threads to use, at most the cores this process may use (-1, the default: all of them; -2: all but one);"
        " the results do not depend on it",
    )
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("--quiet", action="store_true", help="print nothing but errors")
    volume.add_argument("--verbose", action="store_true", help="also tell what is going on and how long it takes")


def part(text: str) -> tuple[int, int]:
    """Read `I/N`, as --part takes it."""
    first, _, second = text.partition("/")
    try:
        found = int(first), int(second)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, such as 3/20, got {text!r}")
    return found


def jobs(text: str) -> int:
    """Read a number of threads: any whole number but 0."""
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from error
    if value == 0:
        raise argparse.ArgumentTypeError("expected a whole number of at least 1, or -1 for all cores, got 0")
    return value


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    value = not_negative(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value


def not_negative(text: str) -> int:
    """Read a whole number of at least 0."""
    try:
        value = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from error
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return value
