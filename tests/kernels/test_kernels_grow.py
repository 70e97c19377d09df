"""The growing kernel against a slow twin that makes the same draws, and against scikit-learn where nothing is drawn."""

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from vertloc.kernels.grow import (
    best_split,
    count_left,
    find_runs,
    gather_targets,
    gather_values,
    grow_tree,
    sum_left,
)


def naive_tree(columns, classes, targets, features_per_node, min_samples_leaf, max_depth, rng):
    """Grow the same tree with sums over classes written out: nodes (feature, threshold, left, right) or a leaf row."""
    drawn = list(range(len(columns)))
    nodes, leaf_of = [], np.empty(len(classes), int)
    is_mass = targets.shape[1] == 1

    def quality(rows):
        if is_mass:
            sums = np.array([targets[rows][classes[rows] == c].sum() for c in np.unique(classes)], float)
            return (sums**2).sum() / sums.sum()
        return (targets[rows].sum(axis=0).astype(float) ** 2).sum() / len(rows)

    def best(rows):
        found = None
        for k in range(features_per_node):
            other = k + int(rng.random() * (len(drawn) - k))
            drawn[k], drawn[other] = drawn[other], drawn[k]
            values = columns[drawn[k]][rows].astype(int)
            at = rng.random()
            if values.min() == values.max():
                continue
            threshold = values.min() + int(at * (values.max() - values.min()))
            left, right = rows[values <= threshold], rows[values > threshold]
            if min(len(left), len(right)) >= min_samples_leaf:
                score = quality(left) + quality(right)
                if found is None or score > found[0]:
                    found = (score, drawn[k], threshold, left, right)
        return found

    def grow(rows, depth):
        node = len(nodes)
        nodes.append(None)
        is_pure = is_mass and len(np.unique(classes[rows])) == 1
        split = best(rows) if depth < max_depth and len(rows) >= 2 * min_samples_leaf and not is_pure else None
        if split is None:
            nodes[node] = ("leaf", len(set(leaf_of[seen])) if seen else 0)
            leaf_of[rows] = nodes[node][1]
            seen.extend(rows)
            return node
        _, feature, threshold, left, right = split
        nodes[node] = (feature, threshold, grow(left, depth + 1), grow(right, depth + 1))
        return node

    seen = []
    grow(np.argsort(classes, kind="stable"), 0)
    return nodes, leaf_of


def grow(columns, classes, targets, features_per_node=5, min_samples_leaf=3, max_depth=6, seed=0):
    order = np.argsort(classes, kind="stable").astype(np.uint32)
    rng = np.random.default_rng(seed)
    return grow_tree(columns, order, classes, targets, features_per_node, min_samples_leaf, max_depth, rng)


def problem(kind, seed, n=60, n_features=8, n_classes=4):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, n_classes, n).astype(np.uint8)
    columns = (rng.normal(0, 300, (n_features, n)) + 200 * rng.normal(size=(n_features, n_classes))[:, classes]).astype(
        np.int16
    )
    columns[0] = 7
    if kind == "masses":
        return columns, classes, rng.integers(1, 5000, (n, 1)).astype(np.int32)
    vectors = (columns[1:4].T * rng.choice([-1, 1], 3) + rng.normal(0, 50, (n, 3))).astype(np.int32)
    return columns, np.zeros(n, np.uint8), vectors


@pytest.mark.parametrize("kind", ["masses", "vectors"])
@pytest.mark.parametrize("seed", range(6))
def test_a_tree_is_the_one_of_the_naive_twin(kind, seed):
    columns, classes, targets = problem(kind, seed)
    options = {"features_per_node": [2, 5, 8][seed % 3], "min_samples_leaf": [1, 3][seed % 2], "max_depth": 2 + seed}
    children, features, thresholds, leaf_of = grow(columns, classes, targets, **options, seed=seed)
    nodes, expected = naive_tree(columns, classes, targets, **options, rng=np.random.default_rng(seed))
    assert len(nodes) == len(children) > 3
    for node, own in enumerate(nodes):
        if own[0] == "leaf":
            assert tuple(children[node]) == (-1, own[1])
        else:
            assert (features[node], thresholds[node], *children[node]) == own
    np.testing.assert_array_equal(leaf_of, expected)


