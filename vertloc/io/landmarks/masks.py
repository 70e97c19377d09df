"""Masks of vertebrae -> Landmarks: the centre of each body, also where the masks are of whole vertebrae.

The centroid of a whole vertebra lies 9 to 14 mm behind the centre of its body. The body is what lies in front of the
spinal canal, and the canal is what the bone encloses in sections across the spine. Masks that enclose nothing are of
bodies alone: their centroids are taken as they are.

Numbers are VerSe's (CTSpine1K's are the same), unless an nnU-Net `dataset.json` beside the masks names them; a folder
`segmentations` of TotalSegmentator has one file a vertebra. A whole sacrum tells no S1 and is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid, Points
from vertloc.io.images import read_image
from vertloc.io.landmarks.json_files import read_json
from vertloc.io.landmarks.landmarks import Landmarks, vertebra_name
from vertloc.vertebrae import BODY_DIAMETER_MM, NAME_OF_VERSE, VERSE_NUMBER, anatomical_order

logger = logging.getLogger(__name__)

Labels = NDArray[np.uint8]
"""(z, y, x) uint8: VerSe's numbers, 0 where there is no vertebra."""

_FEWEST_VOXELS = 20
_STEP_MM = 1.0
_HALF_SECTION_MM = 64  # to the sides, and to front and back
_HALF_HEIGHT_MM = 30
_SMALLEST_CANAL_MM2 = 60.0  # the holes for the vertebral arteries are smaller
_CANAL_ASIDE_MM = 16.0
_FEWEST_SECTIONS = 3
_BODY_HALF_WIDTH = 0.72  # of the body's diameter
_DENS_SHARE = 0.55  # the part of C2 from below that is its body, not its dens


def read_masks(path: Path, _: Grid | None = None) -> Landmarks:
    """Read the body centres from an image of labels or a folder of masks, world frame.

    Raises LandmarkError for what are no masks of vertebrae, ImageError for images that cannot be read.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise LandmarkError(f"{path}: cannot be read: {error.strerror or error}") from None
    # A cohort is checked before it is trained on; masks are large.
    return Landmarks(_read(path, changed))


def body_centres(labels: Labels, grid: Grid) -> Centroids:
    """Find the centre of each labelled vertebra's body, world frame.

    labels : whole vertebrae, or bodies alone; a vertebra of less than 20 voxels, or, among whole ones, without anything
        in front of the canal, is left out
    """
    places = _mask_centroids(labels, grid)
    names = sorted(places, key=anatomical_order)
    sections = {name: _Section(labels, grid, name, places, names) for name in names}
    fronts = {name: front for name in names if (front := sections[name].canal_front_mm()) is not None}
    if not fronts:
        return Centroids.from_points(places, "world")
    found = {}
    for name in names:
        # What is cut by the border, or has an open arch, encloses no canal: the nearest neighbour's is about as far.
        nearest = min(fronts, key=lambda other: abs(anatomical_order(other) - anatomical_order(name)))
        # C1 has no body: annotators mark the middle of its ring, where its mask's centroid is.
        centre = places[name] if name == "C1" else sections[name].body_centre(fronts.get(name, fronts[nearest]))
        if centre is None:
            logger.warning("%s: its mask has nothing in front of the spinal canal and is left out", name)
        else:
            found[name] = centre
    return Centroids.from_points(found, "world")


class _Section:
    """A vertebra in sections across the spine: (up, back, left) array of 1 mm voxels around its mask's centroid."""

    def __init__(self, labels: Labels, grid: Grid, name: str, places: Mapping[str, Points], names: list[str]) -> None:
        self._name = name
        self._centre = places[name]
        self._axes = _axes(places, names, name)
        up, side = np.arange(-_HALF_HEIGHT_MM, _HALF_HEIGHT_MM + 1), np.arange(-_HALF_SECTION_MM, _HALF_SECTION_MM + 1)
        offsets = np.stack(np.meshgrid(up, side, side, indexing="ij"), axis=-1) * _STEP_MM
        index = np.rint(grid.to_index((offsets @ self._axes).reshape(-1, 3) + self._centre)).astype(int)
        is_inside = ((index >= 0) & (index < np.array(grid.shape))).all(axis=1)
        values = np.zeros(len(index), np.uint8)
        values[is_inside] = labels[tuple(index[is_inside].T)]
        section = values.reshape(offsets.shape[:3])
        self._bone, self._own = section > 0, section == VERSE_NUMBER[name]

    def canal_front_mm(self) -> float | None:
        """Find the front of the canal, mm behind the mask's centroid; None if too few sections enclose one."""
        fronts = []
        for section in np.flatnonzero(self._own.any(axis=(1, 2))):
            holes, _ = ndimage.label(ndimage.binary_fill_holes(self._bone[section]) & ~self._bone[section])
            for n, place in enumerate(ndimage.find_objects(holes), start=1):
                area = float((holes[place] == n).sum()) * _STEP_MM**2
                middle = (place[1].start + place[1].stop - 1) / 2 - _HALF_SECTION_MM
                if area >= _SMALLEST_CANAL_MM2 and abs(middle) * _STEP_MM <= _CANAL_ASIDE_MM:
                    fronts.append((place[0].start - 0.5 - _HALF_SECTION_MM) * _STEP_MM)
                    break
        return float(np.median(fronts)) if len(fronts) >= _FEWEST_SECTIONS else None

    def body_centre(self, canal_front_mm: float) -> Points | None:
        """Return the centroid of what lies in front of the canal; None if nothing does."""
        at = np.argwhere(self._own).astype(float)
        at -= np.array([_HALF_HEIGHT_MM, _HALF_SECTION_MM, _HALF_SECTION_MM])
        at *= _STEP_MM
        half_width = _BODY_HALF_WIDTH * BODY_DIAMETER_MM.get(self._name, BODY_DIAMETER_MM["L5"])
        at = at[(at[:, 1] < canal_front_mm) & (np.abs(at[:, 2]) <= half_width)]
        if len(at) < _FEWEST_VOXELS:
            return None
        if self._name == "C2":
            bottom, top = np.percentile(at[:, 0], (1, 99))
            at = at[at[:, 0] <= bottom + _DENS_SHARE * (top - bottom)]
        centre: Points = at.mean(axis=0) @ self._axes + self._centre
        return centre


