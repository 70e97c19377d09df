"""Whether each node is a leaf -> the trees, if such a sequence makes whole ones that a walk can go down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel

SOUND, UNFINISHED, TOO_DEEP = range(3)
"""What `link_nodes` finds."""


@kernel
def link_nodes(
    is_leaf: NDArray[np.uint8], most_levels: int, children: NDArray[np.int32], roots: NDArray[np.int64]
) -> tuple[int, int]:
    """Fill `children` and `roots` with the trees whose nodes are told depth first, left before right.

    is_leaf : (nodes,) 1 for a leaf; any sequence that ends with a tree's last leaf tells whole trees, and no other does
    most_levels : of a tree, its root and its leaves included
    children : (nodes, 2), see `FlatForest`; leaves are given rows in their order; roots : (leaves,), filled up to
        the number of trees
    returns : the first fault, or SOUND; the number of trees
    """
    waiting = np.empty(most_levels + 1, np.int64)  # inner nodes whose right child is still to come
    levels = np.empty(most_levels + 1, np.int64)
    n_waiting, n_leaves, n_trees, level, ended = 0, 0, 0, 0, True
    for node in range(is_leaf.shape[0]):
        if ended:
            roots[n_trees] = node
            n_trees += 1
            level, ended = 1, False
        if level > most_levels:
            return TOO_DEEP, n_trees
        if is_leaf[node] == 0:
            children[node, 0] = node + 1
            waiting[n_waiting], levels[n_waiting] = node, level
            n_waiting += 1
            level += 1
            continue
        children[node, 0], children[node, 1] = -1, n_leaves
        n_leaves += 1
        if n_waiting == 0:
            ended = True
            continue
        n_waiting -= 1
        children[waiting[n_waiting], 1] = node + 1
        level = levels[n_waiting] + 1
    return (SOUND if ended and is_leaf.shape[0] > 0 else UNFINISHED), n_trees
