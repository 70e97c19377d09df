"""Trees as flat arrays -> whether they are trees that a walk can go down without leaving its memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel

SOUND, NO_SUCH_LEAF, CHILD_ASTRAY, NOT_ONE_PARENT, TOO_DEEP = range(5)
"""What `tree_fault` finds."""


@kernel
def tree_fault(roots: NDArray[np.int64], children: NDArray[np.int32], n_leaves: int, most_levels: int) -> int:
    """Look at every node once, parents before children; returns the first fault, or SOUND.

    roots : (trees,) rising, from 0, each below the number of nodes; children : (nodes, 2), see `FlatForest`
    n_leaves : rows that leaves may name; most_levels : of a tree, its root and its leaves included
    """
    n_nodes = children.shape[0]
    levels = np.zeros(n_nodes, np.int32)  # 0: no parent has been seen
    for tree in range(roots.shape[0]):
        end = roots[tree + 1] if tree + 1 < roots.shape[0] else n_nodes
        levels[roots[tree]] = 1
        for node in range(roots[tree], end):
            level = levels[node]
            if level == 0:
                return NOT_ONE_PARENT
            if level > most_levels:
                return TOO_DEEP
            if children[node, 0] < 0:
                if not 0 <= children[node, 1] < n_leaves:
                    return NO_SUCH_LEAF
                continue
            for side in range(2):
                child = children[node, side]
                if not node < child < end:
                    return CHILD_ASTRAY
                if levels[child] != 0:
                    return NOT_ONE_PARENT
                levels[child] = level + 1
    return SOUND
