from dataclasses import replace

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.dense_labels import (
    BACKGROUND,
    N_CLASSES,
    DenseLabels,
    DenseLabelSettings,
    dense_labels,
    expected_unannotated,
)
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import (
    CentreSampleSettings,
    Samples,
    SamplingSettings,
    TrainingScan,
    centre_views,
    class_weights,
    classification_views,
    draw_centre_samples,
    draw_samples,
)
from vertloc.vertebrae import RANK

ISOLATED = DenseLabelSettings(unannotated_levels=0)


def make_scan(points, shape=(20, 14, 12), spacing=3.0):
    grid = Grid(shape, (spacing,) * 3, (10.0, -20.0, 30.0))
    centroids = {label: grid.to_world(index)[0] for label, index in points.items()}
    volume = IsotropicVolume(np.zeros(shape, np.int16), grid)
    return TrainingScan(volume, Centroids.from_points(centroids, "world"), "p", "s")


SCAN = make_scan({"L1": (13, 7, 6), "L2": (4, 7, 6)})


def rows_of(scan, index):
    return np.ravel_multi_index(tuple(index.T), scan.volume.voxels.shape)


def all_labels(scan, settings):
    index = np.indices(scan.volume.voxels.shape).reshape(3, -1).T
    return dense_labels(scan.volume.grid.to_world(index), scan.centroids, settings)


@pytest.mark.parametrize("label_settings", [ISOLATED, DenseLabelSettings(unannotated_levels=2)])
def test_with_high_limits_every_foreground_voxel_and_all_trusted_background_is_drawn(label_settings):
    settings = SamplingSettings(foreground_per_scan=10**6, background_per_scan=10**6, foreground_from=0.3)
    scan = make_scan({"L1": (27, 7, 6), "L2": (14, 7, 6)}, (29, 14, 12))
    found = draw_samples(scan, label_settings, settings, np.random.default_rng(0))
    labels = all_labels(scan, label_settings)
    # L3 is not annotated: its middle is left out, and its rim is drawn with little weight.
    assert (labels.weight <= 0.05).any() == (label_settings.unannotated_levels > 0)
    assert ((labels.weight > 0.05) & (labels.weight < 0.5)).any() == (label_settings.unannotated_levels > 0)
    wanted = np.flatnonzero((labels.probability[:, BACKGROUND] <= 0.7) | (labels.weight > 0.05))
    np.testing.assert_array_equal(rows_of(scan, found.index), wanted)
    np.testing.assert_array_equal(found.labels.probability, labels.probability[wanted])
    np.testing.assert_array_equal(found.labels.weight, labels.weight[wanted])


def test_limits_are_kept_without_drawing_a_voxel_twice():
    settings = SamplingSettings(foreground_per_scan=70, background_per_scan=50)
    found = draw_samples(SCAN, ISOLATED, settings, np.random.default_rng(0))
    is_foreground = found.labels.probability[:, BACKGROUND] <= 0.8
    assert is_foreground.sum() == 70
    assert (~is_foreground).sum() == 50
    rows = rows_of(SCAN, found.index)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(found.labels.probability, all_labels(SCAN, ISOLATED).probability[rows])


def test_a_tight_background_limit_loses_no_foreground():
    wide = SamplingSettings(foreground_per_scan=10**6, background_per_scan=10**6)
    tight = replace(wide, background_per_scan=1)
    many, few = (draw_samples(SCAN, ISOLATED, s, np.random.default_rng(0)) for s in (wide, tight))
    n_foreground = (many.labels.probability[:, BACKGROUND] <= 0.8).sum()
    assert len(few.index) == n_foreground + 1


def test_the_same_generator_draws_the_same_voxels_and_another_one_others():
    voxels = SamplingSettings(foreground_per_scan=40, background_per_scan=40)
    for draw, settings in ((draw_samples, voxels), (draw_centre_samples, CentreSampleSettings(per_scan=40))):
        first, again, other = (draw(SCAN, ISOLATED, settings, np.random.default_rng(seed)) for seed in (5, 5, 6))
        np.testing.assert_array_equal(first.index, again.index)
        assert (first.index != other.index).any()


def test_centre_samples_point_to_the_nearest_centroid():
    settings = CentreSampleSettings(per_scan=10**6, reach_mm=15)
    found = draw_centre_samples(SCAN, ISOLATED, settings, np.random.default_rng(0))
    index = np.indices(SCAN.volume.voxels.shape).reshape(3, -1).T
    points = SCAN.volume.grid.to_world(index)
    distance = np.linalg.norm(points[:, None] - SCAN.centroids.points_mm, axis=2)
    wanted = np.flatnonzero(distance.min(axis=1) <= 15)
    np.testing.assert_array_equal(rows_of(SCAN, found.index), wanted)
    target = SCAN.centroids.points_mm[distance[wanted].argmin(axis=1)]
    np.testing.assert_allclose(found.displacement_mm, target - points[wanted], atol=1e-4)
    assert len(draw_centre_samples(SCAN, ISOLATED, replace(settings, per_scan=9), np.random.default_rng(0)).index) == 9


