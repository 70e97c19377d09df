"""The linear discriminant against the textbook's formula, and its exactness."""

from dataclasses import replace

import numpy as np
import pytest

from vertloc.errors import TrainingError
from vertloc.geometry import Grid
from vertloc.stages.context_features import ContextFeatureSettings, draw_feature_pool
from vertloc.stages.discriminant import NEVER, DiscriminantSettings, learn_discriminant
from vertloc.stages.forest_growing import view_columns
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sample_sums import SampleSums
from vertloc.stages.sampling import TrainingView

FEATURES = ContextFeatureSettings(largest_offset_mm=12, largest_size_mm=9)
SETTINGS = DiscriminantSettings(n_features=12, balance=0, shrinkage=0.1)
SEED = np.random.SeedSequence(3)
N_CLASSES = 4


def make_views(n_views=5, n=60, classes=(0, 1, 3), seed=0):
    """Noise whose mean tells the class: class 3 is twice as bright as class 1."""
    rng = np.random.default_rng(seed)
    views = []
    for k in range(n_views):
        own = rng.choice(classes, n)
        voxels = rng.normal(0, 60, (10, 12, 14)).astype(np.int16)
        index = np.stack([rng.integers(0, size, n) for size in voxels.shape], axis=1)
        for (z, y, x), c in zip(index, own, strict=True):
            voxels[z, y, x] += 150 * c
        grid = Grid(voxels.shape, (3.0,) * 3)
        views.append(
            TrainingView(IsotropicVolume(voxels, grid), f"p{k}", index, np.eye(N_CLASSES, dtype=np.float32)[own])
        )
    return views


def columns_of(views, pool):
    return np.concatenate([view_columns([view], np.arange(len(view.index)), pool, 1) for view in views], axis=1)


def textbook_scores(columns, classes, shrinkage, new, times=(1, 1, 1, 1)):
    """m^T C^-1 x - m^T C^-1 m / 2 with numpy's own means, covariance and solver, features in units of their spread.

    times : how often a sample of each class is there
    """
    again = np.repeat(np.arange(len(classes)), np.array(times)[classes])
    x, classes = columns.T[again].astype(float), classes[again]
    middle, spread = x.mean(axis=0), x.std(axis=0) + 1
    x, new = (x - middle) / spread, (new.T - middle) / spread
    seen = np.unique(classes)
    means = {c: x[classes == c].mean(axis=0) for c in seen}
    residual = x - np.stack([means[c] for c in classes])
    within = residual.T @ residual / len(x)
    within = (1 - shrinkage) * within + shrinkage * np.diag(within).mean() * np.eye(len(within))
    scores = np.full((len(new), N_CLASSES), -np.inf)
    for c in seen:
        direction = np.linalg.solve(within, means[c])
        scores[:, c] = new @ direction - 0.5 * means[c] @ direction
    return scores


def test_scores_are_those_of_the_textbook():
    views = make_views()
    found = learn_discriminant(views, FEATURES, SETTINGS, SEED)
    columns = columns_of(views, found.pool)
    classes = np.concatenate([view.targets.argmax(axis=1) for view in views])
    new = columns_of(make_views(2, seed=9), found.pool)
    expected = textbook_scores(columns, classes, SETTINGS.shrinkage, new)
    seen = np.unique(classes)
    np.testing.assert_allclose(found.scores(new)[:, seen], expected[:, seen], rtol=1e-4, atol=1e-4)


def test_samples_of_rare_classes_are_as_if_they_were_there_more_often():
    views = make_views(8, classes=(0, 0, 0, 1, 1, 1, 1, 1, 3))
    found = learn_discriminant(views, FEATURES, replace(SETTINGS, balance=1), SEED)
    columns = columns_of(views, found.pool)
    classes = np.concatenate([view.targets.argmax(axis=1) for view in views])
    n = np.bincount(classes, minlength=N_CLASSES)
    # Class 3 counts 64 times; what the others count is rounded to squares, the background as the most frequent other.
    root = round(8 * (n[3] / n[1]) ** 0.5)
    assert 1 < root < 8
    new = columns_of(make_views(2, seed=9), found.pool)
    expected = textbook_scores(columns, classes, SETTINGS.shrinkage, new, times=(root**2, root**2, 1, 64))
    seen = np.unique(classes)
    np.testing.assert_allclose(found.scores(new)[:, seen], expected[:, seen], rtol=1e-4, atol=1e-4)


