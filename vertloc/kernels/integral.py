"""Padded integral images: the sum of any box in eight reads, without a bounds check."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def integral_image(
    voxels: NDArray[np.int16],
    z_first: int,
    pad: int,
    window: tuple[int, int],
    outside: int,
    replicate: bool,
    out: NDArray[np.int32],
) -> None:
    """Sum the voxels of slices z_first .. z_first + n_z - 1, padded on all six sides.

    voxels : (z, y, x) int16
    pad : voxels added on every side; slices past the ends of `voxels` are outside too
    window : lowest and highest value; voxels outside of it count as the nearer of the two
    outside : value subtracted from every voxel; what lies outside then counts as `outside` itself, that is 0 here
    replicate : True: what lies outside repeats the nearest voxel instead
    out : (n_z + 2 pad + 1, y + 2 pad + 1, x + 2 pad + 1) int32, filled; sums wrap around at 2^32, so a box sum is
        exact as long as the box's own sum fits int32
    """
    # A slice's own sums are made once, and added to the image as often as the slice counts: past the ends it repeats.
    plane, line = np.zeros(out.shape[1:], np.int32), np.zeros(out.shape[2], np.int32)
    plane_of = -1
    out[0] = 0
    for z in range(out.shape[0] - 1):
        z_in = min(max(z_first + z - pad, 0), voxels.shape[0] - 1)
        if replicate or z_in == z_first + z - pad:
            if z_in != plane_of:
                sum_slice(voxels[z_in], pad, window, outside, replicate, line, plane)
                plane_of = z_in
            for y in range(out.shape[1]):
                add_rows(out[z, y], plane[y], out[z + 1, y])
        else:
            out[z + 1] = out[z]


@kernel
def sum_slice(
    voxels: NDArray[np.int16],
    pad: int,
    window: tuple[int, int],
    outside: int,
    replicate: bool,
    line: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """Fill `out` with the padded sums of one slice; all like `integral_image`. `line` is scratch, a row of `out`."""
    line_of = -1
    out[0] = 0
    for y in range(out.shape[0] - 1):
        y_in = min(max(y - pad, 0), voxels.shape[0] - 1)
        if replicate or y_in == y - pad:
            if y_in != line_of:
                sum_row(voxels[y_in], pad, window, outside, replicate, line)
                line_of = y_in
            add_rows(out[y], line, out[y + 1])
        else:
            out[y + 1] = out[y]


@kernel
def sum_row(
    voxels: NDArray[np.int16],
    pad: int,
    window: tuple[int, int],
    outside: int,
    replicate: bool,
    out: NDArray[np.int32],
) -> None:
    """Fill `out` with the padded running sums of one row; all like `integral_image`."""
    low, high = window
    width = voxels.shape[0]
    first = np.int32(min(max(voxels[0], low), high)) - np.int32(outside) if replicate else np.int32(0)
    last = np.int32(min(max(voxels[width - 1], low), high)) - np.int32(outside) if replicate else np.int32(0)
    total = np.int32(0)
    out[0] = total
    for x in range(pad):
        total += first
        out[x + 1] = total
    for x in range(width):
        total += np.int32(min(max(voxels[x], low), high)) - np.int32(outside)
        out[pad + x + 1] = total
    for x in range(pad + width, out.shape[0] - 1):
        total += last
        out[x + 1] = total


@kernel
def add_rows(a: NDArray[np.int32], b: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Fill `out` with a + b, all of one length; sums wrap around."""
    for x in range(out.shape[0]):
        out[x] = a[x] + b[x]
