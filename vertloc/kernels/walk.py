"""The forest walk: a block of voxels flows down a tree, and a node meets all its voxels at once.

Every node evaluates its one feature for the list of voxels that reached it, straight from the integral image, in one
tight loop, and splits the list in place; no feature matrix ever exists.

Near the root a list still holds most voxels of the block. Reading the whole range of the block that the list spans,
run by run, is then faster than reading the list's voxels one by one, although some values are computed for nobody.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.boxes import list_features, run_features
from vertloc.kernels.jit import kernel

STACK_ROWS = 512
"""A walk keeps the node that it is at, and the right children above that still wait; no tree may need more."""
READ_IN_RUN, START_OF_RUN = 0.2, 3.0
"""Cost of a voxel in a run, and of starting a run, against reading one voxel on its own: measured."""
_FEWEST_DENSE = np.uint64(32)


@kernel
def find_leaves(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    root: int,
    children: NDArray[np.int32],
    features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    corners: NDArray[Any],
    scales: NDArray[np.float32],
    leaves: NDArray[np.int32],
) -> None:
    """Fill `leaves` with the leaf row that each position reaches in one tree.

    integral : flat int32; positions : (n,) uint32 or uint64 flat position of each voxel
    children : (nodes, 2) int32, left and right node; a leaf has -1 on the left and its leaf row on the right
    features, thresholds : (nodes,) row of `corners`, and float32 threshold: left if value <= threshold
    corners, scales : see `box_features`
    leaves : (n,) int32, filled
    """
    n = positions.shape[0]
    order = np.arange(n).astype(np.uint32)
    spare = np.empty(n, np.uint32)
    run_ends = find_run_ends(positions)
    values = np.empty(n, np.float32)
    cost_in_runs = READ_IN_RUN + START_OF_RUN * count_runs(run_ends) / max(n, 1)
    stack = np.empty((STACK_ROWS, 3), np.int64)
    depth = 0
    stack[0, 0], stack[0, 1], stack[0, 2] = root, 0, n
    while depth >= 0:
        node, begin, end = np.uint64(stack[depth, 0]), stack[depth, 1], stack[depth, 2]
        depth -= 1
        if children[node, 0] < 0:
            leaf = children[node, 1]
            for i in range(np.uint64(begin), np.uint64(end)):
                leaves[np.uint64(order[i])] = leaf
            continue
        feature = np.uint64(features[node])
        corner, scale, threshold = corners[feature], scales[feature], thresholds[node]
        low, past = dense_range(order, begin, end, cost_in_runs)
        is_dense = bool(low < past)
        if is_dense:
            while low < past:
                run_end = min(np.uint64(run_ends[low]), past)
                run_features(integral, positions[low], corner, scale, low, run_end, values)
                low = run_end
        else:
            list_features(integral, positions, order[begin:end], corner, scale, values)
        middle = split_list(values, is_dense, order, spare, begin, end, threshold)
        if middle < end:
            depth += 1
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = children[node, 1], middle, end
        if begin < middle:
            depth += 1
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = children[node, 0], begin, middle


@kernel
def split_list(
    values: NDArray[Any],
    of_voxels: bool,
    order: NDArray[np.uint32],
    spare: NDArray[np.uint32],
    begin: int,
    end: int,
    threshold: Any,
) -> np.int64:
    """Reorder `order[begin:end]`: the voxels that go left first, both sides in their old order; return the border.

    values : the feature's values; of_voxels : True: that of each voxel, False: that of each entry of the list
    threshold : of the same type
    """
    left, right = np.uint64(begin), np.uint64(0)
    one = np.uint64(1)
    for i in range(np.uint64(begin), np.uint64(end)):
        voxel = order[i]
        # Writing to both sides and moving one of the two ends avoids a branch that cannot be predicted.
        order[left] = voxel
        spare[right] = voxel
        goes_left = np.uint64(values[np.uint64(voxel) if of_voxels else i - np.uint64(begin)] <= threshold)
        left += goes_left
        right += one - goes_left
    for i in range(right):
        order[left + i] = spare[i]
    return np.int64(left)


@kernel
def dense_range(order: NDArray[np.uint32], begin: int, end: int, cost_in_runs: float) -> tuple[np.uint64, np.uint64]:
    """Range of voxels, first and past the last, that a list spans if reading all of it is worth while; else 0, 0."""
    members = np.uint64(end - begin)
    if members < _FEWEST_DENSE:
        return np.uint64(0), np.uint64(0)
    low, past = np.uint64(order[np.uint64(begin)]), np.uint64(order[np.uint64(end - 1)]) + np.uint64(1)
    if (past - low) * cost_in_runs > members:
        return np.uint64(0), np.uint64(0)
    return low, past


@kernel
def find_run_ends(positions: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """For each voxel of a block, where the run of successive positions that it belongs to ends: (n,) uint32."""
    n = positions.shape[0]
    ends = np.empty(n, np.uint32)
    end = n
    for i in range(n - 1, -1, -1):
        ends[i] = end
        if i > 0 and positions[i] != positions[i - 1] + np.uint64(1):
            end = i
    return ends


@kernel
def count_runs(run_ends: NDArray[np.uint32]) -> np.int64:
    """Count the runs that `find_run_ends` found."""
    n_runs, voxel = 0, np.uint64(0)
    while voxel < np.uint64(run_ends.shape[0]):
        voxel = np.uint64(run_ends[voxel])
        n_runs += 1
    return np.int64(n_runs)


@kernel
def add_trees(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    roots: NDArray[np.int64],
    children: NDArray[np.int32],
    features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    corners: NDArray[Any],
    scales: NDArray[np.float32],
    leaf_values: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Add the leaf values of some trees, one after the other, to each position's row of `out`, (n, K).

    roots : first node of each of the trees; others : see `find_leaves` and `add_leaf_values`
    """
    leaves = np.empty(positions.shape[0], np.int32)
    for root in roots:
        find_leaves(integral, positions, root, children, features, thresholds, corners, scales, leaves)
        add_leaf_values(leaves, leaf_values, out)