def test_no_centre_sample_lies_nearer_to_an_unannotated_vertebra():
    scan = make_scan({"L1": (17, 7, 6), "L3": (3, 7, 6)})
    hidden = expected_unannotated(scan.centroids, ISOLATED)
    np.testing.assert_allclose(scan.volume.grid.to_index(hidden), [(10, 7, 6)])
    settings = CentreSampleSettings(per_scan=10**6, reach_mm=18)
    found = draw_centre_samples(scan, ISOLATED, settings, np.random.default_rng(0))
    points = scan.volume.grid.to_world(found.index)
    assert (np.linalg.norm(found.displacement_mm, axis=1) < np.linalg.norm(points - hidden, axis=1)).all()
    assert len(found.index) > 500


def test_a_scan_without_annotation_gives_background_and_no_centre_samples():
    scan = make_scan({})
    found = draw_samples(scan, ISOLATED, SamplingSettings(background_per_scan=25), np.random.default_rng(0))
    np.testing.assert_array_equal(found.labels.probability[:, BACKGROUND], np.ones(25))
    centres = draw_centre_samples(scan, ISOLATED, CentreSampleSettings(), np.random.default_rng(0))
    assert centres.index.shape == centres.displacement_mm.shape == (0, 3)


def one_hot_samples(counts, weight=1.0):
    classes = np.concatenate([np.full(n, k) for k, n in counts.items()])
    probability = np.eye(N_CLASSES, dtype=np.float32)[classes]
    labels = DenseLabels(probability, np.full(len(classes), weight, np.float32))
    return Samples(np.zeros((len(classes), 3), np.int64), labels)


def test_class_weights_balance_by_a_power_of_the_frequency():
    l1, l2 = RANK["L1"] + 1, RANK["L2"] + 1
    samples = [one_hot_samples({BACKGROUND: 60, l1: 30}), one_hot_samples({l2: 10})]
    found = class_weights(samples, SamplingSettings(balance=0.5, background_weight=0.6))
    expected = np.zeros(N_CLASSES)
    expected[[l1, l2]] = 0.3**-0.5, 0.1**-0.5
    expected[BACKGROUND] = 0.6 * (30 * expected[l1] + 10 * expected[l2]) / 60
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("balance", [0, 0.7, 1])
def test_full_balance_gives_all_vertebrae_the_same_total_and_none_keeps_their_frequencies(balance):
    counts = {BACKGROUND: 500, 3: 7, 12: 70, 26: 23}
    weights = class_weights([one_hot_samples(counts)], SamplingSettings(balance=balance, background_weight=2))
    total = {k: weights[k] * n for k, n in counts.items()}
    assert total[BACKGROUND] == pytest.approx(2 * (total[3] + total[12] + total[26]))
    assert total[12] / total[3] == pytest.approx(10 ** (1 - balance))


def test_distrusted_rows_count_less_and_missing_classes_weigh_nothing():
    settings = SamplingSettings(balance=1)
    half = class_weights([one_hot_samples({BACKGROUND: 10, 5: 4}), one_hot_samples({BACKGROUND: 20}, 0.5)], settings)
    whole = class_weights([one_hot_samples({BACKGROUND: 20, 5: 4})], settings)
    np.testing.assert_allclose(half, whole)
    assert np.count_nonzero(half) == 2
    lone = class_weights([one_hot_samples({BACKGROUND: 10})], settings)
    np.testing.assert_array_equal(np.flatnonzero(lone), [BACKGROUND])


@pytest.mark.parametrize(
    "wrong",
    [
        {"foreground_per_scan": 0},
        {"background_per_scan": 0},
        {"foreground_from": 1},
        {"balance": 2},
        {"background_weight": 0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SamplingSettings(**wrong)


@pytest.mark.parametrize("wrong", [{"per_scan": 0}, {"reach_mm": 0}])
def test_impossible_settings_of_centre_samples_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CentreSampleSettings(**wrong)


def test_views_hold_the_samples_of_each_scan_with_balanced_masses():
    scans = [SCAN, make_scan({"T12": (10, 7, 6)})]
    settings, seed = SamplingSettings(foreground_per_scan=60, background_per_scan=40), np.random.SeedSequence(4)
    views = classification_views(scans, ISOLATED, settings, seed, n_threads=2)
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(4).spawn(2)]
    samples = [draw_samples(scan, ISOLATED, settings, rng) for scan, rng in zip(scans, rngs, strict=True)]
    weights = class_weights(samples, settings)
    for scan, view, own in zip(scans, views, samples, strict=True):
        assert view.volume is scan.volume
        np.testing.assert_array_equal(view.index, own.index)
        np.testing.assert_allclose(view.targets, own.labels.probability * own.labels.weight[:, None] * weights, 1e-6)
    # A scan's samples do not depend on the other scans.
    alone = centre_views(scans[:1], ISOLATED, CentreSampleSettings(per_scan=30), seed)[0]
    both = centre_views(scans, ISOLATED, CentreSampleSettings(per_scan=30), seed)[0]
    np.testing.assert_array_equal(alone.targets, both.targets)
    assert alone.targets.shape == (30, 3)
