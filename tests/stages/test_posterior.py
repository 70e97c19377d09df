"""The posterior against the plain way: a matrix of all features, and a walk down each tree for all voxels in numpy."""

import numpy as np
import pytest

from vertloc.geometry import Grid
from vertloc.stages import posterior as module
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    box_corners,
    draw_feature_pool,
    feature_values,
    make_integral_image,
)
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.forest import FlatForest, bind_forest, join_forests
from vertloc.stages.leaves import sparse_distributions
from vertloc.stages.posterior import PosteriorSettings, classify
from vertloc.stages.preprocess import IsotropicVolume

OPTIONS = ContextFeatureSettings(largest_offset_mm=12, largest_size_mm=9)
EXACT = PosteriorSettings(smallest_probability=0, stop_after_trees=0)


def random_volume(shape=(11, 7, 9), seed=0):
    voxels = np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)
    return IsotropicVolume(voxels, Grid(shape, (3.0,) * 3, (5.0, 6.0, 7.0)))


def random_forest(n_trees=8, depth=4, seed=1, background=0.6):
    """Full trees of random splits; leaves are random distributions, some of them sure background."""
    rng = np.random.default_rng(seed)
    trees = []
    for _ in range(n_trees):
        n_inner, n = 2**depth - 1, 2 ** (depth + 1) - 1
        children = np.full((n, 2), -1, np.int32)
        children[:n_inner] = 2 * np.arange(n_inner)[:, None] + (1, 2)
        children[n_inner:, 1] = np.arange(n - n_inner)
        leaves = rng.dirichlet(np.full(N_CLASSES, 0.05), n - n_inner)
        leaves[rng.random(len(leaves)) < background] = np.eye(N_CLASSES)[BACKGROUND]
        pool = draw_feature_pool(20, OPTIONS, rng)
        features = rng.integers(0, 20, n).astype(np.int32)
        limits = np.where(pool.size_mm[features, 1, 0] > 0, rng.normal(0, 150, n), rng.normal(1250, 150, n))
        arrays = (children, features, limits.astype(np.float32), leaves.astype(np.float32))
        trees.append(FlatForest(np.zeros(1, np.int64), *arrays, pool))
    return join_forests(trees)


def plain_probability(volume, forest, trees=None):
    """(voxels, 27) mean of the leaves in tree order, float32, from the matrix of all features."""
    image = make_integral_image(volume, forest.pool.rule)
    corners, scales = box_corners(forest.pool, volume.spacing_mm, image)
    positions = image.positions(*np.indices(volume.voxels.shape).reshape(3, -1))
    values = feature_values(image, positions, corners, scales)
    row = np.arange(len(values))
    trees = range(forest.n_trees) if trees is None else trees
    total = np.zeros((len(values), N_CLASSES), np.float32)
    for tree in trees:
        node = np.full(len(values), forest.roots[tree])
        while (forest.children[node, 0] >= 0).any():
            goes_right = values[row, forest.features[node]] > forest.thresholds[node]
            below = forest.children[node, goes_right.astype(int)]
            node = np.where(forest.children[node, 0] >= 0, below, node)
        total += forest.leaf_values[forest.children[node, 1]]
    return total * np.float32(1 / len(trees))


def test_sparse_leaves_give_the_posterior_of_the_same_leaves_as_rows():
    volume, forest = random_volume(), random_forest(background=0.3)
    sparse = forest.with_leaf_values(sparse_distributions(forest.leaf_values))
    rows = forest.with_leaf_values(sparse.rows())
    for settings in (EXACT, PosteriorSettings(stop_after_trees=3, smallest_probability=0)):
        found, expected = (dense(classify(volume, f, settings)) for f in (sparse, rows))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert expected.any()
    # To the last bit: sums of whole numbers, scaled once.
    bound = bind_forest(sparse, volume)
    sums = bound.sums(bound.positions(np.arange(volume.voxels.size)))
    plain = np.rint(plain_probability(volume, rows) * (forest.n_trees * 255)).astype(int)
    np.testing.assert_array_equal(sums, plain)


def dense(posterior):
    out = np.zeros((np.prod(posterior.grid.shape), N_CLASSES - 1), np.float32)
    out[posterior.voxel, posterior.rank] = posterior.probability
    return out


