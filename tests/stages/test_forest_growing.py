from dataclasses import replace

import numpy as np
import pytest

from vertloc.errors import TrainingError
from vertloc.geometry import Grid
from vertloc.stages.context_features import ContextFeatureSettings, draw_feature_pool
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.forest import bind_forest
from vertloc.stages.forest_growing import ForestPlan, grow_forest, samples_of_some_patients, view_columns
from vertloc.stages.leaves import rounded_votes, sparse_distributions
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingView
from vertloc.stages.spine_frame import rotation
from vertloc.stages.tree_growing import ForestSettings, grow_centre_tree, grow_classification_tree

OPTIONS = ContextFeatureSettings(largest_offset_mm=9, largest_size_mm=9)
SMALL = ForestSettings(n_trees=3, max_depth=6, features_per_tree=20, features_per_node=20, patient_share=0.6)
SHAPE = (10, 8, 8)


def make_views(n=5, patients=None):
    """Noise with one bright half: below it class 5, above it class 9."""
    views = []
    for i in range(n):
        rng = np.random.default_rng(i)
        is_bright = np.arange(SHAPE[0]) >= rng.integers(4, 7)
        voxels = rng.normal(0, 20, SHAPE) + 600 * is_bright[:, None, None]
        volume = IsotropicVolume(voxels.astype(np.int16), Grid(SHAPE, (3.0,) * 3))
        patient = f"p{i}" if patients is None else patients[i]
        index = np.indices(SHAPE).reshape(3, -1).T.astype(np.int64)
        probability = np.zeros((len(index), N_CLASSES), np.float32)
        probability[np.arange(len(index)), np.where(is_bright[index[:, 0]], 9, 5)] = 0.8
        probability[:, BACKGROUND] = 0.2
        views.append(TrainingView(volume, patient, index, probability))
    return views


CLASSES = (grow_classification_tree, sparse_distributions)
VOTES = (grow_centre_tree, rounded_votes)


def grow_on(views, settings, seed, n_threads=1, on_tree=lambda: None, kind=CLASSES):
    pool_seed, *tree_seeds = np.random.SeedSequence(seed).spawn(settings.n_trees + 1)
    return grow_forest(views, ForestPlan(*kind, OPTIONS, settings, pool_seed, tree_seeds), n_threads, on_tree)


def grow(seed=0, settings=SMALL, n_threads=1, on_tree=lambda: None):
    return grow_on(make_views(), settings, seed, n_threads, on_tree)


def grow_centres(views, settings, seed=0, n_threads=1):
    return grow_on(views, settings, seed, n_threads, kind=VOTES)


def arrays_of(forest):
    pool = (forest.pool.offset_mm, forest.pool.size_mm)
    return [forest.roots, forest.children, forest.features, forest.thresholds, forest.rows(), *pool]


def same_arrays(first, second):
    return all(np.array_equal(a, b) for a, b in zip(arrays_of(first), arrays_of(second), strict=True))


@pytest.mark.parametrize("share", [False, True])
def test_a_forest_depends_on_its_seed_and_not_on_the_threads(share):
    settings = replace(SMALL, share_features=share)
    one, two, other = grow(1, settings), grow(1, settings, n_threads=2), grow(2, settings)
    assert same_arrays(one, two)
    assert not same_arrays(one, other)


def test_a_shared_pool_is_kept_once_and_serves_every_tree():
    assert len(grow().pool) == 3 * SMALL.features_per_tree
    shared = grow(settings=replace(SMALL, share_features=True))
    assert len(shared.pool) == SMALL.features_per_tree
    assert shared.n_trees == SMALL.n_trees
    ends = [*shared.roots[1:], len(shared.features)]
    trees = [shared.features[a:b] for a, b in zip(shared.roots, ends, strict=True)]
    assert not any(np.array_equal(tree, trees[0]) for tree in trees[1:])


