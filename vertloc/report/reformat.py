"""Volume + landmarks -> a flat picture along a surface that follows the spine (curved planar reformat).

The sagittal surface is x = X(z) for all y, the coronal one y = Y(z) for all x, where (X, Y) is a smooth curve through
the landmarks. Rows are planes of equal height z, so that the picture keeps millimetres: a world point appears at its
own (y, z) or (x, z). Everything is in the world frame, whatever direction the voxels are stored in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

from vertloc.geometry import Grid, Points
from vertloc.volume import Volume

Plane = Literal["sagittal", "coronal"]

AIR_HU = -1024.0
"""What lies outside the volume."""

_STEP_MM = 1.0  # of the curve along z
_SMOOTH_MM = 8.0  # standard deviation; less than half of a neighbour distance
_MERGE_MM = 4.0  # landmarks closer than this in height count as one
_LEVEL_OFF_MM = 60.0  # the curve goes on straight past its ends and turns vertical over this length
_STEEPEST = 0.7  # mm aside per mm of height, for going on past the ends


@dataclass(frozen=True, eq=False)
class SpineCurve:
    """A curve through the spine: x and y at heights z, all world mm, z increasing."""

    z_mm: NDArray[np.float64]
    x_mm: NDArray[np.float64]
    y_mm: NDArray[np.float64]

    def across(self, plane: Plane, z_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Position of the surface at heights z: x for the sagittal one, y for the coronal one."""
        return np.asarray(np.interp(z_mm, self.z_mm, self.x_mm if plane == "sagittal" else self.y_mm))

    def along(self, plane: Plane, z_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Where the curve itself appears in the picture: y for the sagittal surface, x for the coronal one."""
        return self.across("coronal" if plane == "sagittal" else "sagittal", z_mm)


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, world mm: left < right (x or y), bottom < top (z)."""

    left_mm: float
    right_mm: float
    bottom_mm: float
    top_mm: float


@dataclass(frozen=True, eq=False)
class Reformat:
    """A flat picture in millimetres.

    values_hu : (rows, columns) float32, the top of the patient first; right is posterior (sagittal) or left (coronal)
    pixel_mm : distance between pixel centres in both directions
    left_mm, top_mm : y (sagittal) or x (coronal), and z, of the centre of the first pixel
    """

    values_hu: NDArray[np.float32]
    pixel_mm: float
    plane: Plane
    left_mm: float
    top_mm: float

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge of the picture, pixels whole."""
        rows, columns = self.values_hu.shape
        left, top = self.left_mm - self.pixel_mm / 2, self.top_mm + self.pixel_mm / 2
        return (left, left + columns * self.pixel_mm, top - rows * self.pixel_mm, top)

    def to_pixel(self, world_mm: Points) -> Points:
        """Turn (n, 3) world points into (n, 2) continuous (column, row); what lies off the surface is projected."""
        points = np.asarray(world_mm, dtype=np.float64).reshape(-1, 3)
        aside = points[:, 1] if self.plane == "sagittal" else points[:, 0]
        return np.stack([aside - self.left_mm, self.top_mm - points[:, 2]], axis=1) / self.pixel_mm


def spine_curve(world_mm: Points, grid: Grid) -> SpineCurve:
    """Draw a smooth curve through landmarks and on past them to the ends of the grid.

    world_mm : (n, 3), any order; without any, the curve is the vertical through the middle of the grid
    """
    low, high = world_bounds(grid)
    points = np.asarray(world_mm, dtype=np.float64).reshape(-1, 3)
    if not len(points):
        points = ((low + high) / 2)[None]
    knots = _merge(points[np.argsort(points[:, 2], kind="stable")])
    bottom, top = min(low[2], knots[0, 2]), max(high[2], knots[-1, 2])
    z = bottom + _STEP_MM * np.arange(max(2, int(np.ceil((top - bottom) / _STEP_MM)) + 1))
    x, y = (
        gaussian_filter1d(_through(knots[:, 2], knots[:, i], z), _SMOOTH_MM / _STEP_MM, mode="nearest") for i in (0, 1)
    )
    return SpineCurve(z, np.clip(x, low[0], high[0]), np.clip(y, low[1], high[1]))


def reformat(
    volume: Volume, curve: SpineCurve, plane: Plane, window: Window, pixel_mm: float, slab_mm: float = 8.0
) -> Reformat:
    """Sample the volume on the surface, as the mean over a slab of the given thickness across it.

    Linear interpolation between voxels; the outermost half voxels repeat the border; outside is air.
    """
    columns = max(1, round((window.right_mm - window.left_mm) / pixel_mm))
    rows = max(1, round((window.top_mm - window.bottom_mm) / pixel_mm))
    left_mm, top_mm = window.left_mm + pixel_mm / 2, window.top_mm - pixel_mm / 2
    z = top_mm - pixel_mm * np.arange(rows)
    across = curve.across(plane, z)
    across_axis, aside_axis = (0, 1) if plane == "sagittal" else (1, 0)
    start = np.empty((rows, 3))
    start[:, across_axis], start[:, aside_axis], start[:, 2] = across, left_mm, z
    # World to index is affine: the first pixel of a row and one step per direction give all of it.
    origin = volume.grid.to_index(np.zeros(3))[0]
    first = volume.grid.to_index(start)
    aside_step, across_step = (volume.grid.to_index(np.eye(3)[axis])[0] - origin for axis in (aside_axis, across_axis))
    aside_mm = pixel_mm * np.arange(columns)
    index = np.stack([first[:, i, None] + aside_mm * aside_step[i] for i in range(3)])
    total, weight = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for offset_mm in _slab_offsets(slab_mm):
        values, is_inside = _sample(volume, index + (offset_mm * across_step)[:, None, None])
        total += np.where(is_inside, values, np.float32(0))
        weight += is_inside
    values_hu = np.where(weight > 0, total / np.maximum(weight, 1), np.float32(AIR_HU)).astype(np.float32)
    return Reformat(values_hu, pixel_mm, plane, left_mm, top_mm)


def world_bounds(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest world (x, y, z) mm of the grid, faces included."""
    ends = [(-0.5, n - 0.5) for n in grid.shape]
    corners = grid.to_world([(z, y, x) for z in ends[0] for y in ends[1] for x in ends[2]])
    return corners.min(axis=0), corners.max(axis=0)


def _slab_offsets(slab_mm: float) -> NDArray[np.float64]:
    n = max(1, round(slab_mm / 2.0))
    return np.asarray((np.arange(n) - (n - 1) / 2) * (slab_mm / n), dtype=np.float64)


def _sample(volume: Volume, index: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sample at (3, rows, columns) indices (z, y, x): values, and whether they lie inside the volume's faces."""
    last = np.array(volume.voxels.shape)[:, None, None] - 0.5
    is_inside = np.all((index >= -0.5) & (index <= last), axis=0)
    values = map_coordinates(volume.voxels, index, output=np.float32, order=1, mode="nearest", prefilter=False)
    return values, is_inside


def _merge(points: Points) -> Points:
    """Replace points of nearly equal height by their mean, so that the curve has one place at each height."""
    groups: list[list[NDArray[np.float64]]] = []
    for point in points:
        if groups and point[2] - groups[-1][0][2] < _MERGE_MM:
            groups[-1].append(point)
        else:
            groups.append([point])
    return np.array([np.mean(group, axis=0) for group in groups])


def _through(knots_z: NDArray[np.float64], knots: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate linearly; past the ends, go on in the direction of the last few knots and level off."""
    values = np.interp(z, knots_z, knots)
    if len(knots_z) < 2:
        return values
    for end, side, n in ((0, slice(None, 4), -1.0), (-1, slice(-4, None), 1.0)):
        slope = np.clip(np.polyfit(knots_z[side], knots[side], 1)[0], -_STEEPEST, _STEEPEST)
        beyond = np.maximum(n * (z - knots_z[end]), 0.0)
        values = values + n * slope * _LEVEL_OFF_MM * (1 - np.exp(-beyond / _LEVEL_OFF_MM))
    return values