def assert_equal(found, expected):
    for name in ("voxel", "rank", "probability"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("smallest", [0, 0.02, 0.1])
def test_the_posterior_equals_the_plain_evaluation_to_the_last_bit(smallest):
    volume, forest = random_volume(), random_forest()
    found = classify(volume, forest, PosteriorSettings(smallest_probability=smallest, stop_after_trees=0))
    expected = plain_probability(volume, forest)[:, BACKGROUND + 1 :]
    expected[expected < max(smallest, 1e-6)] = 0
    assert 0 < np.count_nonzero(expected) < expected.size
    np.testing.assert_array_equal(dense(found), expected)
    assert found.grid == volume.grid
    assert (found.voxel.dtype, found.rank.dtype, found.probability.dtype) == (np.int32, np.uint8, np.float32)
    # Ordered by voxel, then class.
    assert (np.diff(found.voxel * 100 + found.rank) > 0).all()


@pytest.mark.parametrize(("slab_voxels", "fewest"), [(0, 1), (0, 3), (30_000, 1), (0, 11)])
@pytest.mark.parametrize("stop", [0, 3])
def test_slabs_of_any_size_give_the_same_posterior(monkeypatch, slab_voxels, fewest, stop):
    volume, forest = random_volume(), random_forest()
    settings = PosteriorSettings(stop_after_trees=stop)
    expected = classify(volume, forest, settings)
    monkeypatch.setattr(module, "_SLAB_PADDED_VOXELS", slab_voxels)
    monkeypatch.setattr(module, "_FEWEST_SLAB_SLICES", fewest)
    assert_equal(classify(volume, forest, settings), expected)


@pytest.mark.parametrize(("block", "at_once"), [(1000, 1_000_000), (97, 1), (7, 50)])
def test_neither_blocks_nor_threads_change_the_posterior(monkeypatch, block, at_once):
    volume, forest = random_volume(), random_forest()
    expected = classify(volume, forest, PosteriorSettings())
    monkeypatch.setattr(module, "BLOCK_VOXELS", block)
    monkeypatch.setattr(module, "_ENTRIES_AT_ONCE", at_once)
    for n_threads in (1, 2, 3):
        assert_equal(classify(volume, forest, PosteriorSettings(), n_threads), expected)


@pytest.mark.parametrize(("step", "checks"), [(4, (4,)), (3, (3, 6)), (2, (2, 4, 6)), (7, (7,))])
@pytest.mark.parametrize("limit", [0.5, 0.8, 1.0])
def test_early_stop_drops_sure_background_and_changes_no_other_voxel(limit, step, checks):
    volume, forest = random_volume(), random_forest(background=0.9)
    settings = PosteriorSettings(smallest_probability=0, stop_after_trees=step, stop_background=limit)
    found = dense(classify(volume, forest, settings))
    exact = dense(classify(volume, forest, EXACT))
    stops = np.any([plain_probability(volume, forest, range(n))[:, BACKGROUND] >= limit for n in checks], axis=0)
    assert 0 < stops.sum() < len(stops)
    assert exact[stops].any()
    np.testing.assert_array_equal(found, np.where(stops[:, None], 0, exact))


@pytest.mark.parametrize(("after", "limit"), [(0, 0.1), (4, 1.5), (8, 0.1), (100, 0.1)])
def test_without_early_stop_the_posterior_is_exact(after, limit):
    volume, forest = random_volume(), random_forest(background=0.9)
    settings = PosteriorSettings(smallest_probability=0, stop_after_trees=after, stop_background=limit)
    assert_equal(classify(volume, forest, settings), classify(volume, forest, EXACT))


def test_a_volume_of_background_has_an_empty_posterior():
    for stop in (0, 2):
        forest = random_forest(background=1.0)
        found = classify(random_volume(), forest, PosteriorSettings(stop_after_trees=stop))
        assert len(found.voxel) == len(found.rank) == len(found.probability) == 0
        assert (found.voxel.dtype, found.rank.dtype, found.probability.dtype) == (np.int32, np.uint8, np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 5), (3, 1, 40)])
def test_volumes_smaller_than_the_features_reach_are_classified_like_others(shape):
    volume, forest = random_volume(shape), random_forest()
    found = classify(volume, forest, EXACT)
    expected = plain_probability(volume, forest)[:, BACKGROUND + 1 :]
    np.testing.assert_array_equal(dense(found), np.where(expected < 1e-6, 0, expected))


@pytest.mark.parametrize("wrong", [{"smallest_probability": 1}, {"stop_after_trees": -1}, {"stop_background": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PosteriorSettings(**wrong)