def with_displacements(views, seed=5):
    """Samples whose displacement is told by the intensity around them, on average, and one of their class."""
    rng = np.random.default_rng(seed)
    pool = draw_feature_pool(SETTINGS.n_features, FEATURES, np.random.default_rng(SEED))
    told = []
    for view in views:
        columns, classes = columns_of([view], pool).T / 100, view.targets.argmax(axis=1)
        displacement = columns[:, :3] + columns[:, 3:6] + classes[:, None] * (0, 1, -2) + rng.normal(0, 0.5, (60, 3))
        displacement = np.rint(np.clip(displacement, -30, 30) * 16) / 16  # what is added up is exact
        displacement[classes == 0] = 0
        told.append(replace(view, displacement_mm=displacement))
    return told


@pytest.mark.parametrize("balance", [0, 1])
def test_displacements_are_those_of_ridge_regression_within_the_classes(balance):
    views = with_displacements(make_views(8, classes=(0, 1, 1, 1, 3)))
    found = learn_discriminant(views, FEATURES, replace(SETTINGS, balance=balance), SEED)
    classes = np.concatenate([view.targets.argmax(axis=1) for view in views])
    times = SampleSums.of(np.bincount(classes, minlength=N_CLASSES), 1, balance).roots[classes] ** 2
    assert (len(set(times)) > 1) == bool(balance)
    x, y = columns_of(views, found.pool).T.astype(float), np.concatenate([view.displacement_mm for view in views])
    x, y, classes = (np.repeat(values, times, axis=0) for values in (x, y, classes))
    x_mean, y_mean = ({c: values[classes == c].mean(axis=0) for c in np.unique(classes)} for values in (x, y))
    spread = x.std(axis=0) + 1
    x = (x - np.stack([x_mean[c] for c in classes])) / spread
    y = y - np.stack([y_mean[c] for c in classes])
    shrinkage, variance = SETTINGS.shrinkage, np.mean(x**2)
    # The same as more samples: the square root of the penalty for every feature, and no displacement.
    penalty = np.sqrt(len(x) * shrinkage / (1 - shrinkage) * variance) * np.eye(x.shape[1])
    weights = np.linalg.lstsq(np.concatenate([x, penalty]), np.concatenate([y, np.zeros((x.shape[1], 3))]))[0]
    others = make_views(2, seed=9, classes=(1, 3))
    new, taken_for = columns_of(others, found.pool), np.concatenate([v.targets.argmax(axis=1) for v in others])
    expected = [y_mean[c] + (one - x_mean[c]) / spread @ weights for one, c in zip(new.T, taken_for, strict=True)]
    np.testing.assert_allclose(found.displacements_mm(new, taken_for), expected, rtol=1e-3, atol=1e-3)
    assert np.abs(expected).max() > 1


def test_views_that_tell_no_displacement_teach_none():
    found = learn_discriminant(make_views(), FEATURES, SETTINGS, SEED)
    assert not found.place_weights.any()
    assert not found.place_offsets.any()


def test_it_tells_classes_apart_that_it_has_not_seen_the_samples_of():
    found = learn_discriminant(make_views(), FEATURES, DiscriminantSettings(n_features=200), SEED)
    others = make_views(3, seed=7)
    named = found.scores(columns_of(others, found.pool)).argmax(axis=1)
    true = np.concatenate([view.targets.argmax(axis=1) for view in others])
    assert (named == true).mean() > 0.8


def test_a_class_without_samples_is_never_named():
    found = learn_discriminant(make_views(), FEATURES, SETTINGS, SEED)
    assert found.offsets[2] == NEVER
    assert not found.weights[2].any()


