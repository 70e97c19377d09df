"""The forest walk against scikit-learn, and box features against plain slices."""

import numba
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from vertloc.geometry import Grid
from vertloc.kernels.boxes import list_features, run_features
from vertloc.kernels.walk import count_runs, find_run_ends
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    box_corners,
    draw_feature_pool,
    feature_values,
    make_integral_image,
)
from vertloc.stages.forest import bind_forest, flatten_tree, join_forests
from vertloc.stages.preprocess import IsotropicVolume

SPACING = 3.0


def random_volume(shape=(9, 8, 7), seed=0):
    voxels = np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)
    return IsotropicVolume(voxels, Grid(shape, (SPACING,) * 3))


def naive_box_mean(volume, index, offset_mm, size_mm, settings):
    """Mean over a box, voxel by voxel, in exact integers."""
    size = np.maximum(np.rint(size_mm[::-1] / SPACING), 1).astype(int)
    low = np.rint(offset_mm[::-1].astype(np.float64) / SPACING - (size - 1) / 2).astype(int) + index
    total = 0
    for z in range(low[0], low[0] + size[0]):
        for y in range(low[1], low[1] + size[1]):
            for x in range(low[2], low[2] + size[2]):
                at = np.array([z, y, x])
                inside = ((at >= 0) & (at < volume.voxels.shape)).all()
                if inside or settings.outside == "replicate":
                    at = np.clip(at, 0, np.array(volume.voxels.shape) - 1)
                    total += int(volume.voxels[tuple(at)]) - round(settings.outside_hu)
    return np.float32(total) * np.float32(1.0 / size.prod())


@pytest.mark.parametrize("outside", ["replicate", "constant"])
@pytest.mark.parametrize("slab", [(0, 9), (3, 4)])
def test_box_features_equal_plain_sums_to_the_last_bit(outside, slab):
    settings = ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=18, outside=outside)
    volume = random_volume()
    pool = draw_feature_pool(30, settings, np.random.default_rng(1))
    image = make_integral_image(volume, settings.rule, *slab)
    corners, scales = box_corners(pool, SPACING, image)
    z = np.arange(slab[0], slab[0] + slab[1])
    index = np.stack(np.meshgrid(z, np.arange(8), np.arange(7), indexing="ij"), -1).reshape(-1, 3)[::7]
    found = feature_values(image, image.positions(*index.T), corners, scales)
    for row, at in zip(found, index, strict=True):
        for value, offset, size in zip(row, pool.offset_mm, pool.size_mm, strict=True):
            expected = naive_box_mean(volume, at, offset[0], size[0], settings)
            if size[1, 0] > 0:
                expected = expected - naive_box_mean(volume, at, offset[1], size[1], settings)
            assert value == expected


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="millions of voxels")
def test_sums_past_the_range_of_int32_still_give_exact_boxes():
    voxels = np.full((150, 150, 150), 1500, np.int16)
    volume = IsotropicVolume(voxels, Grid(voxels.shape, (SPACING,) * 3))
    settings = ContextFeatureSettings(largest_offset_mm=6, largest_size_mm=9, outside_hu=-1000)
    image = make_integral_image(volume, settings.rule)
    assert 2500 * voxels.size > 2**32
    pool = draw_feature_pool(5, settings, np.random.default_rng(0))
    corners, scales = box_corners(pool, SPACING, image)
    at = np.array([[140], [140], [140]])
    values = feature_values(image, image.positions(*at), corners, scales)[0]
    single = pool.size_mm[:, 1, 0] == 0
    np.testing.assert_allclose(values, np.where(single, 2500, 0), rtol=1e-6)


def fitted(kind, labels, **options):
    settings = ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=18)
    volume = random_volume((9, 8, 8))
    pool = draw_feature_pool(25, settings, np.random.default_rng(2))
    image = make_integral_image(volume, settings.rule)
    corners, scales = box_corners(pool, SPACING, image)
    positions = image.positions(*np.indices(volume.voxels.shape).reshape(3, -1))
    values = feature_values(image, positions, corners, scales)
    forest = kind(n_estimators=4, random_state=0, **options).fit(values, labels(len(values)))
    return forest, pool, volume, positions, values


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_the_walk_reaches_the_leaves_of_scikit_learn(kind):
    def labels(n):
        return np.random.default_rng(3).integers(0, 5, n)

    forest, pool, volume, positions, values = fitted(kind, labels)
    for estimator in forest.estimators_:
        flat = flatten_tree(estimator.tree_, pool)
        node_row = np.cumsum(estimator.tree_.children_left < 0) - 1
        expected = node_row[estimator.apply(values)]
        np.testing.assert_array_equal(bind_forest(flat, volume).leaves(positions, 0), expected)


