"""How sure a level is: shifts compete, and scans unlike the training scans are told apart."""

from dataclasses import replace

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.certainty import (
    Certainty,
    CertaintySettings,
    assess,
    in_view_of_flags,
    in_view_of_units,
    in_view_of_voxels,
)
from vertloc.stages.context_features import FeaturePool, FeatureRule
from vertloc.stages.dense_labels import N_CLASSES
from vertloc.stages.discriminant import LinearDiscriminant
from vertloc.stages.shape_labelling import Labelling
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.vertebrae import RANK, VERTEBRAE

PRIOR = learn_shape_model([], ShapeModelSettings())
SETTINGS = CertaintySettings()
GRID = Grid((4, 4, 4), (3.0,) * 3)


def make_discriminant(seed=0, unseen=()):
    """Class means drawn in a space of 40 directions, with unit covariance: the gram matrix is that of the means."""
    means = np.random.default_rng(seed).normal(0, 3, (N_CLASSES, 40))
    means -= means.mean(axis=0)
    means[list(unseen)] = 0
    pool = FeaturePool(np.zeros((1, 2, 3), np.float32), np.ones((1, 2, 3), np.float32), FeatureRule())
    empty = np.zeros((N_CLASSES, 1), np.float32)
    # Distances of samples follow the chi-squared distribution of the 26 directions that the means span.
    no_place = np.zeros((3, 1), np.float32), np.zeros((N_CLASSES, 3))
    return LinearDiscriminant(pool, empty, np.zeros(N_CLASSES), means @ means.T, *no_place, usual_distance=60.0), means


def scores_of(points, means):
    """Scores of samples in the space of the means: m x - m m / 2."""
    return points @ means.T - 0.5 * (means**2).sum(axis=1)


def judged(labelling, scores, discriminant, settings=SETTINGS):
    """Assess a chain whose size speaks for no level: its scores are the same in every frame."""
    first, last = (labelling.ranks[0], labelling.ranks[-1]) if len(labelling.ranks) else (0, 0)
    shifts = [s for s in range(-3, 4) if first + s >= 0 and last + s < len(VERTEBRAE)]
    return assess(labelling, dict.fromkeys(shifts, scores), discriminant, PRIOR, settings)


def make_labelling(levels):
    ranks = [RANK[level] for level in levels]
    steps = [np.zeros(3), *(PRIOR.mean_mm[rank] for rank in ranks[:-1])]
    points = np.cumsum(steps, axis=0)
    return Labelling(Centroids(tuple(levels), points, "world"), np.arange(len(levels)), np.ones(len(levels)))


LEVELS = ("T9", "T10", "T11", "T12", "L1")


def samples(levels, means, seed=1, noise=1.0):
    rows = means[[RANK[level] + 1 for level in levels]]
    return rows + noise * np.random.default_rng(seed).normal(size=rows.shape)


def test_distances_are_mahalanobis_distances_in_the_space_of_the_means():
    discriminant, means = make_discriminant()
    points = samples(LEVELS, means)
    found = discriminant.distances(scores_of(points, means))
    basis = np.linalg.svd(means, full_matrices=False)[2][: np.linalg.matrix_rank(means)]
    expected = (((points[:, None] - means[None]) @ basis.T) ** 2).sum(axis=2)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_class_that_no_sample_showed_is_infinitely_far():
    discriminant, means = make_discriminant(unseen=[3])
    found = discriminant.distances(scores_of(samples(LEVELS, means), means))
    assert np.isinf(found[:, 3]).all()
    assert np.isfinite(np.delete(found, 3, axis=1)).all()


def test_a_chain_in_its_place_is_sure():
    discriminant, means = make_discriminant()
    found = judged(make_labelling(LEVELS), scores_of(samples(LEVELS, means), means), discriminant)
    assert found.is_sure
    assert found.reasons == ()
    assert found.likeness > 0.99
    assert list(found.shift_probability) == list(range(-3, 4))
    assert sum(found.shift_probability.values()) == pytest.approx(1)


def test_what_is_usual_is_what_the_model_has_learnt_unless_the_settings_say_it():
    discriminant, means = make_discriminant()
    scores = scores_of(samples(LEVELS, means, noise=3.0), means)
    distance = judged(make_labelling(LEVELS), scores, discriminant).distance
    likeness = {}
    for learnt in (distance / 2, distance, distance * 2):
        model = replace(discriminant, usual_distance=learnt / SETTINGS.distance_slack)
        likeness[learnt] = judged(make_labelling(LEVELS), scores, model).likeness
        said = judged(make_labelling(LEVELS), scores, model, replace(SETTINGS, usual_distance=distance))
        assert said.likeness == pytest.approx(0.5)
    assert list(likeness.values()) == pytest.approx([0, 0.5, 1], abs=0.01)


def test_a_model_that_could_not_measure_what_is_usual_is_sure_of_nothing():
    discriminant, means = make_discriminant()
    scores = scores_of(samples(LEVELS, means), means)
    found = judged(make_labelling(LEVELS), scores, replace(discriminant, usual_distance=0.0))
    assert not found.is_sure
    assert found.level < 0.1


def test_a_chain_named_one_level_too_high_knows_the_alternative():
    discriminant, means = make_discriminant()
    lower = [VERTEBRAE[RANK[level] + 1] for level in LEVELS]
    scores = scores_of(samples(lower, means), means)
    found = judged(make_labelling(LEVELS), scores, discriminant)
    assert max(found.shift_probability, key=found.shift_probability.get) == 1
    assert not found.is_sure
    assert any(reason.startswith("all one level lower: ") for reason in found.reasons)