def test_the_order_of_views_and_the_number_of_threads_change_no_bit():
    views = with_displacements(make_views(30))
    first = learn_discriminant(views, FEATURES, SETTINGS, SEED)
    again = learn_discriminant(views[::-1], FEATURES, SETTINGS, SEED, n_threads=3)
    np.testing.assert_array_equal(first.weights, again.weights)
    np.testing.assert_array_equal(first.offsets, again.offsets)
    np.testing.assert_array_equal(first.place_weights, again.place_weights)
    np.testing.assert_array_equal(first.place_offsets, again.place_offsets)
    assert first.usual_distance == again.usual_distance > 0


def held_out_distance(views, held_out):
    """What 95 % of the views of held-out patients stay within, if only the others are learnt from."""
    others = [view for view in views if view.patient not in held_out]
    count = np.bincount(np.concatenate([v.targets.argmax(axis=1) for v in views]), minlength=N_CLASSES)
    assert (SampleSums.of(count, 1, 0).roots == 8).all()  # leaving views out does not change what the others count
    found = learn_discriminant(others, FEATURES, SETTINGS, SEED)
    medians = []
    for view in views:
        if view.patient in held_out:
            classes = view.targets.argmax(axis=1)
            distances = found.distances(found.scores(columns_of([view], found.pool)))
            medians.append(np.median(distances[classes > 0, classes[classes > 0]]))
    return np.sort(medians)[int(np.ceil(0.95 * (len(medians) - 1)))]


@pytest.mark.parametrize("n_patients", [4, 11])
def test_the_usual_distance_is_that_of_patients_who_are_not_learnt_from(n_patients):
    views = make_views(n_patients)
    names = sorted(view.patient for view in views)
    found = learn_discriminant(views[::-1], FEATURES, SETTINGS, SEED, n_threads=2)
    assert found.usual_distance == pytest.approx(held_out_distance(views, set(names[3::4])), rel=1e-9)


def test_views_of_one_patient_are_held_out_together():
    views = make_views(12)
    twice = [replace(view, patient=f"p{k // 2}") for k, view in enumerate(views)]
    found = learn_discriminant(twice, FEATURES, SETTINGS, SEED)
    assert found.usual_distance == pytest.approx(held_out_distance(twice, {"p3"}), rel=1e-9)


def test_of_too_few_patients_nothing_is_usual():
    assert learn_discriminant(make_views(3), FEATURES, SETTINGS, SEED).usual_distance == 0


def test_few_patients_make_new_ones_look_farther():
    usual = [
        learn_discriminant(make_views(n), FEATURES, DiscriminantSettings(200), SEED).usual_distance for n in (4, 60)
    ]
    assert usual[0] > 2 * usual[1]


def test_scores_do_not_depend_on_the_order_of_the_sum():
    views = make_views()
    found = learn_discriminant(views, FEATURES, SETTINGS, SEED)
    columns = columns_of(views[:1], found.pool)
    order = np.random.default_rng(0).permutation(len(columns))
    products = found.weights.astype(np.float64)[:, order] @ columns[order].astype(np.float64)
    np.testing.assert_array_equal(products.T + found.offsets, found.scores(columns))


def test_a_feature_that_never_changes_is_harmless():
    views = make_views()
    flat = [
        TrainingView(IsotropicVolume(np.zeros_like(v.volume.voxels), v.volume.grid), v.patient, v.index, v.targets)
        for v in views
    ]
    found = learn_discriminant(flat, FEATURES, SETTINGS, SEED)
    assert np.isfinite(found.weights).all()
    assert np.abs(found.weights).max() < 1e-9


def test_no_sample_at_all_is_an_error():
    empty = [TrainingView(v.volume, v.patient, v.index[:0], v.targets[:0]) for v in make_views(2)]
    with pytest.raises(TrainingError, match="none of the 2 views"):
        learn_discriminant(empty, FEATURES, SETTINGS, SEED)
    with pytest.raises(TrainingError, match="none of the 0 views"):
        learn_discriminant([], FEATURES, SETTINGS, SEED)


def test_the_pool_is_drawn_from_the_seed():
    found = learn_discriminant(make_views(2), FEATURES, SETTINGS, SEED)
    expected = draw_feature_pool(SETTINGS.n_features, FEATURES, np.random.default_rng(SEED))
    np.testing.assert_array_equal(found.pool.offset_mm, expected.offset_mm)
