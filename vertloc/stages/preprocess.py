"""Scan -> isotropic volume along the patient's axes: anti-aliased, clipped to the CT scale, small.

`resampling` averages, `padding` says what is no measurement, `intensities` when the values cannot be Hounsfield units.
A tilted scan is not turned, which would blur it and add corners: it is looked at along its own axes, as if it were
upright, and the points that are found are put back to where they are in the patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.errors import ImageError
from vertloc.geometry import Grid, Points
from vertloc.settings import CHECKED
from vertloc.stages.intensities import unit_warning
from vertloc.stages.padding import Cropped, Survey
from vertloc.stages.resampling import Resampling, See, resample, see_nothing
from vertloc.volume import Scan, Volume

_LARGEST_RESULT = 200_000_000
_LARGEST_EXTENT_MM = 4000.0  # no scanner's table is longer
_LARGEST_ORIGIN_MM = 100_000.0
# Rounding of directions in single precision; what is tilted more is put back exactly.
_LARGEST_IGNORED_SHIFT_MM = 1e-3


@checked(frozen=True, config=CHECKED)
class PreprocessSettings:
    """How scans are brought to the grid the forest works on.

    spacing_mm : edge of a voxel. A vertebra is 5 to 12 voxels wide: enough for its level, fast to search
    lowest_hu : intensities below are raised to it before averaging: air; the padding of scanners (-2000, -3024) too
    highest_hu : intensities above are lowered to it: cortical bone ends here; metal must not outweigh what is around it
    """

    spacing_mm: Annotated[float, Field(ge=0.5, le=20)] = 3.0
    lowest_hu: Annotated[float, Field(ge=-4096, le=16384)] = -1000.0
    highest_hu: Annotated[float, Field(ge=-4096, le=16384)] = 1500.0

    def __post_init__(self) -> None:
        if not self.lowest_hu < self.highest_hu:
            raise ValueError(f"lowest_hu {self.lowest_hu} must lie below highest_hu {self.highest_hu}")


@dataclass(frozen=True, eq=False)
class IsotropicVolume:
    """What the forest sees.

    voxels : (z, y, x) int16, HU, along the array axes that are nearest to +x, +y, +z of the patient
    grid : its isotropic grid as if it were not tilted; the frame in which the stages work
    tilted : where the voxels are in the patient, if that is not `grid`
    warnings : what is odd about the scan, one line each
    are_hounsfield_units : whether the intensities can be what a CT scanner measures
    """

    voxels: NDArray[np.int16]
    grid: Grid
    tilted: Grid | None = None
    warnings: tuple[str, ...] = ()
    are_hounsfield_units: bool = True

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel."""
        return self.grid.spacing_mm[0]

    def to_world(self, points_mm: ArrayLike) -> Points:
        """Turn points in the frame of `grid` into world LPS points, (n, 3) (x, y, z) mm each."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        if self.tilted is None:
            return points
        return _turned(points, self.grid.origin_mm, self.tilted.direction_matrix, self.tilted.origin_mm)

    def from_world(self, points_mm: ArrayLike) -> Points:
        """Turn world LPS points into points in the frame of `grid`, (n, 3) (x, y, z) mm each."""
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        if self.tilted is None:
            return points
        return _turned(points, self.tilted.origin_mm, self.tilted.direction_matrix.T, self.grid.origin_mm)


def preprocess(scan: Scan, settings: PreprocessSettings, n_threads: int = 1) -> IsotropicVolume:
    """Bring a scan to an isotropic grid along its axes, in the patient's order.

    The stored voxels are read once, in their own order and a few slices at a time; swaps and flips happen on the small
    result. Padding is cut off, for which a padded scan is read a second time.
    Raises ImageError if the scan's size in millimetres cannot be that of a patient, or its voxels cannot be read.
    """
    check_extent(scan.grid, settings.spacing_mm, scan.name)
    survey = Survey(scan.grid.shape)
    small = _resampled(scan, settings, n_threads, survey.see)
    part = Cropped(scan, survey.box)
    if part.grid.shape != scan.grid.shape:
        small = _resampled(part, settings, n_threads)
    small = small.aligned()
    straight = _without_tilt(small.grid)
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)] * (np.array(straight.shape) - 1)
    shift = np.abs(small.grid.to_world(corners) - straight.to_world(corners)).max()
    warning = unit_warning(survey.sample)
    return IsotropicVolume(
        voxels=np.ascontiguousarray(small.voxels),
        grid=straight,
        tilted=small.grid if shift > _LARGEST_IGNORED_SHIFT_MM else None,
        warnings=scan.warnings + ((warning,) if warning else ()),
        are_hounsfield_units=warning is None,
    )


def check_extent(grid: Grid, spacing_mm: float, name: str) -> None:
    """Raise ImageError if a scan on this grid cannot be that of a patient, before anything of its size is allocated.

    spacing_mm : of the isotropic result
    """
    if max(grid.extent_mm) > _LARGEST_EXTENT_MM:
        raise ImageError(
            f"{name}: a scan of {_shown(grid.extent_mm)} mm (x, y, z) is longer than any patient;"
            f" check the spacing {_shown(grid.spacing_mm)} in the header"
        )
    if max(abs(value) for value in grid.origin_mm) > _LARGEST_ORIGIN_MM:
        raise ImageError(
            f"{name}: the first voxel at {_shown(grid.origin_mm)} mm lies further from the scanner than any table"
            " moves; check the origin in the header"
        )
    shape = grid.resampled(spacing_mm).shape
    if math.prod(shape) > _LARGEST_RESULT:
        raise ImageError(
            f"{name}: {_shown(grid.extent_mm)} mm (x, y, z) at {spacing_mm:g} mm would need {shape} voxels;"
            f" check the spacing {_shown(grid.spacing_mm)} in the header"
        )


def _resampled(scan: Scan, settings: PreprocessSettings, n_threads: int, see: See = see_nothing) -> Volume:
    grid = scan.grid.resampled(settings.spacing_mm)
    how = Resampling(scan.grid, grid, settings.lowest_hu, settings.highest_hu)
    return Volume(resample(scan, how, n_threads, see), grid, scan.name)


def _without_tilt(grid: Grid) -> Grid:
    """Return the grid with exact axes and the same middle."""
    upright = Grid(grid.shape, grid.spacing_mm)
    middle = (np.array(grid.shape) - 1) / 2
    origin = grid.to_world(middle)[0] - upright.to_world(middle)[0]
    return Grid(grid.shape, grid.spacing_mm, (float(origin[0]), float(origin[1]), float(origin[2])))


def _turned(
    points: Points, origin: tuple[float, float, float], matrix: NDArray[np.float64], new_origin: tuple[float, ...]
) -> Points:
    """Return new_origin + matrix (point - origin); a point's result does not depend on the other points' number."""
    relative = points - np.array(origin)
    turned = sum((relative[:, [axis]] * matrix[:, axis] for axis in range(3)), np.array(new_origin))
    return np.asarray(turned)


def _shown(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
