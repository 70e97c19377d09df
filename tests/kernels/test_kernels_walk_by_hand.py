"""The walk on trees made by hand: random ones, chains as deep as allowed, and the split of one list."""

import numpy as np
import pytest

from vertloc.kernels.walk import STACK_ROWS, add_leaf_shares, add_leaf_values, find_leaves, split_list

# An integral image of single voxels: the box at flat position p sums to VALUES[p], whatever its other corners say.
CORNER = np.array([1, 0, 0, 0, 0, 0, 0, 0], np.int64)


def line_of(values):
    """A flat integral image in which the box from `CORNER` at position i sums to values[i]."""
    return np.concatenate([[0], np.cumsum(values)]).astype(np.int32)


def corners_of(n_features):
    """Feature f reads the value f places further on; the second box reads the value at the position itself."""
    corners = np.zeros((n_features, 16), np.int64)
    corners[:, 0] = np.arange(n_features) + 1
    corners[:, 4] = np.arange(n_features)
    corners[:, 8], corners[:, 12] = 1, 0
    return corners


def random_tree(rng, n_inner, n_features):
    """Children after their parents; leaves numbered in the order of the nodes."""
    children, waiting = [], 1
    while waiting:
        is_inner = n_inner > 0 and (waiting == 1 or rng.random() < 0.6)
        n_inner -= is_inner
        waiting += 1 if is_inner else -1
        children.append(is_inner)
    return _linked(children, rng, n_features)


def _linked(inner, rng, n_features):
    n = len(inner)
    children = np.full((n, 2), -1, np.int32)
    order = [0]
    free = 1
    for node in range(n):
        if inner[node]:
            children[node] = free, free + 1
            order += [free, free + 1]
            free += 2
    is_leaf = children[:, 0] < 0
    children[is_leaf, 1] = np.arange(is_leaf.sum())
    features = rng.integers(0, n_features, n).astype(np.int32)
    return children, features, rng.integers(-20, 20, n).astype(np.float32)


def naive_leaf(values, position, root, children, features, thresholds, scales):
    node = root
    while children[node, 0] >= 0:
        f = features[node]
        value = np.float32(values[position + f]) * scales[f, 0]
        if scales[f, 1]:
            value = value - np.float32(values[position]) * scales[f, 1]
        node = children[node, 0 if value <= thresholds[node] else 1]
    return children[node, 1]


@pytest.mark.parametrize("seed", range(12))
def test_voxels_reach_the_leaves_of_a_walk_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n_features = 5
    children, features, thresholds = random_tree(rng, int(rng.integers(0, 30)), n_features)
    # Halves and thirds, so that values meet thresholds exactly and also fall between them.
    scales = rng.choice(np.array([1, 0.5, 1 / 3], np.float32), (n_features, 2))
    scales[::2, 1] = 0
    values = rng.integers(-40, 40, 80)
    positions = rng.integers(0, 75, 50).astype(np.uint64)
    leaves = np.full(50, -7, np.int32)
    tree = (children, features, thresholds)
    find_leaves(line_of(values), positions, 0, *tree, corners_of(n_features), scales, leaves)
    np.testing.assert_array_equal(leaves, [naive_leaf(values, int(p), 0, *tree, scales) for p in positions])


def test_a_tree_behind_another_starts_at_its_own_root():
    rng = np.random.default_rng(3)
    first, second = random_tree(rng, 6, 2), random_tree(rng, 9, 2)
    shifted = np.where(second[0][:, :1] < 0, second[0], second[0] + len(first[0]))
    tree = tuple(np.concatenate(pair) for pair in zip(first, (shifted, *second[1:]), strict=True))
    values, positions = rng.integers(-40, 40, 30), np.arange(25, dtype=np.uint64)
    scales = np.array([[1, 0], [1, 0]], np.float32)
    leaves = np.empty(25, np.int32)
    find_leaves(line_of(values), positions, len(first[0]), *tree, corners_of(2), scales, leaves)
    np.testing.assert_array_equal(leaves, [naive_leaf(values, p, 0, *second, scales) for p in range(25)])


