"""Scan -> one small grey picture with all its slices side by side, from which a browser shows any plane.

The voxels are isotropic and along the patient's axes, cut out around the spine, and as fine as a fixed number of them
allows. Slices follow one another row by row, the lowest first.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Points
from vertloc.report.reformat import world_bounds
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.volume import Volume

RANGE_HU = (-250.0, 1250.0)
"""Intensities stored as 0 and 255; what lies beyond is clipped."""

MOST_BYTES = 400_000
"""A mosaic is never larger: if it would be, its voxels grow."""

_MOST_VOXELS = 2_000_000
_FINEST_MM = 1.0
_COARSER = 1.25
_AROUND_MM = (90.0, 100.0, 60.0)  # beside the spine, before and behind it, above and below
_QUALITY = 75


@dataclass(frozen=True, eq=False)
class Mosaic:
    """All slices of a scan in one picture.

    image : WebP, 8 bit grey of RANGE_HU; columns : slices in a row of it
    shape : (z, y, x) voxels; spacing_mm : their edge; first_mm : world (x, y, z) of the centre of the first one
    """

    image: bytes
    columns: int
    shape: tuple[int, int, int]
    spacing_mm: float
    first_mm: tuple[float, float, float]


def make_mosaic(volume: Volume, points_mm: Points) -> Mosaic:
    """Pack a scan.

    points_mm : (n, 3) world, what it is cut out around; without any, the whole scan is shown
    """
    low, high = _box(volume, points_mm)
    fitting = (float(np.prod(high - low)) / _MOST_VOXELS) ** (1 / 3)
    spacing_mm = max(_FINEST_MM, min(volume.grid.spacing_mm), fitting)
    while True:
        voxels, first_mm = _cut(volume, low, high, min(spacing_mm, 20.0))
        image, columns = _packed(voxels)
        if len(image) <= MOST_BYTES or spacing_mm >= 20:
            z, y, x = voxels.shape
            return Mosaic(image, columns, (z, y, x), spacing_mm, first_mm)
        spacing_mm *= _COARSER


def _box(volume: Volume, points_mm: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World bounds of what is shown; points outside the scan do not count."""
    low, high = world_bounds(volume.grid)
    points = points_mm[np.all((points_mm >= low) & (points_mm <= high), axis=1)]
    if len(points):
        around = np.array(_AROUND_MM)
        low, high = np.maximum(low, points.min(axis=0) - around), np.minimum(high, points.max(axis=0) + around)
    return low, high


def _cut(
    volume: Volume, low: NDArray[np.float64], high: NDArray[np.float64], spacing_mm: float
) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    small = preprocess(volume, PreprocessSettings(spacing_mm, *RANGE_HU))
    inside = [
        np.flatnonzero((axis >= a - spacing_mm / 2) & (axis <= b + spacing_mm / 2))
        for axis, a, b in zip(small.grid.axes_mm(), low[::-1], high[::-1], strict=True)
    ]
    voxels = small.voxels[tuple(slice(i[0], i[-1] + 1) for i in inside)]
    grey = np.rint((voxels - RANGE_HU[0]) * (255 / (RANGE_HU[1] - RANGE_HU[0]))).astype(np.uint8)
    x, y, z = small.grid.to_world([i[0] for i in inside])[0]
    return grey, (float(x), float(y), float(z))


def _packed(voxels: NDArray[np.uint8]) -> tuple[bytes, int]:
    """Lay the slices side by side; WebP bytes and the number of slices in a row."""
    from PIL import Image

    n, height, width = voxels.shape
    columns = max(1, math.ceil(math.sqrt(n * height / width)))
    rows = -(-n // columns)
    tiles = np.zeros((rows * columns, height, width), np.uint8)
    tiles[:n] = voxels
    picture = tiles.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "WEBP", quality=_QUALITY, method=4)
    return data.getvalue(), columns
