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
    height, width = voxels.shape[1], voxels.shape[2]
    low, high = window
    size_z, size_y, size_x = out.shape[0] - 1, out.shape[1] - 1, out.shape[2] - 1
    out[0] = 0
    for z in range(size_z):
        z_in = z_first + z - pad
        z_inside = 0 <= z_in < voxels.shape[0]
        z_in = min(max(z_in, 0), voxels.shape[0] - 1)
        out[z + 1, 0] = 0
        for y in range(size_y):
            y_in = y - pad
            y_inside = 0 <= y_in < height
            y_in = min(max(y_in, 0), height - 1)
            above = out[z, y + 1]
            target = out[z + 1, y + 1]
            # `line` is the running sum along x.
            line = np.int32(0)
            before = out[z + 1, y]
            before_above = out[z, y]
            target[0] = 0
            if replicate or (z_inside and y_inside):
                source = voxels[z_in, y_in]
                for x in range(size_x):
                    x_in = x - pad
                    if replicate or 0 <= x_in < width:
                        value = min(max(source[min(max(x_in, 0), width - 1)], low), high)
                        line += np.int32(value) - np.int32(outside)
                    target[x + 1] = line + above[x + 1] + before[x + 1] - before_above[x + 1]
            else:
                for x in range(size_x):
                    target[x + 1] = above[x + 1] + before[x + 1] - before_above[x + 1]