@kernel
def add_sparse_trees(
    integral: NDArray[np.int32],
    positions: NDArray[np.uint64],
    roots: NDArray[np.int64],
    children: NDArray[np.int32],
    features: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    corners: NDArray[Any],
    scales: NDArray[np.float32],
    starts: NDArray[np.int32],
    classes: NDArray[np.uint8],
    shares: NDArray[np.uint8],
    out: NDArray[np.int32],
) -> None:
    """Do what `add_trees` does with leaves that list what is in them; see `add_leaf_shares`."""
    leaves = np.empty(positions.shape[0], np.int32)
    for root in roots:
        find_leaves(integral, positions, root, children, features, thresholds, corners, scales, leaves)
        add_leaf_shares(leaves, starts, classes, shares, out)


@kernel
def add_leaf_shares(
    leaves: NDArray[np.int32],
    starts: NDArray[np.int32],
    classes: NDArray[np.uint8],
    shares: NDArray[np.uint8],
    out: NDArray[np.int32],
) -> None:
    """Add the shares of each position's leaf to its row of `out`, (n, K).

    starts : (leaves + 1,) where each leaf's entries begin; classes, shares : (entries,) column, and what to add
    """
    for i in range(np.uint64(leaves.shape[0])):
        leaf = np.uint64(leaves[i])
        row = out[i]
        for entry in range(np.uint64(starts[leaf]), np.uint64(starts[leaf + np.uint64(1)])):
            row[np.uint64(classes[entry])] += np.int32(shares[entry])


@kernel
def add_leaf_values(leaves: NDArray[np.int32], leaf_values: NDArray[Any], out: NDArray[Any]) -> None:
    """Add each position's leaf values, (leaves, K), to its row of `out`, (n, K), of the same type."""
    for i in range(np.uint64(leaves.shape[0])):
        values = leaf_values[np.uint64(leaves[i])]
        row = out[i]
        for k in range(np.uint64(values.shape[0])):
            row[k] += values[k]
