"""Reliability and risk-coverage against naive twins and closed forms."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vertloc.evaluation.confidence import reliability, risk_coverage

NAMES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40)


@given(NAMES, st.integers(1, 12))
def test_bins_are_those_of_a_loop_over_names(names, n_bins):
    curve = reliability(np.array([p for p, _ in names]), np.array([hit for _, hit in names], bool), n_bins)
    bins = {}
    for p, hit in names:
        bins.setdefault(min(int(p * n_bins), n_bins - 1), []).append((p, hit))
    expected = [(np.mean([p for p, _ in b]), np.mean([hit for _, hit in b]), len(b)) for _, b in sorted(bins.items())]
    found = list(zip(curve.mean_confidence, curve.share_right, curve.count, strict=True))
    np.testing.assert_allclose(np.reshape(found, (-1, 3)), np.reshape(expected, (-1, 3)), atol=1e-12)


def test_the_expected_error_is_the_mean_distance_weighted_by_names():
    curve = reliability(np.array([0.95] * 8 + [0.55] * 2), np.array([True] * 6 + [False] * 2 + [True] * 2))
    assert math.isclose(curve.expected_error, 0.8 * abs(0.95 - 0.75) + 0.2 * 0.45)
    assert math.isnan(reliability(np.empty(0), np.empty(0, bool)).expected_error)


@given(NAMES)
def test_risk_at_a_threshold_is_the_share_of_wrong_names_at_least_that_sure(names):
    curve = risk_coverage(np.array([p for p, _ in names]), np.array([hit for _, hit in names], bool))
    assert len(curve.threshold) == len({p for p, _ in names})
    for coverage, risk, threshold in zip(curve.coverage, curve.risk, curve.threshold, strict=True):
        kept = [hit for p, hit in names if p >= threshold]
        assert math.isclose(coverage, len(kept) / len(names))
        assert math.isclose(risk, 1 - sum(kept) / len(kept), abs_tol=1e-12)


def test_sure_names_that_are_right_and_unsure_ones_that_are_wrong_have_no_risk_until_the_end():
    curve = risk_coverage(np.array([0.9, 0.8, 0.3]), np.array([True, True, False]))
    np.testing.assert_allclose(curve.coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3])
