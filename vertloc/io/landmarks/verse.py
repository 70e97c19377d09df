"""VerSe's `*_ctd.json` <-> Landmarks: continuous voxel indices along the stored array's axes.

`[{"direction": ["P", "I", "R"]}, {"label": 16, "X": 79.1, "Y": 40.9, "Z": 32.3}, ...]`: X, Y, Z count voxels along axes
0, 1, 2 of the NIfTI array (x, y, z here), from 0 at the centre of the first voxel. Some writers count from 1, and
nothing in the file says so. A mask beside it does: body centres lie half-way between left and right. Which was taken is
logged. Challenge files of 2019 and 2020 have no `direction`, and contradict each other: they are refused.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError, VertlocError
from vertloc.geometry import Grid
from vertloc.io.images import read_image
from vertloc.io.landmarks.json_files import coordinate, format_json, member, read_json, short
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks, grid_of
from vertloc.vertebrae import NAME_OF_VERSE, VERSE_NUMBER

logger = logging.getLogger(__name__)

_MASK_ENDS = ("_seg-vert_msk.nii.gz", "_seg.nii.gz", "_msk.nii.gz")
_AXIS_NAMES = (("L", "R"), ("P", "A"), ("S", "I"))
_NEVER = "expected a list that begins with {'direction': [...]}, as in VerSe's restructured files"


def axis_codes(grid: Grid) -> tuple[str, str, str]:
    """Name the direction that each array axis x, y, z of the grid runs in, as nibabel does: L or R, P or A, S or I."""
    matrix = grid.direction_matrix
    permutation, _ = grid.nearest_axes()
    codes = ["", "", ""]
    for world, array_axis in zip((2, 1, 0), permutation, strict=True):
        column = 2 - array_axis
        codes[column] = _AXIS_NAMES[world][0 if matrix[world, column] > 0 else 1]
    return codes[0], codes[1], codes[2]


def is_verse_json(document: object) -> bool:
    """Tell VerSe's layout from other JSON."""
    return (
        isinstance(document, list)
        and bool(document)
        and any(isinstance(entry, dict) and {"X", "Y", "Z", "label"} <= set(entry) for entry in document)
    )


def read_verse(path: Path, grid: Grid | None = None) -> Landmarks:
    """Read the centroids, local frame of the image whose stored grid is `grid`; NaN points and coccyx are skipped.

    Raises LandmarkError for other files, for a missing grid or one of another direction, and points without meaning.
    """
    document = read_json(path)
    if not isinstance(document, list) or not document:
        raise LandmarkError(f"{path}: {_NEVER}, got {short(document)}")
    if not isinstance(document[0], dict) or "direction" not in document[0]:
        raise LandmarkError(f"{path}: {_NEVER}; files of the 2019 and 2020 challenges contradict each other")
    if grid is None:
        raise LandmarkError(
            f"{path}: its points are voxel indices, which mean nothing without their image;"
            " convert and relabel take it as --image SCAN"
        )
    stored, image = _direction(path, document[0]), list(axis_codes(grid))
    if stored != image:
        raise LandmarkError(f"{path}: its axes run {stored}, those of the image {image}: it belongs to another image")
    index = _indices(path, document[1:])
    index = {name: place - _first_index(path, index) for name, place in index.items()}
    spacing = np.array(grid.spacing_mm)
    return Landmarks(Centroids.from_points({name: place * spacing for name, place in index.items()}, "local"))


def format_verse(landmarks: Landmarks, image: ImageReference) -> bytes:
    """Return the bytes of a file; S1 and S2 have the numbers of TPTBox, 26 and 29."""
    grid = grid_of(image)
    local = landmarks.centroids.to_local(grid)
    index = local.points_mm / np.array(grid.spacing_mm)
    entries: list[dict[str, Any]] = [{"direction": list(axis_codes(grid))}]
    for label, (x, y, z) in zip(local.labels, index, strict=True):
        entries.append({"label": VERSE_NUMBER[label], "X": round(x, 5), "Y": round(y, 5), "Z": round(z, 5)})
    return format_json(entries)


def _direction(path: Path, entry: dict[str, Any]) -> list[str]:
    direction = member(f"{path}: [0]", entry, "direction", list)
    if len(direction) != 3 or not all(isinstance(code, str) for code in direction):
        raise LandmarkError(f"{path}: expected three directions, got {short(direction)}")
    return [code.upper() for code in direction]


def _indices(path: Path, entries: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    found: dict[str, np.ndarray[Any, Any]] = {}
    for i, entry in enumerate(entries, start=1):
        where = f"{path}: [{i}]"
        label = member(where, entry, "label", (int, float))
        values = [entry.get(axis) for axis in "XYZ"]
        if any(isinstance(value, float) and math.isnan(value) for value in values):
            continue
        name = NAME_OF_VERSE.get(label)  # 8.0 is found as 8, and what no float can hold is not
        if name is None:
            if label in (0, 27, *range(30, 256)):  # coccyx and parts that are no vertebra of ours
                continue
            raise LandmarkError(f"{where}: expected a label of VerSe, 1 to 29, got {short(label)}")
        if name in found:
            raise LandmarkError(f"{where}: expected each vertebra once, got {name} again")
        found[name] = np.array([coordinate(where, value) for value in values])
    return found


def _first_index(path: Path, index: dict[str, np.ndarray[Any, Any]]) -> float:
    """Find whether the file counts from 0 or 1, by the mask beside it; 0 if there is none that tells."""
    mask = _mask_beside(path)
    if mask is None or not index:
        return 0.0
    try:
        volume = read_image(mask)
    except VertlocError as error:
        logger.warning("%s: voxels are taken to count from 0; the mask beside it does not help: %s", path, error)
        return 0.0
    shifts = _shifts(volume.voxels, volume.grid, index)
    if not shifts:
        return 0.0
    # A vertebra is as wide to the left as to the right; single ones are not, and the median of many is steadier.
    shift = float(np.median(shifts))
    first = 1.0 if shift > 0.5 else 0.0
    logger.info("%s: voxels count from %d: points lie %.2f voxels beside the mask's middle", path, first, shift)
    if 0.3 < shift < 0.7:
        logger.warning("%s: voxels may count from 0 or from 1, the mask does not decide; taken: %d", path, first)
    return first


def _shifts(voxels: np.ndarray[Any, Any], grid: Grid, index: dict[str, np.ndarray[Any, Any]]) -> list[float]:
    """Measure, by vertebra, how far its point lies beyond the middle of its mask along the left-right axis, voxels."""
    across = next(i for i, code in enumerate(axis_codes(grid)) if code in "LR")
    shifts = []
    for name, place in index.items():
        inside = np.nonzero(voxels == VERSE_NUMBER[name])
        if len(inside[0]):
            shifts.append(float(place[across] - inside[2 - across].mean()))
    return shifts


def _mask_beside(path: Path) -> Path | None:
    stem = path.name.removesuffix(".json").removesuffix("_ctd").removesuffix("_seg-subreg").removesuffix("_seg-vb")
    return next((p for end in _MASK_ENDS if (p := path.with_name(stem + end)).is_file()), None)