def _axes(places: Mapping[str, Points], names: list[str], name: str) -> Points:
    """Return (3, 3) rows up, back, left of the spine at a vertebra, from its neighbours; of the patient without any."""
    i = names.index(name)
    up = places[names[max(i - 1, 0)]] - places[names[min(i + 1, len(names) - 1)]]
    length = float(np.linalg.norm(up))
    up = up / length if length > 0 else np.array([0.0, 0.0, 1.0])
    back = np.array([0.0, 1.0, 0.0]) - up[1] * up
    back = back / np.linalg.norm(back)
    return np.stack([up, back, np.cross(back, up)])


def _mask_centroids(labels: Labels, grid: Grid) -> dict[str, Points]:
    places = {}
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        at = np.argwhere(labels[box] == number)
        if len(at) >= _FEWEST_VOXELS:
            places[NAME_OF_VERSE[number]] = grid.to_world(at.mean(axis=0) + [part.start for part in box])[0]
    return places


@lru_cache(maxsize=4096)
def _read(path: Path, _changed: int) -> Centroids:
    labels, grid = _folder(path) if path.is_dir() else _file(path)
    return body_centres(labels, grid)


def _file(path: Path) -> tuple[Labels, Grid]:
    volume = read_image(path)
    names = _dataset_names(path) or {n: name for n, name in NAME_OF_VERSE.items() if name not in ("S1", "S2")}
    voxels = volume.voxels
    if voxels.dtype.kind == "f" and (voxels != np.rint(voxels)).any():
        raise LandmarkError(f"{path}: expected whole numbers as labels, got fractions; is it the scan itself?")
    if float(voxels.min()) < 0 or float(voxels.max()) > 1000:
        raise LandmarkError(f"{path}: expected labels of vertebrae, got values from {voxels.min()} to {voxels.max()}")
    table = np.zeros(int(voxels.max()) + 1, np.uint8)
    for number, name in names.items():
        if 0 < number < len(table):
            table[number] = VERSE_NUMBER[name]
    return table[voxels.astype(np.int64)], volume.grid


def _dataset_names(path: Path) -> dict[int, str] | None:
    """Read what numbers mean from nnU-Net's `dataset.json` above the masks; None if there is none."""
    found = next((p for p in (path.parent / "dataset.json", path.parent.parent / "dataset.json") if p.is_file()), None)
    document: Any = read_json(found) if found else {}
    entries = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        return None
    names = {}
    for key, value in entries.items():  # {"T1": 1} since version 2, {"1": "T1"} before
        text, number = (key, value) if isinstance(value, int) else (str(value), key)
        name = vertebra_name(text)
        if name is not None and str(number).isdecimal():
            names[int(number)] = name
    return names or None


def _folder(path: Path) -> tuple[Labels, Grid]:
    """Read TotalSegmentator's masks, one file a vertebra, empty where there is none."""
    labels: Labels | None = None
    grid: Grid | None = None
    for file in sorted(path.glob("vertebrae_*.nii*")):
        name = vertebra_name(file.name.split(".")[0])
        if name is None:
            continue
        volume = read_image(file)
        if labels is None or grid is None:
            labels, grid = np.zeros(volume.grid.shape, np.uint8), volume.grid
        if volume.grid.shape != grid.shape:
            raise LandmarkError(f"{file}: expected masks of one size, got {volume.grid.shape} and {grid.shape}")
        labels[volume.voxels > 0] = VERSE_NUMBER[name]
    if labels is None or grid is None:
        raise LandmarkError(f"{path}: expected masks vertebrae_<name>.nii.gz in this folder")
    return labels, grid