def test_a_shift_is_judged_by_the_scores_in_its_own_frame():
    discriminant, means = make_discriminant()
    labelling = make_labelling(LEVELS)
    own = scores_of(samples(LEVELS, means), means)
    scores = dict.fromkeys(range(-3, 4), own)
    lower = [VERTEBRAE[RANK[level] + 1] for level in LEVELS]
    scores[1] = scores_of(samples(lower, means), means) + 50
    found = assess(labelling, scores, discriminant, PRIOR, SETTINGS)
    assert found.likeliest_shift == 1
    assert found.distance == judged(labelling, own, discriminant).distance


def test_features_of_another_kind_lower_the_confidence():
    discriminant, means = make_discriminant()
    away = samples(LEVELS, means) + 9 * np.random.default_rng(3).choice([-1, 1], means.shape[1])
    found = judged(make_labelling(LEVELS), scores_of(away, means), discriminant)
    assert found.distance > 500
    assert found.likeness < 0.01
    assert found.level < 0.01
    assert found.reasons[0] == "unlike the scans that the model was trained on"


def test_the_evidence_of_a_chain_counts_as_that_of_one_member():
    discriminant, means = make_discriminant()
    short = scores_of(means[[RANK["T9"] + 1]], means)
    plain = CertaintySettings(link_weight=0.0)
    one = judged(make_labelling(("T9",)), short, discriminant, plain)
    score = {s: short[0, RANK["T9"] + 1 + s] * plain.score_weight for s in range(-3, 4)}
    total = np.logaddexp.reduce(list(score.values()))
    assert one.shift_probability == pytest.approx({s: np.exp(v - total) for s, v in score.items()})


def test_shifts_past_the_ends_of_the_spine_are_left_out():
    discriminant, means = make_discriminant()
    top, bottom = ("C1", "C2"), ("L5", "S1", "S2")
    for levels, shifts in ((top, [0, 1, 2, 3]), (bottom, [-3, -2, -1, 0])):
        found = judged(make_labelling(levels), scores_of(samples(levels, means), means), discriminant)
        assert list(found.shift_probability) == shifts


def test_a_variant_is_no_step_to_compare():
    discriminant, means = make_discriminant()
    usual = make_labelling(("T11", "T12", "L1", "L2"))
    points = dict(zip(("T11", "T12", "T13", "L1"), usual.centroids.points_mm, strict=True))
    unusual = Labelling(Centroids.from_points(points, "world"), np.arange(4), np.ones(4))
    scores = scores_of(samples(("T11", "T12", "T12", "L1"), means), means)
    found = judged(unusual, scores, discriminant)
    assert sum(found.shift_probability.values()) == pytest.approx(1)


def test_an_empty_chain_is_not_sure():
    discriminant, _ = make_discriminant()
    empty = Labelling(Centroids.from_points({}, "world"), np.empty(0, np.int64), np.empty(0))
    found = judged(empty, np.empty((0, N_CLASSES)), discriminant)
    assert (found.is_sure, found.level, found.reasons) == (False, 0.0, ())


def test_words_for_shifts():
    said = Certainty({-2: 0.2, -1: 0.04, 0: 0.45, 1: 0.31}, likeness=0.2, is_sure=False).reasons
    assert said == (
        "unlike the scans that the model was trained on",
        "all one level lower: 31%",
        "all 2 levels higher: 20%",
    )


@pytest.mark.parametrize(("thickest", "share"), [(3.0, 1.0), (10.0, 1.0), (15.0, 0.5), (20.0, 0.0), (50.0, 0.0)])
def test_coarse_voxels_lower_the_certainty_and_say_so(thickest, share):
    sure = Certainty({0: 0.96, 1: 0.04}, likeness=1.0)
    found = in_view_of_voxels(sure, (0.7, thickest, 0.7), SETTINGS)
    assert found.level == pytest.approx(0.96 * share)
    assert found.is_sure == (share == 1)
    said = () if share == 1 else (f"voxels of {thickest:.4g} mm: above 10 mm scans are unlike those learnt from",)
    assert found.reasons == said


def test_where_no_level_was_judged_coarse_voxels_change_nothing():
    nothing = Certainty(likeness=0.0, is_sure=False)
    assert in_view_of_voxels(nothing, (1.0, 1.0, 30.0), SETTINGS) == nothing


def test_a_scan_that_is_a_little_unlike_is_not_said_to_be_uncertain_of_its_level():
    said = Certainty({0: 1.0}, likeness=0.7, is_sure=False).reasons
    assert said == ("not quite like the scans that the model was trained on",)
    assert Certainty({0: 0.85}, likeness=0.95, is_sure=False).reasons == ("the level is uncertain",)


def test_an_unusual_spine_is_not_sure_and_says_why():
    sure = Certainty({0: 0.99, 1: 0.01})
    assert in_view_of_flags(sure, ()) == sure
    found = in_view_of_flags(sure, ("T13: a thirteenth thoracic vertebra",))
    assert not found.is_sure
    assert found.level == sure.level
    assert found.reasons == ("T13: a thirteenth thoracic vertebra",)
    assert in_view_of_flags(Certainty(), ("L6",)).reasons == ("L6",)  # where no level was judged, too


def test_intensities_of_no_ct_scanner_are_not_sure_and_said_to_be_so():
    sure = Certainty({0: 0.99, 1: 0.01})
    assert in_view_of_units(sure, are_hounsfield=True) == sure
    found = in_view_of_units(sure, are_hounsfield=False)
    assert not found.is_sure
    assert found.level < 0.5
    assert found.reasons == ("intensities that are no Hounsfield units",)
