"""Volume -> isotropic volume along the patient's axes: anti-aliased, clipped to the CT scale, small.

Each output voxel is the mean over its own cube of the linearly interpolated input (a box filter the size of the output
voxel, the exact integral along each axis), so that nothing aliases however thin the slices are, and nothing steps
where the input is coarser than the output. Past the outermost voxel centres the border value holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked
from scipy import ndimage

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.kernels.resample import resample_slices
from vertloc.settings import CHECKED
from vertloc.volume import Volume
from vertloc.workers import run_pieces

_LARGEST_RESULT = 400_000_000
_SLICES_PER_PIECE = 4
# A smaller tilt moves no point of a neck-sized image by a voxel.
_LARGEST_IGNORED_TILT_DEGREES = 2.0


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

    voxels : (z, y, x) int16, HU, axes along +x, +y, +z of the patient
    grid : its isotropic, axis-aligned grid in the world frame
    """

    voxels: NDArray[np.int16]
    grid: Grid

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel."""
        return self.grid.spacing_mm[0]


def preprocess(volume: Volume, settings: PreprocessSettings, n_threads: int = 1) -> IsotropicVolume:
    """Bring a scan to an isotropic grid along the patient's axes.

    The stored array is read once, in its own order; swaps and flips happen on the small result.
    Raises ImageError if the scan's size in millimetres cannot be that of a patient.
    """
    grid = volume.grid.resampled(settings.spacing_mm)
    if float(np.prod(np.array(grid.shape, dtype=np.float64))) > _LARGEST_RESULT:
        raise ImageError(
            f"{volume.name}: {volume.grid.extent_mm} mm (x, y, z) at {settings.spacing_mm} mm would need"
            f" {grid.shape} voxels; check the spacing {volume.grid.spacing_mm} in the header"
        )
    small = Volume(_resample(volume.voxels, volume.grid, grid, settings, n_threads), grid, volume.name)
    if grid.tilt_degrees > _LARGEST_IGNORED_TILT_DEGREES:
        small = _rotated_to_axes(small, settings)
    else:
        small = small.aligned()
        small = Volume(small.voxels, _without_tilt(small.grid), small.name)
    return IsotropicVolume(np.ascontiguousarray(small.voxels), small.grid)


def _resample(
    voxels: NDArray[Any], source: Grid, target: Grid, settings: PreprocessSettings, n_threads: int
) -> NDArray[np.int16]:
    voxels = np.ascontiguousarray(voxels)
    if not voxels.dtype.isnative or voxels.dtype == np.float16:
        voxels = voxels.astype(np.float32 if voxels.dtype.kind == "f" else voxels.dtype.newbyteorder("="))
    taps = [
        _axis_weights(n_in, spacing, n_out, settings.spacing_mm)
        for n_in, spacing, n_out in zip(source.shape, source.spacing_mm[::-1], target.shape, strict=True)
    ]
    (first_z, weights_z), (first_y, weights_y), (first_x, weights_x) = taps
    first, weights = (first_z, first_y, first_x), (weights_z, weights_y, weights_x)
    out = np.empty(target.shape, np.int16)
    low, high = np.float32(settings.lowest_hu), np.float32(settings.highest_hu)

    def fill(piece: int) -> None:
        begin = piece * _SLICES_PER_PIECE
        resample_slices(voxels, first, weights, low, high, begin, min(begin + _SLICES_PER_PIECE, target.shape[0]), out)

    run_pieces(fill, -(-target.shape[0] // _SLICES_PER_PIECE), n_threads)
    return out


def _axis_weights(
    n_in: int, spacing_in: float, n_out: int, spacing_out: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Weights of the input voxels in each output voxel along one axis; both grids share their centre.

    The mean of the linear interpolant over an interval is a sum over the input voxels of the integral of their tent
    functions; with border values held, the tents of the first and last voxel have a flat outer side.
    returns : (n_out,) int64 first input voxel, (n_out, taps) float32 weights whose rows sum to 1
    """
    ratio = spacing_out / spacing_in
    edges = (n_in - 1) / 2 + (np.arange(n_out + 1) - n_out / 2) * ratio
    # A voxel that is partly outside averages what it has inside.
    edges = np.clip(edges, -0.5, n_in - 0.5)
    first = np.clip(np.floor(edges[:-1]).astype(np.int64), 0, n_in - 1)
    last = np.clip(np.ceil(edges[1:]).astype(np.int64), 0, n_in - 1)
    n_taps = int((last - first).max()) + 1
    first = np.minimum(first, max(n_in - n_taps, 0))
    taps = first[:, None] + np.arange(n_taps)
    upper, lower = edges[1:, None], edges[:-1, None]
    weights = np.where(taps < n_in, _tent_integral(upper, taps, n_in) - _tent_integral(lower, taps, n_in), 0.0)
    return first, np.ascontiguousarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _tent_integral(x: NDArray[np.float64], centre: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Integral from far left to x of the tent at `centre`; the first and last of n tents are flat outside."""
    t = np.clip(x - centre, -1.0, 1.0)
    tent = np.where(t < 0, 0.5 * (1 + t) ** 2, 1 - 0.5 * (1 - t) ** 2)
    d = x - centre
    left_flat = np.where(d < 0, 0.5 + d, tent)
    right_flat = np.where(d > 0, 0.5 + d, tent)
    both_flat = 0.5 + d
    if n == 1:
        return both_flat
    return np.where(centre == 0, left_flat, np.where(centre == n - 1, right_flat, tent))


def _without_tilt(grid: Grid) -> Grid:
    """Return the grid with exact axes and the same middle."""
    upright = Grid(grid.shape, grid.spacing_mm)
    middle = (np.array(grid.shape) - 1) / 2
    origin = grid.to_world(middle)[0] - upright.to_world(middle)[0]
    return Grid(grid.shape, grid.spacing_mm, (float(origin[0]), float(origin[1]), float(origin[2])))


def _rotated_to_axes(volume: Volume, settings: PreprocessSettings) -> Volume:
    """Interpolate an oblique isotropic volume onto the axis-aligned grid around it; what is new is air."""
    z, y, x = volume.grid.shape
    corners = volume.grid.to_world([(i, j, k) for i in (0, z - 1) for j in (0, y - 1) for k in (0, x - 1)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    shape = tuple(int(n) for n in np.ceil((high - low) / settings.spacing_mm - 1e-6)[::-1] + 1)
    upright = Grid(shape, volume.grid.spacing_mm, (float(low[0]), float(low[1]), float(low[2])))  # type: ignore[arg-type]
    # index_in = matrix @ index_out + offset, both in (z, y, x) order.
    offset = volume.grid.to_index(upright.to_world((0, 0, 0)))[0]
    steps = volume.grid.to_index(upright.to_world(np.eye(3))) - offset
    voxels = ndimage.affine_transform(
        volume.voxels, steps.T, offset, upright.shape, order=1, mode="grid-constant", cval=settings.lowest_hu
    )
    return Volume(voxels, upright, volume.name)
