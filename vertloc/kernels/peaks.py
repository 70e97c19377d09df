"""Masses on a grid -> the same smoothed by a Gaussian, a slice at a time, and the peaks of the result.

Most rows are empty and passed over, which is faster than scipy.ndimage; and a prediction need not import that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def smooth_slices(
    masses: NDArray[np.float64], weights: NDArray[np.float64], begin: int, end: int, out: NDArray[np.float64]
) -> None:
    """Fill `out[begin:end]` with `masses` convolved along z, then y, then x; 0 outside.

    masses : (z, y, x), contiguous
    weights : (r + 1,) of a symmetric filter, the middle first. Terms are added in the order of scipy's
        `gaussian_filter`, the middle, then from the outside in, so that both give the same bits. Rows without any mass
        near them are passed over.
    """
    depth, height, width = masses.shape
    rows = masses.reshape(depth * height, width)
    radius = weights.shape[0] - 1
    used = used_rows(masses, begin - radius, end + radius)
    along_z, along_y = np.empty((height, width)), np.empty(width + 2 * radius)
    along_y[:] = 0.0  # the margins stay so
    middle = along_y[radius : radius + width]
    for z in range(begin, end):
        filled = np.zeros(height, np.bool_)
        for y in range(height):
            for j in range(-radius, radius + 1):
                filled[y] |= used[z - begin + radius + j, y]
            if filled[y]:
                row = along_z[y]
                row[:] = masses[z, y] * weights[0]
                for j in range(radius, 0, -1):
                    add_pair(rows, z * height + y, j * height, weights[j], row)
            else:
                along_z[y] = 0.0
        for y in range(height):
            if not filled[max(y - radius, 0) : y + radius + 1].any():
                out[z, y] = 0.0
                continue
            middle[:] = along_z[y] * weights[0]
            for j in range(radius, 0, -1):
                add_pair(along_z, y, j, weights[j], middle)
            row = out[z, y]
            row[:] = middle * weights[0]
            for j in range(radius, 0, -1):
                weight = weights[j]
                for x in range(width):
                    row[x] += (along_y[x + radius - j] + along_y[x + radius + j]) * weight


@kernel
def used_rows(masses: NDArray[np.float64], begin: int, end: int) -> NDArray[np.bool_]:
    """Tell which rows of the slices begin .. end - 1 hold any mass: (slices, y); none past the ends."""
    used = np.zeros((end - begin, masses.shape[1]), np.bool_)
    for z in range(max(begin, 0), min(end, masses.shape[0])):
        for y in range(masses.shape[1]):
            used[z - begin, y] = masses[z, y].any()
    return used


@kernel
def add_pair(rows: NDArray[np.float64], at: int, distance: int, weight: float, out: NDArray[np.float64]) -> None:
    """Add to `out` the weighted sum of the two rows at this distance from row `at`; rows past the ends are 0."""
    before, after = at - distance, at + distance
    if before >= 0 and after < rows.shape[0]:
        a, b = rows[before], rows[after]
        for x in range(out.shape[0]):
            out[x] += (a[x] + b[x]) * weight
    elif before >= 0 or after < rows.shape[0]:
        a = rows[before if before >= 0 else after]
        for x in range(out.shape[0]):
            out[x] += a[x] * weight


@kernel
def find_peaks(values: NDArray[np.float64], begin: int, end: int) -> NDArray[np.int64]:
    """Find the cells of slices begin .. end - 1 above 0 that no neighbour of 26 exceeds: (n, 3) indices, in order."""
    _, height, width = values.shape
    found, n = np.empty((64, 3), np.int64), 0
    for z in range(begin, end):
        for y in range(height):
            for x in range(width):
                value = values[z, y, x]
                if value <= 0.0:
                    continue
                # Most cells are told by their neighbours in the row.
                if (x > 0 and values[z, y, x - 1] > value) or (x + 1 < width and values[z, y, x + 1] > value):
                    continue
                block = values[max(z - 1, 0) : z + 2, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                if exceeds(block, value):
                    continue
                if n == found.shape[0]:
                    found = np.concatenate((found, np.empty_like(found)))
                found[n, 0], found[n, 1], found[n, 2] = z, y, x
                n += 1
    return found[:n].copy()


@kernel
def exceeds(block: NDArray[np.float64], value: float) -> bool:
    """Tell whether any element of a block is above a value."""
    for z in range(block.shape[0]):
        for y in range(block.shape[1]):
            for x in range(block.shape[2]):
                if block[z, y, x] > value:
                    return True
    return False
