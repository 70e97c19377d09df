from dataclasses import replace

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import TrainingError
from vertloc.geometry import Grid
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    box_corners,
    make_integral_image,
)
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES, DenseLabels
from vertloc.stages.forest import forest_sums, tree_leaves
from vertloc.stages.forest_growing import grow_centre_forest, grow_classification_forest, samples_of_some_patients
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import CentreSamples, Samples, TrainingScan
from vertloc.stages.tree_growing import ForestSettings

OPTIONS = ContextFeatureSettings(largest_offset_mm=9, largest_size_mm=9)
SMALL = ForestSettings(n_trees=3, max_depth=6, features_per_tree=20, features_per_node=20, patient_share=0.6)
SHAPE = (10, 8, 8)


def make_scans(n=5, patients=None):
    """Noise with one bright half: below it class 5, above it class 9."""
    scans, samples = [], []
    for i in range(n):
        rng = np.random.default_rng(i)
        is_bright = np.arange(SHAPE[0]) >= rng.integers(4, 7)
        voxels = rng.normal(0, 20, SHAPE) + 600 * is_bright[:, None, None]
        volume = IsotropicVolume(voxels.astype(np.int16), Grid(SHAPE, (3.0,) * 3))
        patient = f"p{i}" if patients is None else patients[i]
        scans.append(TrainingScan(volume, Centroids.from_points({}, "world"), patient, f"s{i}"))
        index = np.indices(SHAPE).reshape(3, -1).T.astype(np.int64)
        probability = np.zeros((len(index), N_CLASSES), np.float32)
        probability[np.arange(len(index)), np.where(is_bright[index[:, 0]], 9, 5)] = 0.8
        probability[:, BACKGROUND] = 0.2
        samples.append(Samples(index, DenseLabels(probability, np.ones(len(index), np.float32))))
    return scans, samples


WEIGHTS = np.ones(N_CLASSES)


def grow(seed=0, settings=SMALL, n_threads=1, patients=None, on_tree=None):
    scans, samples = make_scans(patients=patients)
    seeds = np.random.SeedSequence(seed)
    return grow_classification_forest(scans, samples, WEIGHTS, OPTIONS, settings, seeds, n_threads, on_tree)


def arrays_of(forest):
    pool = (forest.pool.offset_mm, forest.pool.size_mm)
    return [forest.roots, forest.children, forest.features, forest.thresholds, forest.leaf_values, *pool]


def same_arrays(first, second):
    return all(np.array_equal(a, b) for a, b in zip(arrays_of(first), arrays_of(second), strict=True))


@pytest.mark.parametrize("pool", ["per_tree", "shared"])
def test_a_forest_depends_on_its_seed_and_not_on_the_threads(pool):
    settings = replace(SMALL, pool=pool)
    one, two, other = grow(1, settings), grow(1, settings, n_threads=2), grow(2, settings)
    assert same_arrays(one, two)
    assert not same_arrays(one, other)


def test_a_shared_pool_is_kept_once_and_serves_every_tree():
    assert len(grow().pool) == 3 * SMALL.features_per_tree
    shared = grow(settings=replace(SMALL, pool="shared"))
    assert len(shared.pool) == SMALL.features_per_tree
    assert shared.n_trees == SMALL.n_trees
    assert shared.features.max() < SMALL.features_per_tree


def patients_seen(patients, settings, seed=0):
    """Which patients each tree saw: every patient has a class of its own, and a tree of one leaf tells them."""
    scans, samples = make_scans(len(patients), patients)
    names = sorted(set(patients))
    own = []
    for scan, part in zip(scans, samples, strict=True):
        probability = np.zeros_like(part.labels.probability)
        probability[:, names.index(scan.patient) + 1] = 1
        own.append(Samples(part.index, DenseLabels(probability, part.labels.weight)))
    stump = replace(settings, min_samples_leaf=100_000)
    forest = grow_classification_forest(scans, own, WEIGHTS, OPTIONS, stump, np.random.SeedSequence(seed))
    return forest.leaf_values[:, 1 : len(names) + 1]


