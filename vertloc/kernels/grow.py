"""Growing one extremely randomised tree on columns of whole-number feature values (Geurts, Ernst, Wehenkel 2006).

A node draws some of the features, for each of them one threshold between the least and the greatest value of its
samples, and keeps the best. All sums are sums of whole numbers: exact in any order, so the compiler may use vector
instructions, and the tree is the same on every machine.

Samples are ordered by class once, at the root. A stable split keeps that order, so in every node the samples of a class
stand in one run, and the mass that goes left is a plain sum over each run.

Two kinds of target share the code. Masses of classes: a split is as good as it lowers the weighted Gini impurity, that
is, as sum over both sides of (sum over classes of mass^2) / mass is high. Vectors: as it lowers their variance, that
is, as sum over both sides of |sum of vectors|^2 / samples is high.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel
from vertloc.kernels.walk import split_list


@kernel
def grow_tree(
    columns: NDArray[np.int16],
    order: NDArray[np.uint32],
    classes: NDArray[np.uint8],
    targets: NDArray[np.int32],
    features_per_node: int,
    min_samples_leaf: int,
    max_depth: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16], NDArray[np.int32]]:
    """Grow a tree; nodes and leaf rows are numbered depth first, left before right.

    columns : (F, n) int16, all values of a feature behind each other
    order : (n,) uint32, the samples, ordered by class; reordered by the tree
    classes : (n,) uint8, below 255; all the same if the targets are vectors
    targets : (n, 1) int32 masses, at least 1, or (n, 3) int32 vectors; any sum of them must fit into an int32
    rng : draws features and thresholds
    returns : children (nodes, 2) int32, left and right node, -1 and the leaf's row at a leaf; features (nodes,) int32
        and thresholds (nodes,) int16, left if value <= threshold, 0 at a leaf; leaf row of every sample, (n,) int32
    """
    n = order.shape[0]
    most_nodes = 2 * max(n // min_samples_leaf, 1)
    children = np.full((most_nodes, 2), -1, np.int32)
    features = np.zeros(most_nodes, np.int32)
    thresholds = np.zeros(most_nodes, np.int16)
    leaf_of = np.empty(n, np.int32)
    spare = np.empty(n, np.uint32)
    values = np.empty(n, np.int16)
    node_targets = np.empty((targets.shape[1], n), np.int32)
    run_ends = np.empty(256, np.int64)
    drawn = np.arange(columns.shape[0])
    stack = np.empty((max_depth + 2, 4), np.int64)  # parent of a right child, else -1; begin, end, depth
    stack[0] = -1, 0, n, 0
    waiting, n_nodes, n_leaves = 1, 0, 0
    while waiting > 0:
        waiting -= 1
        parent, begin, end, depth = stack[waiting]
        node = n_nodes
        n_nodes += 1
        if parent >= 0:
            children[parent, 1] = node
        members = order[begin:end]
        split = False
        if depth < max_depth and end - begin >= 2 * min_samples_leaf:
            n_runs = find_runs(members, classes, run_ends)
            if n_runs > 1 or targets.shape[1] > 1:
                gather_targets(targets, members, node_targets)
                split, feature, threshold = best_split(
                    columns,
                    members,
                    node_targets,
                    run_ends[:n_runs],
                    features_per_node,
                    min_samples_leaf,
                    drawn,
                    values,
                    rng,
                )
        if not split:
            children[node, 1] = n_leaves
            for i in range(members.shape[0]):
                leaf_of[members[i]] = n_leaves
            n_leaves += 1
            continue
        middle = split_list(columns[feature], True, order, spare, begin, end, threshold)
        children[node, 0] = n_nodes
        features[node], thresholds[node] = feature, threshold
        stack[waiting] = node, middle, end, depth + 1
        stack[waiting + 1] = -1, begin, middle, depth + 1
        waiting += 2
    return children[:n_nodes].copy(), features[:n_nodes].copy(), thresholds[:n_nodes].copy(), leaf_of


@kernel
def find_runs(members: NDArray[np.uint32], classes: NDArray[np.uint8], run_ends: NDArray[np.int64]) -> np.int64:
    """Fill `run_ends` with the end of each run of members of one class; return the number of runs."""
    n_runs = 0
    for i in range(1, members.shape[0]):
        if classes[members[i]] != classes[members[i - 1]]:
            run_ends[n_runs] = i
            n_runs += 1
    run_ends[n_runs] = members.shape[0]
    return np.int64(n_runs + 1)


@kernel
def gather_targets(targets: NDArray[np.int32], members: NDArray[np.uint32], out: NDArray[np.int32]) -> None:
    """Fill `out[k, i]` with target k of member i."""
    for i in range(np.uint64(members.shape[0])):
        row = targets[np.uint64(members[i])]
        for k in range(np.uint64(targets.shape[1])):
            out[k, i] = row[k]


@kernel
def best_split(
    columns: NDArray[np.int16],
    members: NDArray[np.uint32],
    targets: NDArray[np.int32],
    run_ends: NDArray[np.int64],
    n_features: int,
    fewest: int,
    drawn: NDArray[np.int64],
    values: NDArray[np.int16],
    rng: np.random.Generator,
) -> tuple[bool, np.int64, np.int16]:
    """Draw features and thresholds, and return whether any splits the members, and the best feature and threshold.

    targets : (1 or 3, n) of the members; run_ends : see `find_runs`; fewest : members that both sides must have
    drawn : (F,) any order of the features, reordered; values : scratch, at least as long as `members`
    """
    n = members.shape[0]
    is_mass = targets.shape[0] == 1
    totals = np.zeros((run_ends.shape[0], targets.shape[0]), np.int64)
    left = np.empty_like(totals)
    # No value is above the highest threshold, whatever `values` holds.
    sum_left(values, np.int16(32767), targets, run_ends, totals)
    all_mass = totals.sum() if is_mass else np.int64(n)
    best, best_feature, best_threshold = -1.0, 0, np.int16(0)
    for k in range(n_features):
        other = k + np.int64(rng.random() * (drawn.shape[0] - k))
        drawn[k], drawn[other] = drawn[other], drawn[k]
        feature = drawn[k]
        low, high = gather_values(columns, feature, members, values)
        # Drawn even if it is of no use, so that a node's draws do not depend on its values.
        at = rng.random()
        if low == high:
            continue
        threshold = np.int16(low + np.int64(at * (np.int64(high) - np.int64(low))))
        sum_left(values, threshold, targets, run_ends, left)
        left_mass = left.sum() if is_mass else count_left(values, threshold, n)
        squares_left, squares_right = 0.0, 0.0
        for r in range(left.shape[0]):
            for t in range(left.shape[1]):
                on_left = np.float64(left[r, t])
                on_right = np.float64(totals[r, t] - left[r, t])
                squares_left += on_left * on_left
                squares_right += on_right * on_right
        score = squares_left / left_mass + squares_right / (all_mass - left_mass)
        if score > best:
            n_left = count_left(values, threshold, n)
            if fewest <= n_left <= n - fewest:
                best, best_feature, best_threshold = score, feature, threshold
    return best >= 0.0, np.int64(best_feature), best_threshold


@kernel
def gather_values(
    columns: NDArray[np.int16], feature: np.int64, members: NDArray[np.uint32], values: NDArray[np.int16]
) -> tuple[np.int16, np.int16]:
    """Fill `values` with the members' values of one feature; return the least and the greatest."""
    row = np.uint64(feature)
    for i in range(np.uint64(members.shape[0])):
        values[i] = columns[row, np.uint64(members[i])]
    low, high = np.int16(32767), np.int16(-32768)
    for i in range(np.uint64(members.shape[0])):
        low = min(low, values[i])
        high = max(high, values[i])
    return low, high


@kernel
def count_left(values: NDArray[np.int16], threshold: np.int16, n: int) -> np.int64:
    """Count the values that go left."""
    count = np.int32(0)
    for i in range(np.uint64(n)):
        count += np.int32(values[i] <= threshold)
    return np.int64(count)


@kernel
def sum_left(
    values: NDArray[np.int16],
    threshold: np.int16,
    targets: NDArray[np.int32],
    run_ends: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Fill `out[r, t]` with the sum of target t over the members of run r that go left."""
    for t in range(targets.shape[0]):
        column = np.uint64(t)
        begin = np.uint64(0)
        for r in range(run_ends.shape[0]):
            end = np.uint64(run_ends[r])
            total = np.int32(0)
            for i in range(begin, end):
                total = np.int32(total + (targets[column, i] if values[i] <= threshold else np.int32(0)))
            out[r, t] = total
            begin = end
