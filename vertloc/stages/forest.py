"""The forest as flat arrays: grown, or copied from scikit-learn's trees, joined, bound to a volume and walked down.

A forest carries the pool of its features, and a pool the rule that their values rest on: nothing has to be passed
beside it, and nothing can be paired wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.walk import add_sparse_trees, add_trees, find_leaves
from vertloc.stages.context_features import (
    FeaturePool,
    IntegralImage,
    Positions,
    box_corners,
    join_pools,
    make_integral_image,
)
from vertloc.stages.leaves import WHOLE, Leaves, SparseLeaves, join_leaves
from vertloc.stages.preprocess import IsotropicVolume


@dataclass(frozen=True, eq=False)
class FlatForest:
    """All trees behind each other.

    roots : (trees,) int64 first node of each tree
    children : (nodes, 2) int32 left and right node; at a leaf -1 and the row of `leaf_values`
    features : (nodes,) int32 row of the pool; thresholds : (nodes,) float32, left if value <= threshold
    leaf_values : (leaves, K) distributions or votes, float32 (float64: scikit-learn's own numbers), or sparse ones
    pool : the features of all trees
    """

    roots: NDArray[np.int64]
    children: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    leaf_values: Leaves
    pool: FeaturePool

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.roots)

    @property
    def unit(self) -> int:
        """What a probability or weight of 1 is in a leaf: sums over all trees are divided by this and `n_trees`."""
        return WHOLE if isinstance(self.leaf_values, SparseLeaves) else 1

    def rows(self) -> NDArray[Any]:
        """Return what the leaves hold, sparse or not, as rows: (leaves, K)."""
        return self.leaf_values.dense() if isinstance(self.leaf_values, SparseLeaves) else self.leaf_values

    def with_leaf_values(self, leaf_values: Leaves) -> FlatForest:
        """Return the same trees with other leaves."""
        return FlatForest(self.roots, self.children, self.features, self.thresholds, leaf_values, self.pool)


def flatten_tree(tree: Any, pool: FeaturePool, dtype: type = np.float32) -> FlatForest:
    """Copy a fitted scikit-learn `tree_` into flat arrays.

    scikit-learn compares a float32 feature with a float64 threshold; rounding the threshold down to float32 changes
    no comparison.
    """
    is_leaf = tree.children_left < 0
    row = np.cumsum(is_leaf) - 1
    children = np.stack(
        [np.where(is_leaf, -1, tree.children_left), np.where(is_leaf, row, tree.children_right)], axis=1
    )
    rounded = tree.threshold.astype(np.float32)
    too_high = rounded.astype(np.float64) > tree.threshold
    rounded[too_high] = np.nextafter(rounded[too_high], np.float32(-np.inf))
    return FlatForest(
        roots=np.zeros(1, np.int64),
        children=children.astype(np.int32),
        features=np.where(is_leaf, 0, tree.feature).astype(np.int32),
        thresholds=np.where(is_leaf, np.float32(0), rounded).astype(np.float32),
        leaf_values=tree.value[is_leaf].reshape(int(is_leaf.sum()), -1).astype(dtype),
        pool=pool,
    )


def join_forests(forests: Sequence[FlatForest]) -> FlatForest:
    """Put forests behind each other, with their own features; a pool that all of them share is kept once."""
    nodes = np.cumsum([0, *(len(f.features) for f in forests)])
    leaves = np.cumsum([0, *(len(f.leaf_values) for f in forests)])
    is_shared = all(f.pool is forests[0].pool for f in forests)
    features = np.cumsum([0, *(0 if is_shared else len(f.pool) for f in forests)])
    children = []
    for forest, node, leaf in zip(forests, nodes, leaves, strict=False):
        is_leaf = forest.children[:, 0] < 0
        left = np.where(is_leaf, -1, forest.children[:, 0] + node)
        right = forest.children[:, 1] + np.where(is_leaf, leaf, node)
        children.append(np.stack([left, right], axis=1))
    return FlatForest(
        roots=np.concatenate([f.roots + n for f, n in zip(forests, nodes, strict=False)]),
        children=np.concatenate(children).astype(np.int32),
        features=np.concatenate([f.features + n for f, n in zip(forests, features, strict=False)]).astype(np.int32),
        thresholds=np.concatenate([f.thresholds for f in forests]),
        leaf_values=join_leaves([f.leaf_values for f in forests]),
        pool=forests[0].pool if is_shared else join_pools([f.pool for f in forests]),
    )


@dataclass(frozen=True, eq=False)
class BoundForest:
    """A forest on a volume, or on some of its slices: what it answers at voxels.

    corners, scales : the pool's features on this image, from `box_corners`
    """

    forest: FlatForest
    volume: IsotropicVolume
    image: IntegralImage
    corners: NDArray[np.integer[Any]]
    scales: NDArray[np.float32]

    def positions(self, voxels: NDArray[np.integer[Any]]) -> Positions:
        """Where flat voxels of the volume lie in the image: (n,) for `sums` and `leaves`.

        They must lie in the slices that the forest is bound to.
        """
        return self.image.positions_of(voxels, self.volume.voxels.shape)

    def leaves(self, positions: Positions, tree: int) -> NDArray[np.int32]:
        """Find the leaf row that each position reaches in one tree: (n,) int32."""
        forest = self.forest
        leaves = np.empty(len(positions), np.int32)
        find_leaves(
            self.image.sums.reshape(-1),
            positions,
            forest.roots[tree],
            forest.children,
            forest.features,
            forest.thresholds,
            self.corners,
            self.scales,
            leaves,
        )
        return leaves

    def sums(self, positions: Positions, trees: range | None = None, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Sum what the leaves of all trees, or of some, hold at some positions, in tree order.

        trees : successive; out : sums to add to, instead of zeros
        returns : (n, K) in the leaves' dtype, of sparse leaves int32; see `FlatForest.unit`
        """
        forest, leaves = self.forest, self.forest.leaf_values
        if out is None:
            out = self.no_sums(len(positions))
        walk = (
            self.image.sums.reshape(-1),
            positions,
            forest.roots if trees is None else forest.roots[trees.start : trees.stop],
            forest.children,
            forest.features,
            forest.thresholds,
            self.corners,
            self.scales,
        )
        if isinstance(leaves, SparseLeaves):
            add_sparse_trees(*walk, leaves.starts, leaves.classes, leaves.shares, out)
        else:
            add_trees(*walk, leaves, out)
        return out

    def no_sums(self, n: int) -> NDArray[Any]:
        """Zeros that `sums` can add to: (n, K)."""
        leaves = self.forest.leaf_values
        if isinstance(leaves, SparseLeaves):
            return np.zeros((n, leaves.n_classes), np.int32)
        return np.zeros((n, leaves.shape[1]), leaves.dtype)


def bind_forest(forest: FlatForest, volume: IsotropicVolume, z_first: int = 0, n_z: int | None = None) -> BoundForest:
    """Bind a forest to the slices z_first .. z_first + n_z - 1 of a volume, by default to all of them."""
    image = make_integral_image(volume, forest.pool.rule, z_first, n_z)
    corners, scales = box_corners(forest.pool, volume.spacing_mm, image)
    return BoundForest(forest, volume, image, corners, scales)
