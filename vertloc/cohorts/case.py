"""Case and Cohort: which files belong to which scan of which patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """A scan with its files.

    scan : identifier, unique in a cohort: the file name without suffix
    patient : whoever shares it must not be split between training and test
    landmarks_path : its annotation, in any format of `io.landmarks`, if there is one
    """

    scan: str
    patient: str
    image_path: Path
    landmarks_path: Path | None = None


@dataclass(frozen=True)
class Cohort:
    """Scans that are trained or tested on together.

    name : of the fold file, or of the folder
    root : the data folder
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
