"""Context features at many points: one box mean, or the difference of two, from an integral image.

A feature value is defined once, here: float32(sum) * float32(1 / volume), the difference taken in float32. Every other
way to compute it (numpy, the forest walk) gives the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def box_features(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    corners: NDArray[np.int64],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out[i, f]` with feature f at position i.

    integral : flat int32, from `integral_image`
    positions : (n,) uint64 flat index of each voxel's lower corner in the integral image
    corners : (F, 16) int64 flat offsets: the eight corners of box A, then of box B; in each the four added corners
        come first, then the four subtracted ones
    scales : (F, 2) float32, 1 / voxels of box A and B; 0 for B: a single box
    out : (n, F) float32, HU
    """
    for f in range(corners.shape[0]):
        corner = corners[f]
        scale_a, scale_b = scales[f, 0], scales[f, 1]
        for i in range(positions.shape[0]):
            value = box_sum(integral, positions[i], corner, 0) * scale_a
            if scale_b != np.float32(0):
                value -= box_sum(integral, positions[i], corner, 8) * scale_b
            out[i, f] = value


@kernel
def box_sum(integral: NDArray[np.int32], position: np.uint64, corner: NDArray[np.int64], first: int) -> np.float32:
    """Sum one box at a flat position; unsigned indices spare numba's wraparound checks."""
    added = (
        integral[position + np.uint64(corner[first])]
        + integral[position + np.uint64(corner[first + 1])]
        + integral[position + np.uint64(corner[first + 2])]
        + integral[position + np.uint64(corner[first + 3])]
    )
    subtracted = (
        integral[position + np.uint64(corner[first + 4])]
        + integral[position + np.uint64(corner[first + 5])]
        + integral[position + np.uint64(corner[first + 6])]
        + integral[position + np.uint64(corner[first + 7])]
    )
    return np.float32(np.int32(added - subtracted))
