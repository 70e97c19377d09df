r"""Fold file -> the scans it names, each with its line.

One scan a line: `2804506`, `2804506.nii.gz`, `patient0001/2804506`, `patient0001\2804506\2804506.mhd`, `s0001/ct`; or a
patient, `sub-verse004`, for all scans of that patient. Blank lines, what follows a `#`, a byte order mark, and LF or
CRLF do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vertloc.cohorts.naming import base_name
from vertloc.errors import CohortError
from vertloc.io.small_files import read_small_text


@dataclass(frozen=True)
class FoldLine:
    """A scan named by a fold file.

    scan : its name, without folders and suffix; path : with the folders that the line gives; where : `file:line`
    """

    scan: str
    where: str
    path: str = field(default="", compare=False)


def read_fold_file(path: Path) -> tuple[FoldLine, ...]:
    """Read the scans of a fold file in its order, repeated ones too; none if it names none.

    Raises CohortError for a file that is missing, no text, or larger than 1 MB.
    """
    text = read_small_text(path, CohortError)
    lines = (_line(line, f"{path}:{number}") for number, line in enumerate(text.splitlines(), start=1))
    return tuple(line for line in lines if line.scan)


def _line(line: str, where: str) -> FoldLine:
    entry = line.partition("#")[0].replace("\\", "/").strip().strip("/")
    folders, slash, name = (part.strip() for part in entry.rpartition("/"))
    scan = name[:-4] if name.lower().endswith(".raw") else base_name(Path(name)) if name else ""
    return FoldLine(scan, where, f"{folders}{slash}{scan}")
