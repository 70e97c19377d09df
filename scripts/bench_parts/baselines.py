"""The baselines: what a competent reader would write first with numpy, scikit-learn, numba or scipy."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from vertloc.stages.context_features import (
    FeatureRule,
    IntegralImage,
    box_corners,
)
from vertloc.stages.forest import FlatForest, bind_forest
from vertloc.stages.preprocess import IsotropicVolume


def numpy_integral(volume: IsotropicVolume, rule: FeatureRule) -> IntegralImage:
    """Make the padded integral image with numpy alone."""
    pad = rule.padding(volume.spacing_mm)
    mode: Any = "edge" if rule.outside == "replicate" else "constant"
    padded = np.pad(volume.voxels.astype(np.int32) - round(rule.outside_hu), pad, mode=mode)
    sums = np.pad(padded, ((1, 0),) * 3)
    for axis in range(3):
        np.cumsum(sums, axis=axis, dtype=np.int32, out=sums)
    return IntegralImage(sums, pad, 0)


def numpy_features(
    sums: NDArray[np.int32],
    positions: NDArray[np.int64],
    corners: NDArray[np.int64],
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Fill the dense (n, F) matrix column by column with fancy indexing; same bits as the project's features.

    sums : flat. The matrix is in column order: filling it so is three times faster than in row order, and
    scikit-learn reads either without a copy.
    """
    out = np.empty((len(positions), len(corners)), np.float32, order="F")
    for f, (corner, scale) in enumerate(zip(corners, scales, strict=True)):
        value = _box_sums(sums, positions, corner[:8]) * scale[0]
        if scale[1]:
            value -= _box_sums(sums, positions, corner[8:]) * scale[1]
        out[:, f] = value
    return out


def _box_sums(sums: NDArray[np.int32], positions: NDArray[np.int64], corner: NDArray[np.int64]) -> NDArray[np.float32]:
    total = sums[positions + corner[0]]
    for k in range(1, 4):
        total += sums[positions + corner[k]]
    for k in range(4, 8):
        total -= sums[positions + corner[k]]
    return total.astype(np.float32)


def dense_probability(
    volume: IsotropicVolume, forest: Any, pool_of: FlatForest, chunk: int | None
) -> NDArray[np.float64]:
    """Dense features with numpy, then scikit-learn's predict_proba: (voxels, classes).

    chunk : voxels at a time; None: all at once
    """
    image = numpy_integral(volume, pool_of.pool.rule)
    corners, scales = box_corners(pool_of.pool, volume.spacing_mm, image)
    index = np.indices(volume.voxels.shape, dtype=np.int64).reshape(3, -1)
    positions = image.positions(*index).astype(np.int64)
    sums = image.sums.reshape(-1)
    chunk = len(positions) if chunk is None else chunk
    parts = [
        forest.predict_proba(numpy_features(sums, positions[i : i + chunk], corners, scales))
        for i in range(0, len(positions), chunk)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def voxelwise_probability(volume: IsotropicVolume, forest: FlatForest, n_threads: int) -> NDArray[np.float32]:
    """Fused walk, voxel by voxel, in parallel: (voxels, classes) float32."""
    numba.set_num_threads(n_threads)
    bound = bind_forest(forest, volume)
    image = bound.image
    index = np.indices(volume.voxels.shape, dtype=np.int64).reshape(3, -1)
    return _walk_each_voxel(
        image.sums.reshape(-1),
        image.positions(*index).astype(np.int64),
        forest.roots,
        forest.children,
        forest.features,
        forest.thresholds,
        forest.leaf_values,
        bound.corners,
        bound.scales,
    )


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _walk_each_voxel(sums, positions, roots, children, features, thresholds, leaf_values, corners, scales):  # type: ignore[no-untyped-def]
    out = np.zeros((len(positions), leaf_values.shape[1]), np.float32)
    for i in numba.prange(len(positions)):
        position = positions[i]
        for tree in range(len(roots)):
            node = roots[tree]
            while children[node, 0] >= 0:
                f = features[node]
                value = _box_sum(sums, position, corners, f, 0) * scales[f, 0]
                if scales[f, 1] != np.float32(0):
                    value -= _box_sum(sums, position, corners, f, 8) * scales[f, 1]
                node = children[node, 0] if value <= thresholds[node] else children[node, 1]
            leaf = children[node, 1]
            for k in range(leaf_values.shape[1]):
                out[i, k] += leaf_values[leaf, k]
        for k in range(leaf_values.shape[1]):
            out[i, k] /= np.float32(len(roots))
    return out


@numba.njit(cache=True, error_model="numpy", inline="always")
def _box_sum(sums, position, corners, f, first):  # type: ignore[no-untyped-def]
    total = np.int32(0)
    for k in range(4):
        total += sums[position + corners[f, first + k]]
    for k in range(4, 8):
        total -= sums[position + corners[f, first + k]]
    return np.float32(np.int32(total))


def kd_tree_modes(
    points: NDArray[np.float64], masses: NDArray[np.float64], bandwidth: float, n_seeds: int
) -> NDArray[np.float64]:
    """Weighted Gaussian mean shift with a k-d tree, all seeds side by side; reach 4 bandwidths, to 0.02 mm.

    n_seeds : at most so many seeds, the heaviest points that lie in different bins of two bandwidths
    returns : (seeds, 3) where each seed ends
    """
    tree = cKDTree(points)
    heaviest = np.argsort(-masses, kind="stable")
    _, first = np.unique(np.floor(points[heaviest] / (2 * bandwidth)).astype(np.int64), axis=0, return_index=True)
    modes = points[heaviest[np.sort(first)[:n_seeds]]].copy()
    moving = np.arange(len(modes))
    for _ in range(50):
        before = modes[moving]
        for row, near in zip(moving, tree.query_ball_point(before, 4 * bandwidth, workers=2), strict=True):
            squared = ((points[near] - modes[row]) ** 2).sum(axis=1)
            weights = masses[near] * np.exp(squared / (-2 * bandwidth**2))
            modes[row] = weights @ points[near] / weights.sum()
        moving = moving[np.linalg.norm(modes[moving] - before, axis=1) >= 0.02]
        if len(moving) == 0:
            break
    return modes
