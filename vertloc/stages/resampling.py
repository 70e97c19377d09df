"""Scan + target grid -> box-averaged int16 voxels, a slab of slices at a time, straight from the stored integers.

Each output voxel is the mean over its own cube of the linearly interpolated input (a box filter the size of the output
voxel, the exact integral along each axis), so that nothing aliases however thin the slices are, and nothing steps
where the input is coarser than the output. Past the outermost voxel centres the border value holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Grid
from vertloc.kernels.resample import resample_slices
from vertloc.volume import Scan
from vertloc.workers import run_pieces

_SLICES_PER_PIECE = 4

_Indices = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
_Weights = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


See = Callable[[int, NDArray[Any]], None]
"""Called with the number of the first slice of a slab, and the slab."""


def see_nothing(_begin: int, _slab: NDArray[Any]) -> None:
    """Look away."""


@dataclass(frozen=True)
class Resampling:
    """What is resampled to what.

    source, target : grids of the same directions and centre
    low, high : intensities are clipped to this range before averaging
    """

    source: Grid
    target: Grid
    low: float
    high: float


def resample(scan: Scan, how: Resampling, n_threads: int, see: See = see_nothing) -> NDArray[np.int16]:
    """Average a scan, whose slices are read once and in order, over the voxels of another grid.

    see : called with every slab and the number of its first slice
    returns : (z, y, x) of the target grid
    """
    first, weights = _all_weights(how)
    out = np.empty(how.target.shape, np.int16)
    low, high = np.float32(how.low), np.float32(how.high)
    plan = _slabs(scan, first[0], weights[0].shape[1])
    for slab, voxels in zip(plan, scan.slabs([(slab.begin, slab.end) for slab in plan]), strict=True):
        see(slab.begin, voxels)
        pieces = range(slab.out_begin, slab.out_end, _SLICES_PER_PIECE)
        first_in_slab = (first[0] - slab.begin, first[1], first[2])
        fill = partial(_fill, _plain(voxels), first_in_slab, weights, (low, high), pieces, out)
        run_pieces(fill, len(pieces), n_threads)
    return out


def _fill(
    voxels: NDArray[Any],
    first: _Indices,
    weights: _Weights,
    limits: tuple[np.float32, np.float32],
    pieces: range,
    out: NDArray[np.int16],
    k: int,
) -> None:
    z_to = min(pieces[k] + _SLICES_PER_PIECE, pieces.stop)
    resample_slices(voxels, first, weights, *limits, pieces[k], z_to, out)


@dataclass(frozen=True)
class _Slab:
    """Slices `out_begin` to `out_end` of the result, and the slices `begin` to `end` of the scan that they need."""

    out_begin: int
    out_end: int
    begin: int
    end: int


def _all_weights(how: Resampling) -> tuple[_Indices, _Weights]:
    spacing = how.target.spacing_mm[0]
    taps = [
        _axis_weights(n_in, spacing_in, n_out, spacing)
        for n_in, spacing_in, n_out in zip(how.source.shape, how.source.spacing_mm[::-1], how.target.shape, strict=True)
    ]
    (first_z, weights_z), (first_y, weights_y), (first_x, weights_x) = taps
    return (first_z, first_y, first_x), (weights_z, weights_y, weights_x)


def _slabs(scan: Scan, first_z: NDArray[np.int64], n_taps: int) -> list[_Slab]:
    """Plan the slabs of a scan, so that none is larger than it wants to be asked for."""
    n_in, n_out = scan.grid.shape[0], len(first_z)
    in_per_slab = max(1, scan.slab_bytes // max(1, scan.slice_bytes))
    step = max(1, int(n_out * min(1.0, in_per_slab / n_in)))
    if step < n_out:
        step = max(_SLICES_PER_PIECE, step // (2 * _SLICES_PER_PIECE) * (2 * _SLICES_PER_PIECE))
    plan = []
    for begin in range(0, n_out, step):
        end = min(begin + step, n_out)
        last = n_in if end == n_out else min(int(first_z[end - 1]) + n_taps, n_in)
        plan.append(_Slab(begin, end, int(first_z[begin]), last))
    return plan


def _plain(slab: NDArray[Any]) -> NDArray[Any]:
    """Return the slab as the kernels take it: contiguous, of a native type that they know, and read-only.

    Read-only, because arrays that are and arrays that are not would have each kernel compiled twice.
    """
    voxels = np.ascontiguousarray(slab)
    if not voxels.dtype.isnative or voxels.dtype == np.float16:
        voxels = voxels.astype(np.float32 if voxels.dtype.kind == "f" else voxels.dtype.newbyteorder("="))
    voxels = voxels.view()
    voxels.flags.writeable = False
    return voxels


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
