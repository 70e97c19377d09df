"""Whether each node is a leaf -> the trees, if such a sequence makes whole ones that a walk can go down.

Plain array operations, not a kernel: a model is loaded before anything is compiled. A few trees at a time, which the
processor's cache can hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NODES_AT_ONCE = 100_000


def link_nodes(is_leaf: NDArray[np.bool_], stack_rows: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Link the trees whose nodes are told depth first, left before right.

    is_leaf : (nodes,); any sequence that ends with a tree's last leaf tells whole trees, and no other does
    stack_rows : of the walk; at each node it holds this node, and the right children of nodes above that are still to
        come
    returns : children (nodes, 2), see `FlatForest`, leaves with rows in their order; roots (trees,)
    Raises ValueError if the last tree is not finished, or more right children wait than the walk can hold.
    """
    ends = _ends_of_trees(is_leaf)
    if len(ends) == 0 or ends[-1] != len(is_leaf):
        raise ValueError("the last tree is not finished")
    children = np.empty((len(is_leaf), 2), np.int32)
    begin, n_leaves = 0, 0
    for end in ends[np.diff(ends // _NODES_AT_ONCE, append=-1) != 0].tolist():
        leaves = begin + np.flatnonzero(is_leaf[begin:end])
        children[begin:end, 0] = np.arange(begin + 1, end + 1)
        children[begin:end, 1] = begin + _right_children(is_leaf[begin:end], stack_rows)
        children[leaves, 0] = -1
        children[leaves, 1] = np.arange(n_leaves, n_leaves + len(leaves))
        begin, n_leaves = end, n_leaves + len(leaves)
    return children, np.concatenate([[0], ends[:-1]])


def _waiting(is_leaf: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many right children are still to come after each node; a tree's end lowers it by one more than before."""
    return np.cumsum(1 - 2 * is_leaf.view(np.int8), dtype=np.int32)


def _ends_of_trees(is_leaf: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where the nodes of each finished tree end: (trees,)."""
    lowest = np.minimum.accumulate(np.minimum(_waiting(is_leaf), 0))
    return np.flatnonzero(np.diff(lowest, prepend=np.int32(0)) < 0) + 1


def _right_children(is_leaf: NDArray[np.bool_], stack_rows: int) -> NDArray[np.int64]:
    """Right child of every inner node, and of a leaf anything: (nodes,); the nodes are those of whole trees."""
    waiting = np.concatenate([np.zeros(1, np.int32), _waiting(is_leaf)[:-1]])
    waiting -= np.minimum.accumulate(waiting)
    most = int(waiting.max())
    if most + 1 > stack_rows:
        raise ValueError(f"{most} right children wait in one tree, a walk can hold {stack_rows - 1}")
    # A right child comes when as many are waiting again as before its parent. Short numbers are sorted fast.
    in_order = np.argsort(waiting.astype(np.min_scalar_type(most)), kind="stable")
    right = np.zeros_like(in_order)
    right[in_order[:-1]] = in_order[1:]
    return right
