"""Separable resampling with precomputed weights, straight from the stored integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def resample_slices(
    voxels: NDArray[Any],
    first: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    weights: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]],
    low: np.float32,
    high: np.float32,
    z_from: int,
    z_to: int,
    out: NDArray[np.int16],
) -> None:
    """Fill `out[z_from:z_to]` with weighted means of the input clipped to low..high.

    voxels : (z, y, x) C-contiguous, any real type
    first : per axis z, y, x: (n_out,) index of the first input voxel of each output voxel
    weights : per axis z, y, x: (n_out, taps) float32, rows sum to 1; zero weights may point past the end
    out : (z_out, y_out, x_out) int16, rounded half up
    """
    first_z, first_y, first_x = first
    weights_z, weights_y, weights_x = weights
    n_x = voxels.shape[2]
    row = np.empty(n_x, np.float32)
    for z in range(z_from, z_to):
        for y in range(out.shape[1]):
            row[:] = np.float32(0)
            for kz in range(weights_z.shape[1]):
                for ky in range(weights_y.shape[1]):
                    weight = weights_z[z, kz] * weights_y[y, ky]
                    if weight == np.float32(0):
                        continue
                    source = voxels[first_z[z] + kz, first_y[y] + ky]
                    for x in range(n_x):
                        row[x] += weight * min(max(np.float32(source[x]), low), high)
            for x in range(out.shape[2]):
                total = np.float32(0)
                for kx in range(weights_x.shape[1]):
                    if weights_x[x, kx] != np.float32(0):
                        total += weights_x[x, kx] * row[first_x[x] + kx]
                out[z, y, x] = np.int16(np.floor(total + np.float32(0.5)))
