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
def box_means(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    corners: NDArray[np.int64],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out[b, i]` with the mean of box b at position i.

    corners : (B, 8) int64, scales : (B,) float32, for each box what `box_features` takes; out : (B, n) float32
    """
    for b in range(corners.shape[0]):
        for i in range(positions.shape[0]):
            out[b, i] = box_sum(integral, positions[i], corners[b], 0) * scales[b]


@kernel
def difference_steps(
    means: NDArray[np.float32], boxes: NDArray[np.int64], steps: np.float32, out: NDArray[np.int16]
) -> None:
    """Fill `out[f, i]` with the difference of two box means in whole steps, rounded down, as far as an int16 goes.

    means : (B, n) float32, HU; boxes : (F, 2) int64 rows of the two boxes; steps : a power of two, steps per HU
    out : (F, n) int16
    """
    for f in range(boxes.shape[0]):
        first, second = np.uint64(boxes[f, 0]), np.uint64(boxes[f, 1])
        for i in range(np.uint64(means.shape[1])):
            value = np.floor((means[first, i] - means[second, i]) * steps)
            out[f, i] = np.int16(min(max(value, np.float32(-32768)), np.float32(32767)))


@kernel
def run_features(
    integral: NDArray[np.int32],
    first: np.uint64,
    corner: NDArray[np.int64],
    scale: NDArray[np.float32],
    begin: np.uint64,
    end: np.uint64,
    out: NDArray[np.float32],
) -> None:
    """Fill `out[begin:end]` with one feature at the positions first, first + 1, ...

    The reads are contiguous, so that the compiler makes vector instructions of them: several times faster a voxel than
    reads here and there. corner, scale : one row of what `box_features` takes
    """
    scale_a, scale_b = scale[0], scale[1]
    # One start for each corner, minus `begin`: unsigned sums wrap to the right place.
    shift = first - begin
    a0, a1 = shift + np.uint64(corner[0]), shift + np.uint64(corner[1])
    a2, a3 = shift + np.uint64(corner[2]), shift + np.uint64(corner[3])
    a4, a5 = shift + np.uint64(corner[4]), shift + np.uint64(corner[5])
    a6, a7 = shift + np.uint64(corner[6]), shift + np.uint64(corner[7])
    if scale_b == np.float32(0):
        for i in range(begin, end):
            added = integral[a0 + i] + integral[a1 + i] + integral[a2 + i] + integral[a3 + i]
            subtracted = integral[a4 + i] + integral[a5 + i] + integral[a6 + i] + integral[a7 + i]
            out[i] = np.float32(np.int32(added - subtracted)) * scale_a
        return
    b0, b1 = shift + np.uint64(corner[8]), shift + np.uint64(corner[9])
    b2, b3 = shift + np.uint64(corner[10]), shift + np.uint64(corner[11])
    b4, b5 = shift + np.uint64(corner[12]), shift + np.uint64(corner[13])
    b6, b7 = shift + np.uint64(corner[14]), shift + np.uint64(corner[15])
    for i in range(begin, end):
        added = integral[a0 + i] + integral[a1 + i] + integral[a2 + i] + integral[a3 + i]
        subtracted = integral[a4 + i] + integral[a5 + i] + integral[a6 + i] + integral[a7 + i]
        value = np.float32(np.int32(added - subtracted)) * scale_a
        added = integral[b0 + i] + integral[b1 + i] + integral[b2 + i] + integral[b3 + i]
        subtracted = integral[b4 + i] + integral[b5 + i] + integral[b6 + i] + integral[b7 + i]
        out[i] = value - np.float32(np.int32(added - subtracted)) * scale_b


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
