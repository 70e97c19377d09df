"""A forest <-> the small arrays that a model file keeps of it; nothing is lost, and everything is checked.

Nodes are told depth first, left before right: whether each is a leaf says all about the shape of the trees. An inner
node keeps its feature, counted from the first one of its tree, and its threshold, in steps of the columns that trees
are grown on. Leaves keep what `leaves` makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.walk import STACK_ROWS
from vertloc.stages.context_features import FeaturePool, FeatureRule, steps_of_thresholds, thresholds_in_hu
from vertloc.stages.forest import FlatForest
from vertloc.stages.leaves import WHOLE, Leaves, SparseLeaves, steps_of_votes, votes_from_steps
from vertloc.stages.tree_links import link_nodes

NODES = ("is_leaf", "first_features", "features", "thresholds")
POOL = ("offset_mm", "size_mm")
DISTRIBUTIONS = ("leaf_sizes", "leaf_classes", "leaf_shares")
VOTES = ("displacement", "weight")
MEMBERS = (*NODES, *POOL, *DISTRIBUTIONS, *VOTES)
"""Names of all arrays that a forest may have."""

_FARTHEST_MM = 1000.0

Arrays = Mapping[str, NDArray[Any]]


def pack_forest(forest: FlatForest) -> dict[str, NDArray[Any]]:
    """Return the arrays of a grown forest. Raises ValueError for one whose nodes are not in order, or not in steps."""
    is_leaf = forest.children[:, 0] < 0
    inner = np.flatnonzero(~is_leaf)
    if (forest.children[inner, 0] != inner + 1).any() or (np.diff(forest.children[is_leaf, 1]) != 1).any():
        raise ValueError("only a forest whose nodes are numbered depth first can be packed")
    tree = np.searchsorted(forest.roots, inner, side="right") - 1
    features = forest.features[inner]
    first = np.full(forest.n_trees, len(forest.pool), np.int32)
    np.minimum.at(first, tree, features)
    first[first == len(forest.pool)] = 0
    offset = features - first[tree]
    if offset.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("a tree of more than 65,536 features cannot be packed")
    return {
        "is_leaf": np.packbits(is_leaf),
        "first_features": first,
        "features": offset.astype(np.uint16),
        "thresholds": steps_of_thresholds(forest.thresholds[inner]),
        "offset_mm": forest.pool.offset_mm,
        "size_mm": forest.pool.size_mm,
        **_pack_leaves(forest.leaf_values),
    }


def _pack_leaves(leaves: Leaves) -> dict[str, NDArray[Any]]:
    if isinstance(leaves, SparseLeaves):
        sizes = np.diff(leaves.starts).astype(np.uint8)
        return {"leaf_sizes": sizes, "leaf_classes": leaves.classes, "leaf_shares": leaves.shares}
    displacement, weight = steps_of_votes(leaves)
    if not np.array_equal(votes_from_steps(displacement, weight), leaves):
        raise ValueError("only votes in steps can be packed; see `rounded_votes`")
    return {"displacement": displacement, "weight": weight}


def unpack_distributions(arrays: Arrays, rule: FeatureRule, n_classes: int) -> FlatForest:
    """Check the arrays of a forest whose leaves are distributions, and make it of them.

    Raises ValueError naming the array.
    """
    sizes = _checked(arrays, "leaf_sizes", np.uint8, (None,))
    classes = _checked(arrays, "leaf_classes", np.uint8, (None,))
    shares = _checked(arrays, "leaf_shares", np.uint8, (len(classes),))
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    if len(sizes) == 0 or starts[-1] != len(classes) or (sizes == 0).any():
        raise ValueError(f"leaf_sizes: expected sizes of at least 1 that sum to the {len(classes)} entries")
    if (classes >= n_classes).any():
        raise ValueError(f"leaf_classes: expected classes below {n_classes}")
    # The sums up to the end of each leaf may wrap around, which their differences do not mind; faster than `reduceat`.
    up_to_leaf = np.cumsum(shares, dtype=np.uint32)[starts[1:] - 1]
    if up_to_leaf[0] != WHOLE or (np.diff(up_to_leaf) != WHOLE).any():
        raise ValueError(f"leaf_shares: expected class distributions, got leaves that do not sum to {WHOLE}")
    leaves = SparseLeaves(starts.astype(np.int32), classes, shares, n_classes)
    return _forest(arrays, rule, leaves)


def unpack_votes(arrays: Arrays, rule: FeatureRule) -> FlatForest:
    """Check the arrays of a forest whose leaves are votes, and make it of them. Raises ValueError naming the array."""
    displacement = _checked(arrays, "displacement", np.int16, (3, None))
    weight = _checked(arrays, "weight", np.uint16, (displacement.shape[1],))
    votes = votes_from_steps(displacement, weight)
    if (np.abs(votes[:, :3]) > _FARTHEST_MM).any():
        raise ValueError("displacement: expected displacements of at most 1 m")
    return _forest(arrays, rule, votes)


def _forest(arrays: Arrays, rule: FeatureRule, leaves: Leaves) -> FlatForest:
    features = _checked(arrays, "features", np.uint16, (None,))
    steps = _checked(arrays, "thresholds", np.int16, (len(features),))
    bits = _checked(arrays, "is_leaf", np.uint8, (None,))
    pool = unpack_pool(arrays, rule)
    n_nodes = len(features) + len(leaves)
    is_leaf = np.unpackbits(bits)[:n_nodes].view(np.bool_)
    if len(bits) != -(-n_nodes // 8) or np.count_nonzero(is_leaf) != len(leaves):
        raise ValueError(f"is_leaf: expected {n_nodes} nodes, {len(leaves)} of them leaves")
    try:
        children, roots = link_nodes(is_leaf, STACK_ROWS)
    except ValueError as error:
        raise ValueError(f"is_leaf: {error}") from error
    first = _checked(arrays, "first_features", np.int32, (len(roots),))
    if first.min() < 0 or first.max() >= len(pool):
        raise ValueError("first_features: a tree names a feature that is not in the pool")
    # Of a tree's nodes one more is a leaf than is none.
    of_inner = np.repeat(first, np.diff(roots, append=n_nodes) // 2)
    of_inner += features
    if of_inner.max(initial=0) >= len(pool):
        raise ValueError("features: a node names a feature that is not in the pool")
    # A leaf's feature is never read, but every number in a forest means something.
    all_features, thresholds = np.zeros(n_nodes, np.int32), np.zeros(n_nodes, np.float32)
    all_features[~is_leaf], thresholds[~is_leaf] = of_inner, thresholds_in_hu(steps)
    return FlatForest(roots, children, all_features, thresholds, leaves, pool)


def unpack_pool(arrays: Arrays, rule: FeatureRule) -> FeaturePool:
    """Check stored boxes and make the pool of them. Raises ValueError for a box that its rule does not allow."""
    offset_mm = _checked(arrays, "offset_mm", np.float32, (None, 2, 3))
    size_mm = _checked(arrays, "size_mm", np.float32, (len(offset_mm), 2, 3))
    # Memory is padded by what the rule reaches; single precision may round a little past it.
    farthest, largest = rule.largest_offset_mm * 1.0001, rule.largest_size_mm * 1.0001
    if (size_mm < 0).any() or (size_mm > largest).any() or (np.abs(offset_mm) > farthest).any():
        raise ValueError("offset_mm, size_mm: a feature reaches further than its rule lets it")
    return FeaturePool(offset_mm, size_mm, rule)


def _checked(arrays: Arrays, name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    return checked_array(arrays.get(name), name, dtype, shape)


def checked_array(array: NDArray[Any] | None, name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return an array if it is there, of the wanted type and shape, with finite values; None allows any length.

    Raises ValueError naming it, what was found and what was wanted.
    """
    if array is None:
        raise ValueError(f"{name} is missing")
    fits = array.ndim == len(shape) and all(w is None or n == w for n, w in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        raise ValueError(f"{name}: found {array.dtype} {array.shape}, wanted {np.dtype(dtype)} {shape}")
    # NaN passes through both, so no mask of the array's size is needed.
    if array.dtype.kind == "f" and array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise ValueError(f"{name}: holds values that are not finite")
    return np.ascontiguousarray(array)
