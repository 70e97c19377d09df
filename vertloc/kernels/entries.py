"""Flat voxels -> where they lie in a padded image; sums over trees -> what is kept of them, sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def padded_positions(
    voxels: NDArray[Any], height: int, width: int, first: int, padded_height: int, padded_width: int
) -> NDArray[np.uint64]:
    """Flat positions, in a padded image, of flat voxels of a volume.

    voxels : (n,) int32 or int64 flat index into (z, height, width)
    first : position of voxel 0, negative if the image begins at a later slice; returns : (n,) uint64
    """
    out = np.empty(voxels.shape[0], np.uint64)
    for i in range(voxels.shape[0]):
        row, x = divmod(np.int64(voxels[i]), np.int64(width))
        z, y = divmod(row, np.int64(height))
        out[i] = np.uint64(first + (z * padded_height + y) * padded_width + x)
    return out


@kernel
def probable_classes(
    voxels: NDArray[Any], sums: NDArray[Any], scale: np.float32, smallest: np.float32
) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.float32]]:
    """List the classes of each voxel, the background left out, whose scaled sum reaches `smallest`.

    voxels : (n,) flat index; sums : (n, 1 + K) float32, or int32 below 2^24, background first
    returns : voxel, of the dtype of `voxels`, rank (uint8, 0 = first class after the background) and scaled sum, by
        voxel, then class
    """
    n = 0
    for i in range(np.uint64(sums.shape[0])):
        for k in range(np.uint64(1), np.uint64(sums.shape[1])):
            if np.float32(sums[i, k]) * scale >= smallest:
                n += 1
    voxel, rank, value = np.empty(n, voxels.dtype), np.empty(n, np.uint8), np.empty(n, np.float32)
    at = np.uint64(0)
    for i in range(np.uint64(sums.shape[0])):
        for k in range(np.uint64(1), np.uint64(sums.shape[1])):
            scaled = np.float32(sums[i, k]) * scale
            if scaled >= smallest:
                voxel[at], rank[at], value[at] = voxels[i], k - np.uint64(1), scaled
                at += np.uint64(1)
    return voxel, rank, value


@kernel
def row_starts(voxels: NDArray[Any], width: int, n_rows: int) -> NDArray[np.int64]:
    """For each row of `width` voxels, where its entries begin in a list that is ordered by voxel: (n_rows + 1,)."""
    starts = np.zeros(n_rows + 1, np.int64)
    row, past = 0, np.int64(width)  # the voxel past this row
    for i in range(voxels.shape[0]):
        while voxels[i] >= past:
            row += 1
            past += width
            starts[row] = i
    starts[row + 1 :] = voxels.shape[0]
    return starts
