"""Matching one scan: hand-worked cases, ties and borders, and a plain twin of the rule on random scans."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.centroids import Centroids
from vertloc.evaluation.matching import ExtraLabel, score_scan
from vertloc.vertebrae import VARIANTS, VERTEBRAE

EMPTY = Centroids((), np.empty((0, 3)))


def column(labels, gap=20.0):
    """Vertebrae straight above each other, `gap` mm apart, the first at height 0."""
    return Centroids.from_points({label: (0.0, 0.0, -gap * i) for i, label in enumerate(labels)})


def moved(centroids, by):
    return Centroids(centroids.labels, centroids.points_mm + np.array(by), centroids.frame)


def test_a_perfect_prediction_identifies_everything():
    truth = column(["T1", "T2", "T3"])
    score = score_scan("a", truth, truth)
    assert score.n == score.n_identified == 3
    assert score.is_all_right
    assert score.n_missed == 0
    assert score.extra == ()
    assert score.identification_rate == 1.0
    np.testing.assert_array_equal(score.errors_mm, 0.0)


def test_the_error_is_the_distance_to_the_vertebra_of_the_same_name():
    score = score_scan("a", column(["L1"]), Centroids.from_points({"L1": (2.0, 3.0, 6.0)}))
    assert score.vertebrae[0].error_mm == pytest.approx(7.0)
    assert score.vertebrae[0].predicted_mm == (2.0, 3.0, 6.0)
    assert score.vertebrae[0].true_mm == (0.0, 0.0, 0.0)


def test_a_missed_vertebra_counts_as_not_identified():
    score = score_scan("a", column(["T1", "T2", "T3", "T4"]), column(["T1", "T2", "T3"]))
    missed = score.vertebrae[3]
    assert missed.is_missed
    assert not missed.is_identified
    assert missed.nearest == ""
    assert math.isnan(missed.error_mm)
    assert all(math.isnan(value) for value in missed.predicted_mm)
    assert (score.n_identified, score.n_missed, score.identification_rate) == (3, 1, 0.75)
    assert not score.is_all_right


def test_a_neck_shifted_by_one_is_wrong_although_every_point_lies_within_20_mm():
    truth = column(["C3", "C4", "C5", "C6"], gap=17.0)
    predicted = Centroids.from_points({"C4": (0, 0, 0), "C5": (0, 0, -17), "C6": (0, 0, -34), "C7": (0, 0, -51)})
    score = score_scan("a", truth, predicted)
    assert score.n_identified == 0
    assert score.shift == 1
    assert [v.nearest for v in score.vertebrae] == ["", "C3", "C4", "C5"]
    np.testing.assert_allclose(score.errors_mm, 17.0)
    assert score.extra == (ExtraLabel("C7", (0.0, 0.0, -51.0), "C6", 0.0),)


def test_labels_that_are_too_high_give_a_negative_shift():
    truth = column(["T5", "T6", "T7"])
    predicted = Centroids.from_points({"T4": (0, 0, 0), "T5": (0, 0, -20), "T6": (0, 0, -40)})
    assert score_scan("a", truth, predicted).shift == -1


def test_a_shift_needs_more_than_half_of_the_points():
    truth = column(["T5", "T6", "T7", "T8"])
    half = Centroids.from_points({"T5": (0, 0, 0), "T6": (0, 0, -20), "T8": (0, 0, -40), "T9": (0, 0, -60)})
    assert score_scan("a", truth, half).shift == 0


def test_points_far_from_every_vertebra_say_nothing_about_the_shift():
    truth = column(["T5"])
    predicted = Centroids.from_points({"T6": (0, 0, 0), "T9": (90, 0, 0), "T10": (95, 0, 0), "T11": (99, 0, 0)})
    assert score_scan("a", truth, predicted).shift == 1


def test_an_extra_t13_shifts_what_follows_by_one():
    truth = Centroids.from_points({"T12": (0, 0, 0), "T13": (0, 0, -30), "L1": (0, 0, -60)})
    predicted = Centroids.from_points({"T12": (0, 0, 0), "L1": (0, 0, -30), "L2": (0, 0, -60)})
    score = score_scan("a", truth, predicted)
    assert score.shift == 1
    assert [v.is_identified for v in score.vertebrae] == [True, False, False]


def test_annotated_variants_count_like_every_other_vertebra():
    truth = Centroids.from_points({"L5": (0, 0, 0), "L6": (0, 0, -30), "S1": (0, 0, -60)})
    predicted = Centroids.from_points({"L5": (0, 0, 0), "S1": (0, 0, -60)})
    score = score_scan("a", truth, predicted)
    assert (score.n, score.n_identified, score.n_missed) == (3, 2, 1)
    assert score.vertebrae[1].region == "lumbar"


def test_labels_that_are_not_annotated_cost_nothing_but_are_kept():
    truth = column(["T1", "T2"])
    predicted = Centroids.from_points({"T1": (0, 0, 0), "T2": (0, 0, -20), "T3": (0, 3, -44)})
    score = score_scan("a", truth, predicted)
    assert score.is_all_right
    assert [(e.label, e.nearest, e.distance_mm, e.region) for e in score.extra] == [
        ("T3", "T2", 24.186773244895647, "thoracic")
    ]


def test_exactly_20_mm_is_too_far():
    truth = column(["T1"])
    for distance, is_identified in ((20.0, False), (np.nextafter(20.0, 0.0), True)):
        score = score_scan("a", truth, Centroids.from_points({"T1": (distance, 0, 0)}))
        assert score.vertebrae[0].is_identified is is_identified


def test_a_point_exactly_halfway_belongs_to_the_upper_vertebra():
    truth = column(["C4", "C5"], gap=18.0)
    upper = score_scan("a", truth, Centroids.from_points({"C4": (0, 0, -9)}))
    lower = score_scan("a", truth, Centroids.from_points({"C5": (0, 0, -9)}))
    assert upper.vertebrae[0].is_identified
    assert not lower.vertebrae[1].is_identified
    assert lower.vertebrae[1].nearest == "C4"


def test_only_annotated_vertebrae_compete_for_a_point():
    # The point lies at T2, which nobody annotated: T1 is the nearest annotated one.
    truth = Centroids.from_points({"T1": (0, 0, 0), "T4": (0, 0, -57)})
    score = score_scan("a", truth, Centroids.from_points({"T1": (0, 0, -19)}))
    assert score.vertebrae[0].is_identified


def test_an_empty_prediction_misses_everything():
    score = score_scan("a", column(["T1", "T2"]), EMPTY)
    assert (score.n_identified, score.n_missed, score.shift) == (0, 2, 0)
    assert score.has_prediction
    assert len(score.errors_mm) == 0


def test_a_scan_without_annotation_has_no_rate_and_only_extra_labels():
    score = score_scan("a", EMPTY, column(["T1"]))
    assert score.n == 0
    assert math.isnan(score.identification_rate)
    assert score.is_all_right
    assert score.extra[0].nearest == ""
    assert math.isnan(score.extra[0].distance_mm)
    assert score_scan("a", EMPTY, EMPTY).extra == ()


def test_points_in_different_frames_are_refused():
    truth = column(["T1"])
    with pytest.raises(ValueError, match="scan-7: truth in the local frame, prediction in the world frame"):
        score_scan("scan-7", truth, Centroids(truth.labels, truth.points_mm, "world"))


# Whole numbers on a narrow lattice: exact ties and exactly 20 mm are common, and computed without rounding.
_points = st.tuples(st.integers(-8, 8), st.just(0), st.integers(-24, 24))
_scans = st.dictionaries(st.sampled_from(VERTEBRAE[4:14] + VARIANTS), _points, max_size=8)


def plain_rule(truth, found):
    """The rule as a person would write it: name -> (identified, error or None); the first of equal ones is nearest."""
    result = {}
    for name, point in truth.items():
        if name not in found:
            result[name] = (False, None)
            continue
        best, nearest = math.inf, None
        for other in sorted(truth, key=lambda n: Centroids.from_points(truth).labels.index(n)):
            distance = math.dist(truth[other], found[name])
            if distance < best:
                best, nearest = distance, other
        error = math.dist(point, found[name])
        result[name] = (nearest == name and error < 20, error)
    return result


@given(_scans, _scans)
@settings(max_examples=200, deadline=None)
def test_random_scans_agree_with_a_plain_twin_of_the_rule(truth, found):
    score = score_scan("a", Centroids.from_points(truth), Centroids.from_points(found))
    expected = plain_rule(truth, found)
    got = {v.label: (v.is_identified, None if v.is_missed else v.error_mm) for v in score.vertebrae}
    assert got == {
        name: (hit, None if error is None else pytest.approx(error)) for name, (hit, error) in expected.items()
    }
    assert {e.label for e in score.extra} == set(found) - set(truth)


@given(_scans, _scans, st.tuples(*[st.integers(-50, 50)] * 3))
@settings(max_examples=50, deadline=None)
def test_moving_truth_and_prediction_together_changes_no_verdict(truth, found, by):
    if not truth or not found:
        return
    here = score_scan("a", Centroids.from_points(truth), Centroids.from_points(found))
    there = score_scan("a", moved(Centroids.from_points(truth), by), moved(Centroids.from_points(found), by))
    assert [v.is_identified for v in here.vertebrae] == [v.is_identified for v in there.vertebrae]
    assert here.shift == there.shift
