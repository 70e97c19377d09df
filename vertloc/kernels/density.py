"""Weighted Gaussian density of masses at voxels: its value at points, and mean shift to its modes.

Masses come as a list ordered by voxel, with the place in the list where each row of voxels begins (`row_starts`), so
that a point meets the masses near it only. What is passed over would not have counted, and the rest is added in the
order of the list: the sums are those over all masses, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel

LOWEST_EXPONENT = -12.0
"""Masses whose Gaussian has fallen below exp of this do not count for modes."""


@kernel
def density_at(
    voxels: NDArray[Any],
    masses: NDArray[np.float64],
    starts: NDArray[np.int64],
    z_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    x_mm: NDArray[np.float64],
    at: NDArray[np.float64],
    bandwidth: float,
) -> NDArray[np.float64]:
    """Sum mass times exp(-d^2 / (2 bandwidth^2)) at some points.

    voxels : (m,) rising flat index; masses : (m,); starts : from `row_starts`
    z_mm, y_mm, x_mm : rising world coordinates of the slices, rows and columns of voxels
    at : (n, 3) (x, y, z) mm; returns : (n,)
    """
    out = np.empty(at.shape[0])
    for j in range(at.shape[0]):
        out[j] = sums_near(voxels, masses, starts, z_mm, y_mm, x_mm, at[j], bandwidth)[0]
    return out


@kernel
def mean_shift(
    voxels: NDArray[Any],
    masses: NDArray[np.float64],
    starts: NDArray[np.int64],
    z_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    x_mm: NDArray[np.float64],
    seeds: NDArray[np.float64],
    bandwidth: float,
    tolerance: float,
    most_steps: int,
) -> NDArray[np.float64]:
    """Move each seed to the weighted mean of its Gaussian neighbourhood until it moves less than `tolerance`.

    seeds : (n, 3) (x, y, z) mm; others : see `density_at`
    returns : (n, 3), a seed without any mass near it stays
    """
    out = seeds.copy()
    for j in range(seeds.shape[0]):
        for _ in range(most_steps):
            total, dx, dy, dz = sums_near(voxels, masses, starts, z_mm, y_mm, x_mm, out[j], bandwidth)
            if total <= 0.0:
                break
            dx, dy, dz = dx / total, dy / total, dz / total
            out[j, 0] += dx
            out[j, 1] += dy
            out[j, 2] += dz
            if dx * dx + dy * dy + dz * dz < tolerance * tolerance:
                break
    return out


@kernel
def sums_near(
    voxels: NDArray[Any],
    masses: NDArray[np.float64],
    starts: NDArray[np.int64],
    z_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    x_mm: NDArray[np.float64],
    at: NDArray[np.float64],
    bandwidth: float,
) -> tuple[float, float, float, float]:
    """Sum the weights mass times exp(-d^2 / (2 bandwidth^2)), and weight times displacement (x, y, z), at one point."""
    factor = -0.5 / (bandwidth * bandwidth)
    reach = np.sqrt(LOWEST_EXPONENT / factor)
    total, sum_x, sum_y, sum_z = 0.0, 0.0, 0.0, 0.0
    z_first, z_past = range_near(z_mm, at[2], reach)
    y_first, y_past = range_near(y_mm, at[1], reach)
    x_first, x_past = range_near(x_mm, at[0], reach)
    for z in range(z_first, z_past):
        dz = z_mm[z] - at[2]
        for y in range(y_first, y_past):
            dy = y_mm[y] - at[1]
            if factor * (dy * dy + dz * dz) <= LOWEST_EXPONENT:
                continue
            row = z * y_mm.shape[0] + y
            shift = row * x_mm.shape[0]
            for i in range(starts[row], starts[row + 1]):
                x = voxels[i] - shift
                if x < x_first:
                    continue
                if x >= x_past:
                    break
                dx = x_mm[x] - at[0]
                exponent = factor * (dx * dx + dy * dy + dz * dz)
                if exponent > LOWEST_EXPONENT:
                    weight = masses[i] * np.exp(exponent)
                    total += weight
                    sum_x += weight * dx
                    sum_y += weight * dy
                    sum_z += weight * dz
    return total, sum_x, sum_y, sum_z


@kernel
def class_densities(
    voxels: NDArray[Any],
    ranks: NDArray[np.uint8],
    masses: NDArray[Any],
    starts: NDArray[np.int64],
    z_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    x_mm: NDArray[np.float64],
    at: NDArray[np.float64],
    bandwidth: float,
    n_classes: int,
) -> NDArray[np.float64]:
    """Sum mass times exp(-d^2 / (2 bandwidth^2)) for each class at some points; nothing past 4 bandwidths.

    voxels : (m,) flat index, never falling; ranks : (m,) class of each mass; masses : (m,) float32 or float64
    others : see `density_at`; returns : (n, n_classes)
    """
    out = np.zeros((at.shape[0], n_classes))
    factor = -0.5 / (bandwidth * bandwidth)
    reach = 16.0 * bandwidth * bandwidth
    for j in range(at.shape[0]):
        z_first, z_past = range_near(z_mm, at[j, 2], 4.0 * bandwidth)
        y_first, y_past = range_near(y_mm, at[j, 1], 4.0 * bandwidth)
        x_first, x_past = range_near(x_mm, at[j, 0], 4.0 * bandwidth)
        for z in range(z_first, z_past):
            dz = z_mm[z] - at[j, 2]
            for y in range(y_first, y_past):
                dy = y_mm[y] - at[j, 1]
                row = z * y_mm.shape[0] + y
                shift = row * x_mm.shape[0]
                for i in range(starts[row], starts[row + 1]):
                    x = voxels[i] - shift
                    if x < x_first:
                        continue
                    if x >= x_past:
                        break
                    dx = x_mm[x] - at[j, 0]
                    squared = dx * dx + dy * dy + dz * dz
                    if squared <= reach:
                        out[j, ranks[i]] += np.float64(masses[i]) * np.exp(factor * squared)
    return out


@kernel
def range_near(axis_mm: NDArray[np.float64], centre_mm: float, reach_mm: float) -> tuple[int, int]:
    """First and past the last place of a rising axis within reach, and one more on both sides against rounding."""
    first = int(np.searchsorted(axis_mm, centre_mm - reach_mm)) - 1
    past = int(np.searchsorted(axis_mm, centre_mm + reach_mm)) + 2
    return max(first, 0), min(past, axis_mm.shape[0])