def test_each_tree_sees_its_share_of_the_patients_with_all_their_scans():
    patients = ["a", "a", "b", "c", "c"]
    shares = patients_seen(patients, replace(SMALL, n_trees=12))
    # 0.6 of three patients are two, each with as much weight as it has scans.
    np.testing.assert_array_equal((shares > 0).sum(axis=1), 2)
    expected = np.where(shares > 0, [2, 1, 2], 0)
    np.testing.assert_allclose(shares, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
    assert len(np.unique(shares > 0, axis=0)) > 1
    assert (patients_seen(patients, replace(SMALL, patient_share=1.0)) > 0).all()
    assert ((patients_seen(patients, replace(SMALL, patient_share=0.01)) > 0).sum(axis=1) == 1).all()


@pytest.mark.parametrize("pool", ["per_tree", "shared"])
def test_the_unseen_patients_do_not_matter_to_a_tree(pool):
    settings = replace(SMALL, n_trees=1, pool=pool)
    scans, samples = make_scans()
    seen = patients_seen([scan.patient for scan in scans], settings, seed=3)[0] > 0
    dark = [replace(scan, volume=replace(scan.volume, voxels=np.zeros(SHAPE, np.int16))) for scan in scans]
    hidden = [scan if s else black for scan, black, s in zip(scans, dark, seen, strict=True)]
    shown = [black if s else scan for scan, black, s in zip(scans, dark, seen, strict=True)]
    assert 0 < seen.sum() < 5
    again, other = (
        grow_classification_forest(some, samples, WEIGHTS, OPTIONS, settings, np.random.SeedSequence(3))
        for some in (hidden, shown)
    )
    assert same_arrays(again, grow(3, settings))
    assert not same_arrays(other, grow(3, settings))


@pytest.mark.parametrize("pool", ["per_tree", "shared"])
def test_a_tree_has_no_more_samples_than_it_may_and_draws_them_from_all_scans(pool):
    scans, samples = make_scans()
    settings = replace(SMALL, n_trees=4, pool=pool, patient_share=1.0, min_samples_leaf=1, samples_per_tree=60)
    forest = grow_classification_forest(scans, samples, WEIGHTS, OPTIONS, settings, np.random.SeedSequence(0))
    # With one sample a leaf there are no more leaves than samples.
    assert len(forest.leaf_values) <= 4 * 60
    rows = samples_of_some_patients(scans, [part.index for part in samples], settings, np.random.default_rng(0))
    assert len(np.unique(rows)) == 60
    n = len(samples[0].index)
    assert set(rows // n) == set(range(5))
    everything = replace(settings, samples_per_tree=5 * n)
    np.testing.assert_array_equal(
        samples_of_some_patients(scans, [part.index for part in samples], everything, np.random.default_rng(0)),
        np.arange(5 * n),
    )


def test_leaves_are_distributions_and_every_tree_is_reported():
    calls = []
    grown = grow(on_tree=lambda: calls.append(1))
    assert len(calls) == grown.n_trees == 3
    assert grown.leaf_values.shape[1] == N_CLASSES
    assert (grown.leaf_values >= 0).all()
    np.testing.assert_allclose(grown.leaf_values.sum(axis=1), 1, atol=1e-6)
    assert len(grown.pool) == 60


GROWERS = [("vertloc", "random"), ("scikit-learn", "random"), ("scikit-learn", "best")]


@pytest.mark.parametrize(("grower", "thresholds"), GROWERS)
def test_a_trivial_problem_is_learned(grower, thresholds):
    # A tree's draw of labels also holds background; the leaves still hold the mean soft label.
    forest = grow(settings=replace(SMALL, grower=grower, thresholds=thresholds, min_samples_leaf=30))
    scans, samples = make_scans(7)
    image = make_integral_image(scans[6].volume, OPTIONS)
    corners, scales = box_corners(forest.pool, 3.0, image)
    found = forest_sums(image, image.positions(*samples[6].index.T), forest, corners, scales) / 3
    labels = samples[6].labels.probability
    border = np.flatnonzero(np.diff(labels[:: SHAPE[1] * SHAPE[2], 9]))[0] + 0.5
    inner = np.abs(samples[6].index[:, 0] - border) > 2
    wrong = np.abs(found[inner] - labels[inner]).max(axis=1) > 0.1
    assert wrong.mean() < 0.01


def centre_samples(scans, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for _ in scans:
        index = np.indices(SHAPE).reshape(3, -1).T.astype(np.int64)
        out.append(CentreSamples(index, rng.normal(0, 5, (len(index), 3)).astype(np.float32)))
    return out


def test_centre_leaves_are_the_mean_displacement_and_a_weight_for_its_sureness():
    scans, _ = make_scans(2)
    samples = centre_samples(scans)
    settings = replace(SMALL, n_trees=2, patient_share=1.0, min_samples_leaf=20)
    forest = grow_centre_forest(scans, samples, OPTIONS, settings, np.random.SeedSequence(0))
    target = np.concatenate([part.displacement_mm for part in samples]).astype(np.float64)
    for tree in range(2):
        leaf = []
        for scan, part in zip(scans, samples, strict=True):
            image = make_integral_image(scan.volume, OPTIONS)
            corners, scales = box_corners(forest.pool, 3.0, image)
            leaf.append(tree_leaves(image, image.positions(*part.index.T), forest, tree, corners, scales))
        leaf = np.concatenate(leaf)
        for row in np.unique(leaf):
            own = target[leaf == row]
            variance = own.var(axis=0).mean()
            np.testing.assert_allclose(forest.leaf_values[row, :3], own.mean(axis=0), atol=1e-4)
            np.testing.assert_allclose(forest.leaf_values[row, 3], (1 + variance / 4) ** -2, rtol=1e-4)


@pytest.mark.parametrize(("grower", "thresholds"), GROWERS)
def test_a_centre_forest_learns_where_its_displacement_depends_on_the_image(grower, thresholds):
    scans, samples = make_scans()
    parts = []
    for part in samples:
        up = np.where(part.labels.probability[:, 9] > 0, 7, -7)
        parts.append(CentreSamples(part.index, np.stack([0 * up, 0 * up, up], axis=1).astype(np.float32)))
    settings = replace(SMALL, min_samples_leaf=20, grower=grower, thresholds=thresholds)
    one, two = (grow_centre_forest(scans, parts, OPTIONS, settings, np.random.SeedSequence(1), n) for n in (1, 2))
    assert same_arrays(one, two)
    sure = one.leaf_values[one.leaf_values[:, 3] > 0.9]
    assert len(sure) > 0
    np.testing.assert_allclose(np.abs(sure[:, 2]), 7, atol=0.5)
    assert {-1.0, 1.0} == set(np.sign(sure[:, 2]))


def test_patients_without_a_centre_sample_are_not_chosen_and_none_at_all_is_an_error():
    scans, _ = make_scans(4)
    samples = centre_samples(scans)
    nothing = CentreSamples(np.empty((0, 3), np.int64), np.empty((0, 3), np.float32))
    settings = replace(SMALL, n_trees=6, patient_share=0.25, min_samples_leaf=100_000)
    some = [nothing, samples[1], nothing, samples[3]]
    forest = grow_centre_forest(scans, some, OPTIONS, settings, np.random.SeedSequence(0))
    means = [samples[i].displacement_mm.mean(axis=0) for i in (1, 3)]
    found = [min(np.abs(leaf[:3] - mean).max() for mean in means) for leaf in forest.leaf_values]
    np.testing.assert_allclose(found, 0, atol=1e-4)
    with pytest.raises(TrainingError, match="4 training scans"):
        grow_centre_forest(scans, [nothing] * 4, OPTIONS, settings, np.random.SeedSequence(0))
