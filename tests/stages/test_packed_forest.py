"""Round trips through the packed arrays; damaged and crafted arrays are tested through `load_model`."""

from dataclasses import replace

import numpy as np
import pytest

from vertloc.stages.context_features import (
    ContextFeatureSettings,
    draw_feature_pool,
    steps_of_thresholds,
    thresholds_in_hu,
)
from vertloc.stages.forest import FlatForest, join_forests
from vertloc.stages.leaves import SparseLeaves, rounded_votes, sparse_distributions
from vertloc.stages.packed_forest import pack_forest, unpack_distributions, unpack_votes

OPTIONS = ContextFeatureSettings(largest_offset_mm=12, largest_size_mm=9)


def random_tree(seed, n_inner, leaf_values_of, pool=None):
    """A tree of random shape, numbered depth first."""
    rng = np.random.default_rng(seed)
    children = []

    def grow(n):
        node = len(children)
        children.append([-1, 0])
        if n:
            left = int(rng.integers(n))
            children[node] = [grow(left), grow(n - 1 - left)]
        return node

    grow(n_inner)
    children = np.array(children, np.int32)
    is_leaf = children[:, 0] < 0
    children[is_leaf, 1] = np.arange(is_leaf.sum())
    pool = draw_feature_pool(30, OPTIONS, rng) if pool is None else pool
    features = np.where(is_leaf, 0, rng.integers(0, len(pool), len(children))).astype(np.int32)
    steps = rng.integers(-8000, 8000, len(children)).astype(np.int16)
    thresholds = np.where(is_leaf, np.float32(0), thresholds_in_hu(steps))
    return FlatForest(np.zeros(1, np.int64), children, features, thresholds, leaf_values_of(rng, is_leaf.sum()), pool)


def distributions(rng, n):
    return sparse_distributions(rng.dirichlet(np.full(27, 0.05), n))


def votes(rng, n):
    return rounded_votes(np.column_stack([rng.normal(0, 9, (n, 3)), rng.random(n)]).astype(np.float32))


def assert_same(found, expected):
    for name in ("roots", "children", "thresholds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)
    is_inner = expected.children[:, 0] >= 0
    np.testing.assert_array_equal(found.features[is_inner], expected.features[is_inner])
    np.testing.assert_array_equal(found.rows(), expected.rows(), strict=True)
    np.testing.assert_array_equal(found.pool.offset_mm, expected.pool.offset_mm)
    np.testing.assert_array_equal(found.pool.size_mm, expected.pool.size_mm)
    assert found.pool.rule == expected.pool.rule


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("sizes", [(0,), (7,), (5, 0, 12, 40)])
def test_a_forest_comes_back_as_it_was(sizes, shared):
    pool = draw_feature_pool(30, OPTIONS, np.random.default_rng(9)) if shared else None
    for kind, unpack in ((distributions, lambda a, r: unpack_distributions(a, r, 27)), (votes, unpack_votes)):
        forest = join_forests([random_tree(seed, n, kind, pool) for seed, n in enumerate(sizes)])
        assert_same(unpack(pack_forest(forest), forest.pool.rule), forest)


def test_a_packed_forest_takes_a_few_bytes_a_node():
    forest = join_forests([random_tree(seed, 2000, distributions) for seed in range(3)])
    arrays = pack_forest(forest)
    pool = sum(arrays[name].nbytes for name in ("offset_mm", "size_mm"))
    entries = 2 * len(arrays["leaf_shares"])
    n_inner, n_leaves = 6000, 6003
    assert sum(array.nbytes for array in arrays.values()) - pool - entries <= 4 * n_inner + n_leaves + 12006 / 8 + 16


def test_a_tree_of_many_features_counts_from_its_first():
    pool = draw_feature_pool(30, OPTIONS, np.random.default_rng(0))
    forest = random_tree(0, 20, distributions, pool)
    many = replace(pool, offset_mm=np.tile(pool.offset_mm, (5000, 1, 1)), size_mm=np.tile(pool.size_mm, (5000, 1, 1)))
    far = replace(forest, features=(forest.features + 120_000).astype(np.int32), pool=many)
    assert_same(unpack_distributions(pack_forest(far), pool.rule, 27), far)
    spread = replace(forest, features=(forest.features * 3000).astype(np.int32), pool=many)
    with pytest.raises(ValueError, match="65,536 features"):
        pack_forest(spread)


def test_what_would_lose_something_is_not_packed():
    forest = random_tree(1, 12, distributions)
    moved = replace(forest, thresholds=forest.thresholds + np.float32(0.01))
    with pytest.raises(ValueError, match="no whole steps"):
        pack_forest(moved)
    turned = forest.children.copy()
    turned[0] = turned[0, ::-1]
    with pytest.raises(ValueError, match="numbered depth first"):
        pack_forest(replace(forest, children=turned))
    voting = random_tree(1, 12, votes)
    with pytest.raises(ValueError, match="votes in steps"):
        pack_forest(voting.with_leaf_values(voting.leaf_values + np.float32(0.01)))


def test_thresholds_and_steps_are_told_from_each_other_over_the_whole_range():
    steps = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(steps_of_thresholds(thresholds_in_hu(steps)), steps)


def test_the_leaves_stay_sparse():
    forest = random_tree(3, 9, distributions)
    found = unpack_distributions(pack_forest(forest), forest.pool.rule, 27)
    assert isinstance(found.leaf_values, SparseLeaves)
    assert found.unit == 255
