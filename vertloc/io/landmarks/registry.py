"""Landmark file of any format <-> Centroids; the only place that knows which suffix means what.

A format is one module and one line of `FORMATS`: the suffixes it takes, the coordinates its files hold, how it reads
and how it writes. Everything else asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.lml import read_lml, write_lml
from vertloc.io.small_files import read_beginning

Coordinates = Literal["local", "world", "index"]
"""What numbers in a file mean: index times spacing, LPS mm of the patient, or continuous voxel index."""

Read = Callable[[Path, Grid | None], Centroids]
Write = Callable[[Path, Centroids], None]


@dataclass(frozen=True)
class LandmarkFormat:
    """A kind of landmark file.

    suffixes : lower case; the first one is written
    coordinates : of the files where they do not say it themselves; "index" cannot be read without the image's grid
    read, write : None where the format is only written or only read
    recognizes : tells by the first KB whether a file is one of landmarks, where the suffix leaves that open
    """

    name: str
    suffixes: tuple[str, ...]
    coordinates: Coordinates
    read: Read | None
    write: Write | None
    recognizes: Callable[[bytes], bool] | None = None


FORMATS: tuple[LandmarkFormat, ...] = (
    LandmarkFormat("lml", (".lml",), "local", lambda path, _: read_lml(path), write_lml),
)
"""In order of preference, where a scan has several."""


def _match(path: Path) -> tuple[LandmarkFormat, str] | None:
    """Find the format with the longest suffix that a name ends in; a name that is all suffix has none."""
    name = path.name.lower()
    ends = [
        (entry, suffix) for entry in FORMATS for suffix in entry.suffixes if name.endswith(suffix) and name != suffix
    ]
    return max(ends, key=lambda end: len(end[1]), default=None)


def is_landmark_path(path: Path) -> bool:
    """Tell whether the name of a file, in any case, ends as that of a landmark file."""
    return _match(path) is not None


def is_landmark_file(path: Path) -> bool:
    """Tell landmark files by their name and, where other files share the suffix, by their beginning."""
    match = _match(path)
    if match is None or match[0].recognizes is None:
        return match is not None
    try:
        return match[0].recognizes(read_beginning(path, LandmarkError))
    except LandmarkError:
        return False


def landmark_scan_name(path: Path) -> str:
    """Return the scan a landmark file is named after: its name without the format's suffix, if it has one."""
    match = _match(path)
    return path.name[: -len(match[1])] if match else path.name


def landmark_format(path: Path) -> LandmarkFormat:
    """Return the format of a file by its name. Raises LandmarkError for an unknown suffix."""
    match = _match(path)
    if match is None:
        known = ", ".join(suffix for entry in FORMATS for suffix in entry.suffixes)
        raise LandmarkError(f"{path}: expected a landmark file ending in {known}")
    return match[0]


def preferred_landmarks(paths: Iterable[Path]) -> Path | None:
    """Choose among landmark files of one scan: the format that stands first in `FORMATS`; None of none."""
    return min(sorted(paths), key=lambda path: FORMATS.index(landmark_format(path)), default=None)


def read_centroids(path: str | Path, grid: Grid | None = None) -> Centroids:
    """Read the centroids of a landmark file, in the frame that the file holds.

    grid : the stored grid of the image; formats that count voxels cannot do without
    Raises LandmarkError, naming file and line, for whatever is no such file, or for a missing grid.
    """
    path = Path(path)
    known = landmark_format(path)
    if known.read is None:
        raise LandmarkError(f"{path}: files of format {known.name} are written, but not read")
    if known.coordinates == "index" and grid is None:
        raise LandmarkError(f"{path}: its points are voxel indices, which mean nothing without their image")
    return known.read(path, grid)
