"""Inputs of the command line and lists in text files -> paths; patterns become the files they match."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from vertloc.cohorts.case import Case
from vertloc.errors import CohortError

_MOST_BYTES = 100 << 20


def expand_inputs(inputs: Sequence[Path], lists: Sequence[Path] = ()) -> list[Path]:
    """Return all paths that are meant, in order: `inputs`, then the lines of each list.

    inputs : files, folders, or patterns with `*`, `?`, `[...]` and, for any folders, `**`; what exists is no pattern
    lists : text files with one of these a line, relative to the list's folder; "-" is the standard input, relative to
        the working folder; blank lines and lines that begin with `#` do not count
    Raises CohortError, listing all problems, for lists that cannot be read and patterns that match nothing.
    """
    problems: list[str] = []
    paths = _expanded(inputs, "", problems)
    for path in lists:
        paths += _expanded(_read_list(path, problems), f"{path}: ", problems)
    if problems:
        raise CohortError("\n".join(problems))
    return paths


def part_of(cases: Sequence[Case], part: int, n_parts: int) -> list[Case]:
    """Return part `part`, from 1, of `n_parts`: every n-th case in the order of their names.

    The parts have no case in common, together they have all, and they do not depend on the order of the inputs.
    """
    return sorted(cases, key=lambda case: case.scan)[part - 1 :: n_parts]


def _expanded(entries: Iterable[Path], where: str, problems: list[str]) -> list[Path]:
    paths: list[Path] = []
    for entry in entries:
        if not glob.has_magic(str(entry)) or entry.exists():
            paths.append(entry)
            continue
        found = [Path(name) for name in sorted(glob.glob(str(entry), recursive=True))]  # noqa: PTH207 - absolute ones
        if not found:
            problems.append(f"{where}{entry}: no file matches this pattern")
        paths += found
    return paths


def _read_list(path: Path, problems: list[str]) -> list[Path]:
    is_standard = str(path) == "-"
    try:
        if is_standard:
            data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror or error}")
        return []
    if len(data) > _MOST_BYTES or b"\0" in data:
        problems.append(f"{path}: expected a text file with one path a line, got binary data")
        return []
    # Names of files are bytes; what is not in the system's encoding passes through as it is.
    lines = (os.fsdecode(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").splitlines())
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        problems.append(f"{path}: expected one path a line, got none")
    folder = Path() if is_standard else path.parent
    return [folder / entry for entry in entries]