@pytest.mark.parametrize("kind", ["masses", "vectors"])
def test_where_a_column_has_two_values_the_best_split_is_scikit_learns(kind):
    columns, classes, targets = problem(kind, 3, n=200, n_features=12)
    columns = (columns > np.median(columns, axis=1)[:, None]).astype(np.int16)
    settings = {"max_depth": 3, "min_samples_leaf": 4}
    _, features, _, leaf_of = grow(columns, classes, targets, features_per_node=12, **settings)
    if kind == "masses":
        tree = DecisionTreeClassifier(**settings).fit(columns.T, classes, sample_weight=targets[:, 0])
    else:
        tree = DecisionTreeRegressor(**settings).fit(columns.T, targets)
    assert features[0] == tree.tree_.feature[0]
    own, theirs = leaf_of, tree.apply(columns.T)
    assert len(np.unique(own)) > 4
    # The same samples are together: each leaf of one is a leaf of the other.
    assert len(np.unique(np.stack([own, theirs]), axis=1).T) == len(np.unique(own)) == len(np.unique(theirs))


@pytest.mark.parametrize("kind", ["masses", "vectors"])
def test_leaves_are_large_enough_not_too_deep_and_where_the_tree_leads(kind):
    columns, classes, targets = problem(kind, 1, n=300)
    children, features, thresholds, leaf_of = grow(columns, classes, targets, min_samples_leaf=7, max_depth=5)
    node, depth = np.zeros(300, int), 0
    while (children[node, 0] >= 0).any():
        depth += 1
        goes_right = columns[features[node], np.arange(300)] > thresholds[node]
        below = children[node, goes_right.astype(int)]
        node = np.where(children[node, 0] >= 0, below, node)
    np.testing.assert_array_equal(children[node, 1], leaf_of)
    assert np.bincount(leaf_of).min() >= 7
    assert depth == 5


def test_what_cannot_be_split_is_one_leaf():
    columns, classes, targets = problem("masses", 0)
    one_class, constant = np.zeros_like(classes), np.full_like(columns, 7)
    for case in (
        (columns, one_class, targets),
        (constant, classes, targets),
        (columns[:, :5], classes[:5], targets[:5]),
    ):
        children, _, _, leaf_of = grow(*case)
        assert children.tolist() == [[-1, 0]]
        assert (leaf_of == 0).all()
    children, *_ = grow(columns, classes, targets, max_depth=0)
    assert len(children) == 1


def test_extreme_values_and_sums_are_counted_right():
    columns = np.array([[-32768, 32767] * 20], np.int16)
    classes = np.array([0, 1] * 20, np.uint8)
    mass = np.full((40, 1), 2**30 // 40, np.int32)
    children, _, thresholds, leaf_of = grow(columns, classes, mass, features_per_node=1)
    assert len(children) == 3
    assert -32768 <= thresholds[0] < 32767
    np.testing.assert_array_equal(leaf_of, [0, 1] * 20)


def test_the_steps_of_a_split_do_what_they_say():
    rng = np.random.default_rng(0)
    column = rng.integers(-9, 9, 50).astype(np.int16)
    classes = np.sort(rng.integers(0, 3, 50)).astype(np.uint8)
    members = np.sort(rng.permutation(50)[:30]).astype(np.uint32)
    values, run_ends = np.empty(50, np.int16), np.empty(256, np.int64)
    low, high = gather_values(column[None], 0, members, values)
    np.testing.assert_array_equal(values[:30], column[members])
    assert (low, high) == (column[members].min(), column[members].max())
    n_runs = find_runs(members, classes, run_ends)
    np.testing.assert_array_equal(run_ends[:n_runs], np.cumsum(np.bincount(classes[members])))
    targets = rng.integers(1, 100, (50, 1)).astype(np.int32)
    own, sums = np.empty((1, 30), np.int32), np.empty((n_runs, 1), np.int64)
    gather_targets(targets, members, own)
    np.testing.assert_array_equal(own[0], targets[members, 0])
    sum_left(values, np.int16(2), own, run_ends[:n_runs], sums)
    left = members[column[members] <= 2]
    np.testing.assert_array_equal(sums[:, 0], np.bincount(classes[left], targets[left, 0], n_runs))
    assert count_left(values, np.int16(2), 30) == len(left)


def test_without_a_split_that_leaves_enough_on_both_sides_there_is_none():
    columns = np.array([[0] * 9 + [1]], np.int16)
    members, values = np.arange(10).astype(np.uint32), np.empty(10, np.int16)
    args = (np.ones((1, 10), np.int32), np.array([5, 10]), 1)
    drawn = np.arange(1)
    assert best_split(columns, members, *args, 1, drawn, values, np.random.default_rng(0))[0]
    assert not best_split(columns, members, *args, 2, drawn, values, np.random.default_rng(0))[0]