def patients_seen(patients, settings, seed=0):
    """Which patients each tree saw: every patient has a class of its own, and a tree of one leaf tells them."""
    names = sorted(set(patients))
    own = []
    for view in make_views(len(patients), patients):
        targets = np.zeros_like(view.targets)
        targets[:, names.index(view.patient) + 1] = 1
        own.append(replace(view, targets=targets))
    forest = grow_on(own, replace(settings, min_samples_leaf=100_000), seed)
    return forest.rows()[:, 1 : len(names) + 1]


def test_each_tree_sees_its_share_of_the_patients_with_all_their_scans():
    patients = ["a", "a", "b", "c", "c"]
    shares = patients_seen(patients, replace(SMALL, n_trees=12))
    # 0.6 of three patients are two, each with as much weight as it has scans.
    np.testing.assert_array_equal((shares > 0).sum(axis=1), 2)
    expected = np.where(shares > 0, [2, 1, 2], 0)
    np.testing.assert_allclose(shares, expected / expected.sum(axis=1, keepdims=True), atol=1 / 255)
    assert len(np.unique(shares > 0, axis=0)) > 1
    assert (patients_seen(patients, replace(SMALL, patient_share=1.0)) > 0).all()
    assert ((patients_seen(patients, replace(SMALL, patient_share=0.01)) > 0).sum(axis=1) == 1).all()


@pytest.mark.parametrize("share", [False, True])
def test_the_unseen_patients_do_not_matter_to_a_tree(share):
    settings = replace(SMALL, n_trees=1, share_features=share)
    views = make_views()
    seen = patients_seen([view.patient for view in views], settings, seed=3)[0] > 0
    dark = [replace(view, volume=replace(view.volume, voxels=np.zeros(SHAPE, np.int16))) for view in views]
    hidden = [view if s else black for view, black, s in zip(views, dark, seen, strict=True)]
    shown = [black if s else view for view, black, s in zip(views, dark, seen, strict=True)]
    assert 0 < seen.sum() < 5
    again, other = (grow_on(some, settings, 3) for some in (hidden, shown))
    assert same_arrays(again, grow(3, settings))
    assert not same_arrays(other, grow(3, settings))