@pytest.mark.parametrize("deep_side", [0, 1])
def test_a_chain_that_fills_the_stack_sorts_every_value_into_its_own_leaf(deep_side):
    levels = STACK_ROWS - 1
    node = 2 * np.arange(levels)
    children = np.full((2 * levels + 1, 2), -1, np.int32)
    children[node, deep_side], children[node, 1 - deep_side] = node + 2, node + 1
    is_leaf = children[:, 0] < 0
    children[is_leaf, 1] = np.arange(levels + 1)
    # Each node splits off one value: the highest of those left when the deep side is the left one.
    thresholds = np.zeros(len(children), np.float32)
    thresholds[node] = levels - 1 - np.arange(levels) if deep_side == 0 else np.arange(levels)
    values = np.random.default_rng(0).permutation(levels + 1)
    # Only voxels that wait fill the stack, and they wait on the right; without them a few voxels will do.
    positions = np.arange(levels + 1 if deep_side == 0 else 9, dtype=np.uint64)
    values_there = values[positions.astype(int)]
    leaves = np.empty(len(positions), np.int32)
    features, scales = np.zeros(len(children), np.int32), np.array([[1, 0]], np.float32)
    find_leaves(line_of(values), positions, 0, children, features, thresholds, corners_of(1), scales, leaves)
    np.testing.assert_array_equal(leaves, levels - values_there if deep_side == 0 else values_there)


def test_no_voxels_reach_no_leaf():
    children, features, thresholds = random_tree(np.random.default_rng(0), 4, 1)
    leaves = np.empty(0, np.int32)
    scales = np.array([[1, 0]], np.float32)
    none = np.empty(0, np.uint64)
    find_leaves(line_of([1, 2]), none, 0, children, features, thresholds, corners_of(1), scales, leaves)
    assert len(leaves) == 0


@pytest.mark.parametrize("of_voxels", [False, True])
@pytest.mark.parametrize("threshold", [-100, -1, 0, 100])
@pytest.mark.parametrize("part", [(0, 20), (4, 13), (7, 7)])
def test_a_list_is_split_in_its_old_order_and_nothing_beside_it_moves(of_voxels, threshold, part):
    rng = np.random.default_rng(1)
    values = rng.integers(-5, 5, 20).astype(np.float32)
    order = rng.permutation(20).astype(np.uint32)
    before = order.copy()
    begin, end = part
    own = before[begin:end]
    given = values if of_voxels else values[own]
    middle = split_list(given, of_voxels, order, np.empty(20, np.uint32), begin, end, np.float32(threshold))
    left = values[own] <= threshold
    assert middle == begin + left.sum()
    np.testing.assert_array_equal(order[begin:end], np.concatenate([own[left], own[~left]]))
    np.testing.assert_array_equal(order[:begin], before[:begin])
    np.testing.assert_array_equal(order[end:], before[end:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leaf_values_are_added_to_what_is_there(dtype):
    rng = np.random.default_rng(2)
    leaf_values, out = rng.random((6, 3)).astype(dtype), rng.random((10, 3)).astype(dtype)
    leaves = rng.integers(0, 6, 10).astype(np.int32)
    expected = out + leaf_values[leaves]
    add_leaf_values(leaves, leaf_values, out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("n", [0, 1, 50])
def test_shares_are_added_to_the_classes_that_a_leaf_lists(n):
    rng = np.random.default_rng(n)
    dense = rng.integers(0, 256, (9, 6)) * (rng.random((9, 6)) < 0.4)
    dense[3] = 0
    leaf, classes = np.nonzero(dense)
    starts = np.searchsorted(leaf, np.arange(10)).astype(np.int32)
    leaves = rng.integers(0, 9, n).astype(np.int32)
    out = rng.integers(0, 100, (n, 6)).astype(np.int32)
    expected = out + dense[leaves]
    add_leaf_shares(leaves, starts, classes.astype(np.uint8), dense[leaf, classes].astype(np.uint8), out)
    np.testing.assert_array_equal(out, expected)
