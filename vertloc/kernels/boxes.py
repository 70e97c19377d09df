"""Context features at many points: one box mean, or the difference of two, from an integral image.

A feature value is defined once, here: float32(sum) * float32(1 / volume), the difference taken in float32. Every other
way to compute it (numpy, the forest walk) gives the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def box_offsets(
    offset_mm: NDArray[np.float32],
    size_mm: NDArray[np.float32],
    spacing_mm: float,
    pad: int,
    height: int,
    width: int,
    corners: NDArray[Any],
    scales: NDArray[np.float32],
) -> None:
    """Fill `corners` and `scales`, as `box_features` takes them, with boxes in whole voxels of an integral image.

    offset_mm, size_mm : (F, 2, 3) float32, (x, y, z) centre and edges of box A and B; or (B, 1, 3), single boxes
    pad, height, width : padding of the image in voxels, and its rows and columns, padding included
    A box is at least one voxel. It is shifted, and if need be cut, to stay within the padding: a scaled or crafted
    feature may reach past it, where no memory is.
    """
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for f in range(offset_mm.shape[0]):
        for box in range(offset_mm.shape[1]):
            volume = np.int64(1)
            for axis in range(3):  # (z, y, x)
                wanted = np.rint(np.float64(size_mm[f, box, 2 - axis]) / spacing_mm)
                size = np.int64(min(max(wanted, 1.0), 2.0 * pad + 1.0))
                centre = np.float64(offset_mm[f, box, 2 - axis]) / spacing_mm
                lowest = np.int64(np.rint(centre - (size - 1) / 2))
                low[axis] = max(lowest, np.int64(-pad))
                low[axis] = min(low[axis], pad + 1 - size)
                high[axis] = low[axis] + size
                volume *= size
            scales[f, box] = np.float32(1.0 / volume)
            # Inclusion and exclusion: corners with an odd number of upper ends are added, the others subtracted.
            added, subtracted = 8 * box, 8 * box + 4
            for upper in (7, 4, 2, 1, 0, 3, 5, 6):
                z = high[0] if upper & 4 else low[0]
                y = high[1] if upper & 2 else low[1]
                x = high[2] if upper & 1 else low[2]
                at = (z * height + y) * width + x
                if upper in (7, 4, 2, 1):
                    corners[f, added] = at
                    added += 1
                else:
                    corners[f, subtracted] = at
                    subtracted += 1


@kernel
def box_features(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    corners: NDArray[Any],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out[i, f]` with feature f at position i.

    integral : flat int32, from `integral_image`
    positions : (n,) uint32 or uint64 flat index of each voxel's lower corner in the integral image
    corners : (F, 16) int32 or int64 flat offsets: the eight corners of box A, then of box B; in each the four added
        corners come first, then the four subtracted ones
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
    corners: NDArray[Any],
    scales: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out[b, i]` with the mean of box b at position i.

    corners : (B, 8) int32 or int64, scales : (B,) float32, for each box what `box_features` takes; out : (B, n) float32
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
    corner: NDArray[Any],
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
    shift = np.uint64(first) - begin
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
def list_features(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    voxels: NDArray[np.uint32],
    corner: NDArray[Any],
    scale: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out[i]` with one feature at `positions[voxel]`, for each voxel i of a list.

    One box at a time: the places of its eight corners stay in registers. By entry of the list, for writing here and
    there would take as long as one more corner.
    corner, scale : one row of what `box_features` takes
    """
    scale_a, scale_b = scale[0], scale[1]
    a0, a1, a2, a3 = np.uint64(corner[0]), np.uint64(corner[1]), np.uint64(corner[2]), np.uint64(corner[3])
    a4, a5, a6, a7 = np.uint64(corner[4]), np.uint64(corner[5]), np.uint64(corner[6]), np.uint64(corner[7])
    for i in range(np.uint64(voxels.shape[0])):
        at = np.uint64(positions[np.uint64(voxels[i])])
        added = integral[at + a0] + integral[at + a1] + integral[at + a2] + integral[at + a3]
        subtracted = integral[at + a4] + integral[at + a5] + integral[at + a6] + integral[at + a7]
        out[i] = np.float32(np.int32(added - subtracted)) * scale_a
    if scale_b == np.float32(0):
        return
    b0, b1, b2, b3 = np.uint64(corner[8]), np.uint64(corner[9]), np.uint64(corner[10]), np.uint64(corner[11])
    b4, b5, b6, b7 = np.uint64(corner[12]), np.uint64(corner[13]), np.uint64(corner[14]), np.uint64(corner[15])
    for i in range(np.uint64(voxels.shape[0])):
        at = np.uint64(positions[np.uint64(voxels[i])])
        added = integral[at + b0] + integral[at + b1] + integral[at + b2] + integral[at + b3]
        subtracted = integral[at + b4] + integral[at + b5] + integral[at + b6] + integral[at + b7]
        out[i] -= np.float32(np.int32(added - subtracted)) * scale_b


@kernel
def box_sum(integral: NDArray[np.int32], position: np.uint64, corner: NDArray[Any], first: int) -> np.float32:
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