def test_float64_sums_equal_predict_proba_to_the_last_bit_and_float32_within_rounding():
    def labels(n):
        return np.random.default_rng(3).integers(0, 5, n)

    forest, pool, volume, positions, values = fitted(RandomForestClassifier, labels, max_depth=6)
    expected = forest.predict_proba(values)
    for dtype, tolerance in ((np.float64, 0), (np.float32, 5e-7)):
        flat = join_forests([flatten_tree(e.tree_, pool, dtype) for e in forest.estimators_])
        sums = bind_forest(flat, volume).sums(positions)
        np.testing.assert_allclose(sums / 4, expected, rtol=0, atol=tolerance)


def test_features_of_a_run_equal_features_one_by_one_to_the_last_bit():
    settings = ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=18)
    volume = random_volume((5, 4, 43))
    pool = draw_feature_pool(40, settings, np.random.default_rng(4))
    image = make_integral_image(volume, settings.rule)
    corners, scales = box_corners(pool, SPACING, image)
    positions = image.positions(*np.indices(volume.voxels.shape).reshape(3, -1))
    expected = feature_values(image, positions, corners, scales)
    ends = find_run_ends(positions)
    np.testing.assert_array_equal(ends, np.repeat(np.arange(1, 21) * 43, 43))
    assert count_runs(ends) == 20
    found = np.full(len(positions), np.nan, np.float32)
    for f in range(len(pool)):
        begin, end = np.uint64(86 + f % 5), np.uint64(129 - f % 7)
        run_features(image.sums.reshape(-1), positions[begin], corners[f], scales[f], begin, end, found)
        np.testing.assert_array_equal(found[begin:end], expected[begin:end, f])


def test_features_of_a_list_equal_features_one_by_one_to_the_last_bit_and_nothing_else_is_written():
    settings = ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=18)
    volume = random_volume((5, 4, 13))
    pool = draw_feature_pool(40, settings, np.random.default_rng(4))
    image = make_integral_image(volume, settings.rule)
    corners, scales = box_corners(pool, SPACING, image)
    positions = image.positions(*np.indices(volume.voxels.shape).reshape(3, -1))
    expected = feature_values(image, positions, corners, scales)
    voxels = np.random.default_rng(5).permutation(len(positions))[:70].astype(np.uint32)
    for f in range(len(pool)):
        found = np.full(len(positions), np.nan, np.float32)
        list_features(image.sums.reshape(-1), positions, voxels, corners[f], scales[f], found)
        np.testing.assert_array_equal(found[:70], expected[voxels, f])
        assert np.isnan(found[70:]).all()


def test_the_leaves_do_not_depend_on_which_voxels_walk_together():
    def labels(n):
        return np.random.default_rng(3).integers(0, 5, n)

    forest, pool, volume, positions, _ = fitted(ExtraTreesClassifier, labels)
    flat = flatten_tree(forest.estimators_[0].tree_, pool)
    bound = bind_forest(flat, volume)
    together = bound.leaves(positions, 0)
    for rows in (slice(None, None, 3), slice(None, None, -1), np.random.default_rng(5).permutation(len(positions))):
        np.testing.assert_array_equal(bound.leaves(positions[rows], 0), together[rows])


def test_a_tree_that_is_a_single_leaf_takes_everything():
    forest, pool, volume, positions, _ = fitted(ExtraTreesClassifier, lambda n: np.zeros(n, int))
    flat = flatten_tree(forest.estimators_[0].tree_, pool)
    bound = bind_forest(flat, volume)
    assert (bound.leaves(positions, 0) == 0).all()
    assert bound.sums(positions[:0]).shape == (0, 1)
