"""Data folder -> the files of every scan in it, whichever release's layout it has.

The database came as `patient0001/2804506/2804506.{mhd,raw,lml}`, later as
`spine-1/patient0001/2804506/2804506.{nii.gz,lml}` and, for the test scans, flat as
`spine-test-data/2804506.{nii.gz,lml}`. All that is relied on: the file name is the scan, and an annotation lies beside
its image under the same name.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from vertloc.errors import CohortError
from vertloc.io.images import is_image_path, scan_name
from vertloc.io.landmarks.registry import is_landmark_path, landmark_scan_name, landmarks_beside

_PATIENT = re.compile(r"patient[-_ ]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class ScanFiles:
    """Everything found under one scan identifier; more than one image means that it is there twice.

    images, landmarks : paths, sorted
    """

    scan: str
    images: tuple[Path, ...]
    landmarks: tuple[Path, ...]

    def annotation(self) -> Path | None:
        """Return the landmark file beside the first image, if there is one."""
        return landmarks_beside(self.images[0], self.scan, self.landmarks) if self.images else None


def find_scans(data: Path) -> dict[str, ScanFiles]:
    """Find images and landmark files below a folder, through links too; names starting with a dot are passed over.

    returns : by scan, sorted; a scan may have landmarks and no image
    Raises CohortError if `data` is not a folder.
    """
    if not data.is_dir():
        raise CohortError(f"{data}: expected a data folder, got {'a file' if data.exists() else 'nothing there'}")
    images: dict[str, list[Path]] = defaultdict(list)
    landmarks: dict[str, list[Path]] = defaultdict(list)
    for path in files_below(data):
        if is_image_path(path):
            images[scan_name(path)].append(path)
        elif is_landmark_path(path):
            landmarks[landmark_scan_name(path)].append(path)
    return {
        scan: ScanFiles(scan, tuple(sorted(images[scan])), tuple(sorted(landmarks[scan])))
        for scan in sorted({*images, *landmarks})
    }


def patient_of(image: Path) -> str:
    """Return the patient of a scan: the nearest folder above it named `patientNNNN`, else the scan itself.

    Without such a folder nothing tells which scans share a patient, and each is taken as a patient of its own.
    """
    for folder in image.parents:
        if _PATIENT.fullmatch(folder.name):
            return folder.name
    return scan_name(image)


def files_below(folder: Path) -> list[Path]:
    """List the files below a folder, through links too; names starting with a dot are passed over."""
    found: list[Path] = []
    visited: set[str] = set()
    for below, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(below)
        if real in visited:  # a link back up, or a second way to the same folder
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [Path(below) / name for name in names if not name.startswith(".")]
    return found
