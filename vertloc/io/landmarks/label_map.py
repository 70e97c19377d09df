"""`<scan>_labels.nii.gz` <-> Landmarks: an image of body-sized ellipsoids with VerSe's numbers on the scan's own grid.

The exact points travel in a text extension of the NIfTI header, with a checksum of the voxels: they are read back as
long as nobody redrew the map. Else, as for maps that others drew, a point is the centroid of its voxels. The text file
beside it names and colours the labels for ITK-SNAP.
"""

from __future__ import annotations

import colorsys
import gzip
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid, Points
from vertloc.io.images import read_image
from vertloc.io.landmarks.json_files import point
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks, grid_of
from vertloc.io.landmarks.nifti_labels import Voxels, label_nifti
from vertloc.vertebrae import BODY_DIAMETER_MM, NAME_OF_VERSE, VERSE_NUMBER

_EXTENSIONS_AT = 352
_LARGEST_EXTENSION = 1 << 16
_HEIGHT_SHARE = 0.75  # of a body's diameter
_ROOM_SHARE = 0.42  # of the way to the next centre


def format_label_map(landmarks: Landmarks, image: ImageReference) -> bytes:
    """Return the bytes of a packed NIfTI file. Raises LandmarkError without the image's grid."""
    grid = grid_of(image)
    world = landmarks.centroids.to_world(grid)
    voxels = paint_bodies(world, grid)
    record = {
        "format": "vertloc label map",
        "voxels_crc32": zlib.crc32(voxels.tobytes()),
        "world_mm": {label: [float(v) for v in place] for label, place in world},
    }
    return gzip.compress(label_nifti(voxels, grid, json.dumps(record)), 6, mtime=0)


def format_snap_labels(landmarks: Landmarks, _: ImageReference) -> bytes:
    """Return the bytes of an ITK-SNAP label file: number, colour, visibility and name of each label."""
    lines = ['    0     0    0    0        0  0  0    "Clear Label"']
    for i, label in enumerate(landmarks.centroids.labels):
        red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb((0.61 * i) % 1.0, 0.75, 1.0))
        lines.append(f'{VERSE_NUMBER[label]:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{label}"')
    return ("\n".join(lines) + "\n").encode("ascii")


def read_label_map(path: Path, _: Grid | None = None) -> Landmarks:
    """Read the points of a map, world frame; voxels of numbers that VerSe does not know are left out.

    Raises LandmarkError for what is no image of labels.
    """
    volume = read_image(path)
    if volume.voxels.dtype.kind not in "iu":
        raise LandmarkError(f"{path}: expected whole numbers as labels, got voxels of type {volume.voxels.dtype}")
    exact = _exact_points(path, np.ascontiguousarray(volume.voxels).astype(np.uint8))
    if exact is not None:
        return Landmarks(exact)
    return Landmarks(label_centroids(volume.voxels, volume.grid))


def label_centroids(voxels: NDArray[Any], grid: Grid) -> Centroids:
    """Return the centroid of each label of VerSe's in an array (z, y, x), world frame."""
    points: dict[str, Points] = {}
    for number in np.unique(voxels).tolist():
        name = NAME_OF_VERSE.get(int(number))
        if name is not None:
            points[name] = grid.to_world(np.argwhere(voxels == number).mean(axis=0))[0]
    return Centroids.from_points(points, "world")


def paint_bodies(world: Centroids, grid: Grid) -> Voxels:
    """Draw an ellipsoid for each centroid, along the spine's direction there; where two meet, the nearer centre wins.

    returns : (z, y, x) uint8, VerSe's numbers
    """
    voxels = np.zeros(grid.shape, np.uint8)
    nearest = np.full(grid.shape, np.inf, np.float32)
    for i, (label, centre) in enumerate(world):
        axis, room_mm = _direction(world.points_mm, i)
        radius = BODY_DIAMETER_MM.get(label, BODY_DIAMETER_MM["L5" if label == "L6" else "T12"]) / 2
        height = min(radius * _HEIGHT_SHARE, room_mm * _ROOM_SHARE)
        box, offset = _box(grid, centre, max(radius, height))
        if offset.size == 0:
            continue
        along = offset @ axis
        square = (offset**2).sum(axis=-1)
        inside = along**2 / height**2 + np.maximum(square - along**2, 0) / radius**2 <= 1
        inside |= square == square.min()  # at least one voxel, however thick the slices
        here = inside & (square < nearest[box])
        voxels[box][here] = VERSE_NUMBER[label]
        nearest[box][here] = square[here]
    return voxels


def _direction(points_mm: Points, i: int) -> tuple[Points, float]:
    """Return the unit direction of the spine at a point, and the distance to its nearest neighbour, mm."""
    ends = points_mm[max(i - 1, 0)], points_mm[min(i + 1, len(points_mm) - 1)]
    step = ends[1] - ends[0]
    length = float(np.linalg.norm(step))
    others = np.delete(points_mm, i, axis=0)
    room_mm = float(np.linalg.norm(others - points_mm[i], axis=1).min()) if len(others) else np.inf
    axis = step / length if length > 0 else np.array([0.0, 0.0, 1.0])
    return axis, max(room_mm, 1.0)


def _box(grid: Grid, centre: Points, radius_mm: float) -> tuple[tuple[slice, ...], Points]:
    """Return the part of the array around a point, and each voxel's (x, y, z) offset from it, mm."""
    index = grid.to_index(centre)[0]
    reach = radius_mm / np.array(grid.spacing_mm[::-1]) + 1
    low = np.maximum(np.floor(index - reach), 0).astype(int)
    high = np.minimum(np.ceil(index + reach) + 1, grid.shape).astype(int)
    box = tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
    shape = tuple(part.stop - part.start for part in box)
    at = np.indices(shape).reshape(3, -1).T + low
    return box, (grid.to_world(at) - centre).reshape(*shape, 3)


def _exact_points(path: Path, voxels: Voxels) -> Centroids | None:
    """Read the points from the header's extension; None if there are none, or the voxels were changed since."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            head = file.read(_EXTENSIONS_AT + _LARGEST_EXTENSION)
    except (OSError, EOFError, zlib.error) as error:
        raise LandmarkError(f"{path}: cannot be read: {error}") from None
    if len(head) < _EXTENSIONS_AT + 8 or not head[_EXTENSIONS_AT - 4]:
        return None
    size, _ = struct.unpack_from("<ii", head, _EXTENSIONS_AT)
    try:
        record = json.loads(head[_EXTENSIONS_AT + 8 : _EXTENSIONS_AT + size].rstrip(b"\0"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("voxels_crc32") != zlib.crc32(voxels.tobytes()):
        return None
    places = record.get("world_mm")
    if not isinstance(places, dict) or not set(places) <= set(VERSE_NUMBER):
        return None
    return Centroids.from_points({name: point(f"{path}: {name}", place) for name, place in places.items()}, "world")
