r"""Fold file -> the scans it names, each with its line.

One scan a line: `2804506`, `2804506.nii.gz`, `patient0001/2804506`, `patient0001\2804506\2804506.mhd`. Blank lines,
what follows a `#`, a byte order mark, and LF or CRLF do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vertloc.errors import CohortError
from vertloc.io.images import scan_name
from vertloc.io.landmarks.registry import landmark_scan_name
from vertloc.io.small_files import read_small_text


@dataclass(frozen=True)
class FoldLine:
    """A scan named by a fold file; `where` is `file:line`."""

    scan: str
    where: str


def read_fold_file(path: Path) -> tuple[FoldLine, ...]:
    """Read the scans of a fold file in its order, repeated ones too; none if it names none.

    Raises CohortError for a file that is missing, no text, or larger than 1 MB.
    """
    text = read_small_text(path, CohortError)
    scans = ((number, _scan(line)) for number, line in enumerate(text.splitlines(), start=1))
    return tuple(FoldLine(scan, f"{path}:{number}") for number, scan in scans if scan)


def _scan(line: str) -> str:
    entry = line.partition("#")[0].replace("\\", "/").strip().strip("/")
    name = entry.rpartition("/")[2].strip()
    if name.lower().endswith(".raw"):
        return name[:-4]
    return scan_name(Path(landmark_scan_name(Path(name)))) if name else ""