@pytest.mark.parametrize("share", [False, True])
def test_a_tree_has_no_more_samples_than_it_may_and_draws_them_from_all_scans(share):
    views = make_views()
    sizes = {"share_features": share, "samples_per_tree": 60}
    settings = replace(SMALL, n_trees=4, patient_share=1.0, min_samples_leaf=1, **sizes)
    forest = grow_on(views, settings, 0)
    # With one sample a leaf there are no more leaves than samples.
    assert len(forest.leaf_values) <= 4 * 60
    rows = samples_of_some_patients(views, settings, np.random.default_rng(0))
    assert len(np.unique(rows)) == 60
    n = len(views[0].index)
    assert set(rows // n) == set(range(5))
    everything = replace(settings, samples_per_tree=5 * n)
    np.testing.assert_array_equal(
        samples_of_some_patients(views, everything, np.random.default_rng(0)),
        np.arange(5 * n),
    )


def test_leaves_are_distributions_and_every_tree_is_reported():
    calls = []
    grown = grow(on_tree=lambda: calls.append(1))
    assert len(calls) == grown.n_trees == 3
    rows = grown.rows()
    assert rows.shape[1] == N_CLASSES
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert len(grown.pool) == 60


GROWERS = [("vertloc", "random"), ("scikit-learn", "random"), ("scikit-learn", "best")]


@pytest.mark.parametrize(("grower", "thresholds"), GROWERS)
def test_a_trivial_problem_is_learned(grower, thresholds):
    # A tree's draw of labels also holds background; the leaves still hold the mean soft label.
    forest = grow(settings=replace(SMALL, grower=grower, thresholds=thresholds, min_samples_leaf=30))
    unseen = make_views(7)[6]
    bound = bind_forest(forest, unseen.volume)
    found = bound.sums(bound.image.positions(*unseen.index.T)) / (3 * 255)
    labels = unseen.targets
    border = np.flatnonzero(np.diff(labels[:: SHAPE[1] * SHAPE[2], 9]))[0] + 0.5
    inner = np.abs(unseen.index[:, 0] - border) > 2
    wrong = np.abs(found[inner] - labels[inner]).max(axis=1) > 0.1
    assert wrong.mean() < 0.01


def with_displacements(views, seed=0):
    rng = np.random.default_rng(seed)
    return [replace(view, targets=rng.normal(0, 5, (len(view.index), 3)).astype(np.float32)) for view in views]


def test_centre_leaves_are_the_mean_displacement_and_a_weight_for_its_sureness():
    views = with_displacements(make_views(2))
    forest = grow_centres(views, replace(SMALL, n_trees=2, patient_share=1.0, min_samples_leaf=20))
    target = np.concatenate([view.targets for view in views]).astype(np.float64)
    for tree in range(2):
        leaf = []
        for view in views:
            bound = bind_forest(forest, view.volume)
            leaf.append(bound.leaves(bound.image.positions(*view.index.T), tree))
        leaf = np.concatenate(leaf)
        for row in np.unique(leaf):
            own = target[leaf == row]
            variance = own.var(axis=0).mean()
            np.testing.assert_allclose(forest.leaf_values[row, :3], own.mean(axis=0), atol=0.07)
            np.testing.assert_allclose(forest.leaf_values[row, 3], (1 + variance / 4) ** -2, atol=2e-5)


@pytest.mark.parametrize(("grower", "thresholds"), GROWERS)
def test_a_centre_forest_learns_where_its_displacement_depends_on_the_image(grower, thresholds):
    views = []
    for view in make_views():
        up = np.where(view.targets[:, 9] > 0, 7, -7)
        views.append(replace(view, targets=np.stack([0 * up, 0 * up, up], axis=1).astype(np.float32)))
    settings = replace(SMALL, min_samples_leaf=20, grower=grower, thresholds=thresholds)
    one, two = (grow_centres(views, settings, 1, n) for n in (1, 2))
    assert same_arrays(one, two)
    sure = one.leaf_values[one.leaf_values[:, 3] > 0.9]
    assert len(sure) > 0
    np.testing.assert_allclose(np.abs(sure[:, 2]), 7, atol=0.5)
    assert {-1.0, 1.0} == set(np.sign(sure[:, 2]))


def test_patients_without_a_centre_sample_are_not_chosen_and_none_at_all_is_an_error():
    views = with_displacements(make_views(4))
    nothing = {"index": np.empty((0, 3), np.int64), "targets": np.empty((0, 3), np.float32)}
    settings = replace(SMALL, n_trees=6, patient_share=0.25, min_samples_leaf=100_000)
    some = [view if i in (1, 3) else replace(view, **nothing) for i, view in enumerate(views)]
    forest = grow_centres(some, settings)
    means = [views[i].targets.mean(axis=0) for i in (1, 3)]
    found = [min(np.abs(leaf[:3] - mean).max() for mean in means) for leaf in forest.leaf_values]
    np.testing.assert_allclose(found, 0, atol=0.07)
    with pytest.raises(TrainingError, match="none of the 4 views"):
        grow_centres([replace(view, **nothing) for view in views], settings)


def test_columns_of_samples_with_a_frame_are_those_of_the_turned_pool():
    frames = np.stack([1.05 * rotation(0.2, -0.1), 0.9 * rotation(-0.3, 0.1) @ np.diag([-1.0, 1.0, 1.0])])
    views = make_views(2)
    frame = np.arange(len(views[0].index)) % 2
    framed = [replace(view, frame=frame, frames=frames) for view in views]
    pool = draw_feature_pool(15, OPTIONS, np.random.default_rng(0))
    rows = np.flatnonzero(np.random.default_rng(1).random(2 * len(frame)) < 0.3)
    found = view_columns(framed, rows, pool, 2)
    which = np.tile(frame, 2)[rows]
    for k in range(2):
        expected = view_columns(views, rows[which == k], pool.transformed(frames[k]), 1)
        np.testing.assert_array_equal(found[:, which == k], expected)
    assert not np.array_equal(found, view_columns(views, rows, pool, 1))
