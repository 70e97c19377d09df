"""Weighted Gaussian density of scattered masses: its value at points, and mean shift to its modes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def density_at(
    points: NDArray[np.float64], masses: NDArray[np.float64], at: NDArray[np.float64], bandwidth: float
) -> NDArray[np.float64]:
    """Sum mass times exp(-d^2 / (2 bandwidth^2)) at some points.

    points : (m, 3); masses : (m,); at : (n, 3) in the same unit; returns : (n,)
    """
    out = np.zeros(at.shape[0])
    factor = -0.5 / (bandwidth * bandwidth)
    for j in range(at.shape[0]):
        total = 0.0
        for i in range(points.shape[0]):
            dx = points[i, 0] - at[j, 0]
            dy = points[i, 1] - at[j, 1]
            dz = points[i, 2] - at[j, 2]
            exponent = factor * (dx * dx + dy * dy + dz * dz)
            if exponent > -12.0:
                total += masses[i] * np.exp(exponent)
        out[j] = total
    return out


@kernel
def mean_shift(
    points: NDArray[np.float64],
    masses: NDArray[np.float64],
    seeds: NDArray[np.float64],
    bandwidth: float,
    tolerance: float,
    most_steps: int,
) -> NDArray[np.float64]:
    """Move each seed to the weighted mean of its Gaussian neighbourhood until it moves less than `tolerance`.

    points : (m, 3); masses : (m,); seeds : (n, 3); returns : (n, 3), a seed without any mass near it stays
    """
    out = seeds.copy()
    factor = -0.5 / (bandwidth * bandwidth)
    for j in range(seeds.shape[0]):
        for _ in range(most_steps):
            total, sum_x, sum_y, sum_z = 0.0, 0.0, 0.0, 0.0
            for i in range(points.shape[0]):
                dx = points[i, 0] - out[j, 0]
                dy = points[i, 1] - out[j, 1]
                dz = points[i, 2] - out[j, 2]
                exponent = factor * (dx * dx + dy * dy + dz * dz)
                if exponent > -12.0:
                    weight = masses[i] * np.exp(exponent)
                    total += weight
                    sum_x += weight * dx
                    sum_y += weight * dy
                    sum_z += weight * dz
            if total <= 0.0:
                break
            dx, dy, dz = sum_x / total, sum_y / total, sum_z / total
            out[j, 0] += dx
            out[j, 1] += dy
            out[j, 2] += dz
            if dx * dx + dy * dy + dz * dz < tolerance * tolerance:
                break
    return out
