"""Whether each node is a leaf -> the trees, if such a sequence makes whole ones that a walk can go down.

Plain array operations, not a kernel: a model is loaded before anything is compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def link_nodes(is_leaf: NDArray[np.uint8], most_levels: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Link the trees whose nodes are told depth first, left before right.

    is_leaf : (nodes,) 1 for a leaf; any sequence that ends with a tree's last leaf tells whole trees, and no other does
    most_levels : of a tree, its root and its leaves included
    returns : children (nodes, 2), see `FlatForest`, leaves with rows in their order; roots (trees,)
    Raises ValueError if the last tree is not finished, or one is too deep.
    """
    # How many right children are still to come before each node, and after the last one; a tree's end lowers it by one
    # more than the trees before did.
    steps = 1 - 2 * is_leaf.astype(np.int32)
    waiting = np.concatenate([[0], np.cumsum(steps, dtype=np.int64)])
    after, waiting = waiting[-1], waiting[:-1]
    if after >= waiting.min(initial=0):
        raise ValueError("the last tree is not finished")
    roots = np.concatenate([[0], np.flatnonzero(np.diff(np.minimum.accumulate(waiting))) + 1])
    # A right child comes when as many are waiting again as before its parent.
    narrow = np.min_scalar_type(-1 - max(-int(waiting.min()), int(waiting.max())))  # short numbers are sorted fast
    in_order = np.argsort(waiting.astype(narrow), kind="stable")
    right = np.empty(len(is_leaf), np.int32)
    right[in_order[:-1]], right[in_order[-1]] = in_order[1:], 0
    left = np.arange(1, len(is_leaf) + 1, dtype=np.int32)
    _check_depth(is_leaf, left, right, roots, most_levels)
    row = np.cumsum(is_leaf, dtype=np.int32) - 1
    return np.stack([np.where(is_leaf, -1, left), np.where(is_leaf, row, right)], axis=1), roots


def _check_depth(
    is_leaf: NDArray[np.uint8],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    roots: NDArray[np.int64],
    most_levels: int,
) -> None:
    inner = roots[is_leaf[roots] == 0]
    for _ in range(most_levels - 1):
        if len(inner) == 0:
            return
        level = np.concatenate([left[inner], right[inner]])
        inner = level[is_leaf[level] == 0]
    if len(inner):
        raise ValueError(f"deeper than {most_levels} levels")
