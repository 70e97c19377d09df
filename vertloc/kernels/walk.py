"""The forest walk: a block of voxels flows down each tree, and a node meets all its voxels at once.

Every node evaluates its one feature for the list of voxels that reached it, straight from the integral image, in one
tight loop, and splits the list in place; no feature matrix ever exists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.boxes import box_sum
from vertloc.kernels.jit import kernel


@kernel
def walk_block(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    roots: NDArray[np.int64],
    children: NDArray[np.int32],
    features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    corners: NDArray[np.int64],
    scales: NDArray[np.float32],
    leaf_values: NDArray[Any],
    first_tree: int,
    last_tree: int,
    out: NDArray[Any],
) -> None:
    """Add the leaf values of trees first_tree .. last_tree - 1 to `out`.

    integral : flat int32; positions : (n,) uint64 flat position of each voxel
    roots : (trees,) first node of each tree
    children : (nodes, 2) int32, left and right node; a leaf has -1 on the left and its leaf row on the right
    features, thresholds : (nodes,) row of `corners`, and float32 threshold: left if value <= threshold
    corners, scales : see `box_features`
    leaf_values : (leaves, K) float32 or float64; out : (n, K) of the same type, added to in tree order
    """
    n = positions.shape[0]
    order = np.empty(n, np.uint32)
    spare = np.empty(n, np.uint32)
    # Each level of a tree leaves at most one waiting sibling on the stack.
    stack = np.empty((256, 3), np.int64)
    for tree in range(first_tree, last_tree):
        for i in range(n):
            order[i] = i
        depth = 0
        stack[0, 0], stack[0, 1], stack[0, 2] = roots[tree], 0, n
        while depth >= 0:
            node, begin, end = stack[depth, 0], stack[depth, 1], stack[depth, 2]
            depth -= 1
            if children[node, 0] < 0:
                values = leaf_values[children[node, 1]]
                for i in range(begin, end):
                    row = out[np.uint64(order[np.uint64(i)])]
                    for k in range(values.shape[0]):
                        row[k] += values[k]
                continue
            middle = split_list(integral, positions, order, spare, begin, end, node, features, thresholds, corners, scales)
            if middle < end:
                depth += 1
                stack[depth, 0], stack[depth, 1], stack[depth, 2] = children[node, 1], middle, end
            if begin < middle:
                depth += 1
                stack[depth, 0], stack[depth, 1], stack[depth, 2] = children[node, 0], begin, middle


@kernel
def split_list(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    order: NDArray[np.uint32],
    spare: NDArray[np.uint32],
    begin: int,
    end: int,
    node: int,
    features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    corners: NDArray[np.int64],
    scales: NDArray[np.float32],
) -> int:
    """Reorder `order[begin:end]`: the voxels that go left first, both sides in their old order; return the border."""
    feature = np.uint64(features[node])
    corner = corners[feature]
    scale_a, scale_b = scales[feature, 0], scales[feature, 1]
    threshold = thresholds[node]
    left, right = np.uint64(begin), np.uint64(0)
    one = np.uint64(1)
    two_boxes = scale_b != np.float32(0)
    for i in range(np.uint64(begin), np.uint64(end)):
        voxel = order[i]
        position = positions[np.uint64(voxel)]
        value = box_sum(integral, position, corner, 0) * scale_a
        if two_boxes:
            value -= box_sum(integral, position, corner, 8) * scale_b
        # Writing to both sides and moving one of the two ends avoids a branch that cannot be predicted.
        order[left] = voxel
        spare[right] = voxel
        goes_left = np.uint64(value <= threshold)
        left += goes_left
        right += one - goes_left
    for i in range(right):
        order[left + i] = spare[i]
    return np.int64(left)
