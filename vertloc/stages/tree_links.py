"""Whether each node is a leaf -> the trees, if such a sequence makes whole ones that a walk can go down.

Plain array operations, not a kernel: a model is loaded before anything is compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def link_nodes(is_leaf: NDArray[np.uint8], stack_rows: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Link the trees whose nodes are told depth first, left before right.

    is_leaf : (nodes,) 1 for a leaf; any sequence that ends with a tree's last leaf tells whole trees, and no other does
    stack_rows : of the walk; at each node it holds this node, and the right children of nodes above that are still to
        come
    returns : children (nodes, 2), see `FlatForest`, leaves with rows in their order; roots (trees,)
    Raises ValueError if the last tree is not finished, or more right children wait than the walk can hold.
    """
    # How many right children are still to come after each node; a tree's end lowers it by one more than before.
    after = np.cumsum(1 - 2 * is_leaf.view(np.int8), dtype=np.int32)
    waiting = np.concatenate([np.zeros(1, np.int32), after[:-1]])
    lowest = np.minimum.accumulate(waiting)
    if len(after) == 0 or after[-1] >= lowest[-1]:
        raise ValueError("the last tree is not finished")
    waiting -= lowest
    most = int(waiting.max())
    if most + 1 > stack_rows:
        raise ValueError(f"{most} right children wait in one tree, a walk can hold {stack_rows - 1}")
    roots = np.concatenate([[0], np.flatnonzero(lowest[1:] != lowest[:-1]) + 1])
    # A right child comes when as many are waiting again as before its parent. Short numbers are sorted fast.
    in_order = np.argsort(waiting.astype(np.min_scalar_type(most)), kind="stable")
    leaves = np.flatnonzero(is_leaf.astype(bool))
    left, right = np.arange(1, len(is_leaf) + 1, dtype=np.int32), np.empty(len(is_leaf), np.int32)
    right[in_order[:-1]] = in_order[1:]
    left[leaves], right[leaves] = -1, np.arange(len(leaves))
    return np.stack([left, right], axis=1), roots
