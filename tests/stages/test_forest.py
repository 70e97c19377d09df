from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.geometry import Grid
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    FeatureRule,
    draw_feature_pool,
    feature_values,
    join_pools,
    make_integral_image,
)
from vertloc.stages.forest import FlatForest, bind_forest, flatten_tree, join_forests
from vertloc.stages.preprocess import IsotropicVolume

OPTIONS = ContextFeatureSettings(largest_offset_mm=12, largest_size_mm=9)


def fitted_tree(seed, pool, depth=4):
    """A scikit-learn tree on random values of the pool's features."""
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(seed)
    values = rng.normal(0, 300, (80, len(pool))).astype(np.float32)
    return DecisionTreeClassifier(max_depth=depth, random_state=seed).fit(values, rng.integers(0, 3, 80)), values


def pools(*seeds):
    return [draw_feature_pool(6, OPTIONS, np.random.default_rng(seed)) for seed in seeds]


def random_volume(shape=(6, 5, 4), seed=9):
    voxels = np.random.default_rng(seed).integers(-900, 900, shape).astype(np.int16)
    return IsotropicVolume(voxels, Grid(shape, (3.0,) * 3))


def sums_of(forest):
    bound = bind_forest(forest, random_volume())
    return bound.sums(bound.positions(np.arange(120)))


def test_a_flattened_tree_keeps_structure_features_and_leaves():
    pool = pools(0)[0]
    tree, _ = fitted_tree(1, pool)
    flat, raw = flatten_tree(tree.tree_, pool), tree.tree_
    inner = raw.children_left >= 0
    np.testing.assert_array_equal(flat.children[inner], np.stack([raw.children_left, raw.children_right], 1)[inner])
    np.testing.assert_array_equal(flat.features[inner], raw.feature[inner])
    np.testing.assert_array_equal(flat.children[~inner], [(-1, row) for row in range((~inner).sum())])
    np.testing.assert_allclose(flat.leaf_values, raw.value[~inner, 0], rtol=1e-6)
    assert flat.leaf_values.dtype == flat.thresholds.dtype == np.float32
    assert flat.n_trees == 1


@given(threshold=st.floats(-1e6, 1e6), steps=st.integers(-3, 3))
@settings(max_examples=300, deadline=None)
def test_rounding_a_threshold_down_changes_no_comparison(threshold, steps):
    raw = SimpleNamespace(
        children_left=np.array([1, -1, -1]),
        children_right=np.array([2, -1, -1]),
        threshold=np.array([threshold, -2, -2]),
        feature=np.array([0, -2, -2]),
        value=np.zeros((3, 1, 2)),
    )
    rounded = flatten_tree(raw, pools(0)[0]).thresholds[0]
    # Values right around the threshold: single-precision neighbours of it.
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.copysign(np.inf, steps)))
    assert (value <= rounded) == (np.float64(value) <= threshold)


def test_joined_forests_sum_like_the_single_ones():
    trees = [flatten_tree(fitted_tree(seed, pool)[0].tree_, pool) for seed, pool in enumerate(pools(0, 1, 2))]
    joined = join_forests([trees[0], join_forests(trees[1:])])
    assert joined.n_trees == 3
    assert len(joined.pool) == 18
    expected = sums_of(trees[0]) + sums_of(trees[1]) + sums_of(trees[2])
    np.testing.assert_array_equal(sums_of(joined), expected)


def test_a_pool_that_all_share_is_kept_once():
    pool, other = pools(0, 1)
    trees = [flatten_tree(fitted_tree(seed, pool)[0].tree_, pool) for seed in range(3)]
    joined = join_forests(trees)
    assert joined.pool is pool
    np.testing.assert_array_equal(sums_of(joined), sums_of(trees[0]) + sums_of(trees[1]) + sums_of(trees[2]))
    mixed = join_forests([trees[0], flatten_tree(fitted_tree(5, other)[0].tree_, other)])
    assert len(mixed.pool) == 12


def test_other_leaves_leave_the_tree_as_it_is():
    pool = pools(0)[0]
    flat = flatten_tree(fitted_tree(0, pool)[0].tree_, pool)
    doubled = flat.with_leaf_values(2 * flat.leaf_values)
    np.testing.assert_array_equal(sums_of(doubled), 2 * sums_of(flat))


def test_leaves_agree_with_scikit_learn_on_the_forest_s_own_features():
    pool = pools(4)[0]
    tree, _ = fitted_tree(6, pool, depth=None)
    flat = flatten_tree(tree.tree_, pool)
    bound = bind_forest(flat, random_volume((8, 6, 5), 5))
    positions = bound.positions(np.arange(240))
    nodes = tree.apply(feature_values(bound.image, positions, bound.corners, bound.scales))
    np.testing.assert_array_equal(bound.leaves(positions, 0), flat.children[nodes, 1])


def test_a_forest_bound_to_some_slices_answers_there_as_if_bound_to_all():
    forest = join_forests([flatten_tree(fitted_tree(seed, p)[0].tree_, p) for seed, p in enumerate(pools(0, 1))])
    volume = random_volume((9, 5, 4))
    whole, part = bind_forest(forest, volume), bind_forest(forest, volume, 3, 4)
    assert part.image.sums.size < whole.image.sums.size
    voxels = np.arange(3 * 20, 7 * 20)
    np.testing.assert_array_equal(part.sums(part.positions(voxels)), whole.sums(whole.positions(voxels)))
    for tree in range(2):
        there, here = whole.leaves(whole.positions(voxels), tree), part.leaves(part.positions(voxels), tree)
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("rule", [FeatureRule(12, 9), FeatureRule(12, 9, "constant", 300), FeatureRule(15, 9)])
def test_a_bound_forest_sees_the_outside_and_the_reach_of_its_own_rule(rule):
    pool = replace(pools(0)[0], rule=rule)
    forest = flatten_tree(fitted_tree(1, pool)[0].tree_, pool)
    volume = random_volume()
    bound = bind_forest(forest, volume)
    assert bound.image.pad == rule.padding(3.0)
    image = make_integral_image(volume, rule)
    np.testing.assert_array_equal(bound.image.sums, image.sums)


def test_pools_of_different_rules_are_not_joined():
    with pytest.raises(ValueError, match="different rules"):
        join_pools([pools(0)[0], replace(pools(1)[0], rule=FeatureRule(12, 9, "constant"))])


def test_sums_add_to_those_that_are_given_in_parts_of_the_forest():
    trees = [flatten_tree(fitted_tree(seed, pool)[0].tree_, pool) for seed, pool in enumerate(pools(0, 1, 2))]
    forest = join_forests(trees)
    bound = bind_forest(forest, random_volume())
    positions = bound.positions(np.arange(120))
    first = bound.sums(positions, range(1))
    both = bound.sums(positions, range(1, 3), first)
    assert both is first
    np.testing.assert_array_equal(both, sums_of(forest))


def test_a_tree_of_one_leaf_flattens_to_one_leaf():
    from sklearn.tree import DecisionTreeClassifier

    pool = pools(0)[0]
    tree = DecisionTreeClassifier().fit(np.zeros((5, 6), np.float32), np.zeros(5, int))
    flat = flatten_tree(tree.tree_, pool)
    assert isinstance(flat, FlatForest)
    np.testing.assert_array_equal(flat.children, [(-1, 0)])
    np.testing.assert_array_equal(sums_of(flat), np.ones((120, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leaves_keep_the_asked_precision(dtype):
    pool = pools(0)[0]
    flat = flatten_tree(fitted_tree(0, pool)[0].tree_, pool, dtype)
    assert flat.leaf_values.dtype == sums_of(flat).dtype == dtype
