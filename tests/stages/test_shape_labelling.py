"""Exact inference against brute force: every chain of a small candidate set is listed and scored."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from vertloc.stages.centroid_density import Candidates, log_odds
from vertloc.stages.shape_labelling import ShapeSettings, label_chain
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.vertebrae import RANK, VERTEBRAE

PRIOR = learn_shape_model([], ShapeModelSettings())


def random_candidates(seed, n, first_rank=RANK["T11"], n_ranks=5):
    """Candidates near a plausible line, so that good and bad chains compete."""
    rng = np.random.default_rng(seed)
    rank = np.sort(first_rank + rng.integers(0, n_ranks, n))
    step = PRIOR.mean_mm[first_rank : first_rank + n_ranks].cumsum(axis=0)
    points = step[rank - first_rank] + rng.normal(0, 6, (n, 3))
    density = 10 ** rng.uniform(-3, 0, n)
    order = np.lexsort((-density, rank))
    return Candidates(rank[order].astype(np.int64), points[order], log_odds(density[order], 0.08))


def chain_score(chain, candidates, shape, options, share=1.0):
    """Score of the docstring, or minus infinity for what is no chain."""
    score = sum(share * options.evidence_weight * candidates.log_odds[i] for i in chain)
    for i, j in pairwise(chain):
        left_out = candidates.rank[j] - candidates.rank[i] - 1
        if not 0 <= left_out <= options.longest_gap:
            return -np.inf
        displacement = candidates.points_mm[j] - candidates.points_mm[i]
        link = shape.log_density(displacement, int(candidates.rank[i]), int(candidates.rank[j]))
        score += float(link) + options.link_bonus - options.gap_cost * left_out
    return score


def brute_force(candidates, shape, options):
    """Best score, best chain, and every candidate's share of the weight of all chains, the empty one included."""
    n = len(candidates)
    chains = [()] + [chain for size in range(1, n + 1) for chain in combinations(range(n), size)]
    scores = np.array([chain_score(chain, candidates, shape, options) for chain in chains])
    # For the confidence, evidence counts only in part.
    args = (candidates, shape, options, options.confidence_weight)
    partly = np.array([chain_score(chain, *args) for chain in chains])
    share = np.exp(partly - logsumexp(partly))
    marginal = [sum(s for chain, s in zip(chains, share, strict=True) if i in chain) for i in range(n)]
    best = int(scores.argmax())
    return scores[best], chains[best], np.array(marginal)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 9),
    weight=st.sampled_from([0.3, 1.0, 2.0]),
    bonus=st.sampled_from([-3.0, 6.0, 10.0]),
    gap_cost=st.sampled_from([0.0, 4.0]),
    longest_gap=st.integers(0, 3),
    confidence=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_best_chain_and_marginals_equal_those_of_all_chains_listed(
    seed, n, weight, bonus, gap_cost, longest_gap, confidence
):
    candidates = random_candidates(seed, n)
    options = ShapeSettings(
        evidence_weight=weight,
        link_bonus=bonus,
        gap_cost=gap_cost,
        longest_gap=longest_gap,
        confidence_weight=confidence,
        smallest_confidence=0,
    )
    found = label_chain(candidates, PRIOR, options)
    score, chain, marginal = brute_force(candidates, PRIOR, options)
    assert chain_score(tuple(found.candidate), candidates, PRIOR, options) == pytest.approx(score, abs=1e-9)
    np.testing.assert_array_equal(found.candidate, chain)
    np.testing.assert_allclose(found.confidence, marginal[list(chain)], rtol=1e-9, atol=1e-12)
    assert found.centroids.labels == tuple(VERTEBRAE[r] for r in candidates.rank[list(chain)])
    np.testing.assert_array_equal(found.centroids.points_mm, candidates.points_mm[list(chain)])
    np.testing.assert_array_equal(found.ranks, candidates.rank[list(chain)])
    assert found.centroids.frame == "world"


def ideal_chain(labels, density=0.5, reference=0.08):
    rank = np.array([RANK[label] for label in labels])
    places = np.concatenate([np.zeros((1, 3)), PRIOR.mean_mm.cumsum(axis=0)])
    return Candidates(rank, places[rank], log_odds(np.full(len(rank), density), reference))


@pytest.mark.parametrize(("longest_gap", "expected"), [(0, ("L3", "L4", "L5")), (1, ("T12", "L1", "L3", "L4", "L5"))])
def test_a_missing_vertebra_is_bridged_only_if_gaps_are_allowed(longest_gap, expected):
    candidates = ideal_chain(("T12", "L1", "L3", "L4", "L5"), density=1.0)
    found = label_chain(candidates, PRIOR, ShapeSettings(longest_gap=longest_gap))
    assert found.centroids.labels == expected


def test_a_gap_that_costs_more_than_it_joins_parts_the_chain():
    candidates = ideal_chain(("L1", "L3", "L4", "L5"))
    assert label_chain(candidates, PRIOR, ShapeSettings(gap_cost=100)).centroids.labels == ("L3", "L4", "L5")


def test_weak_evidence_inside_a_chain_is_taken_along():
    candidates = ideal_chain(("L1", "L2", "L3"))
    weak = Candidates(candidates.rank, candidates.points_mm, log_odds(np.array([0.5, 0.01, 0.5]), 0.08))
    assert label_chain(weak, PRIOR, ShapeSettings(longest_gap=0)).centroids.labels == ("L1", "L2", "L3")


NOTHING = Candidates(np.empty(0, np.int64), np.empty((0, 3)), np.empty(0))


@pytest.mark.parametrize("use_chain", [False, True])
def test_no_candidate_and_none_that_is_worth_it_give_an_empty_labelling(use_chain):
    options = ShapeSettings(use_chain=use_chain)
    for candidates in (NOTHING, ideal_chain(("L1",), 0.09, 0.1)):
        found = label_chain(candidates, PRIOR, options)
        assert found.centroids.labels == ()
        assert found.centroids.frame == "world"
        assert len(found.candidate) == len(found.confidence) == len(found.ranks) == 0


@pytest.mark.parametrize("use_chain", [False, True])
def test_one_candidate_above_the_reference_is_found_with_the_odds_of_its_evidence(use_chain):
    options = ShapeSettings(use_chain=use_chain, confidence_weight=1, smallest_confidence=0)
    found = label_chain(ideal_chain(("T4",), 0.3, 0.1), PRIOR, options)
    assert found.centroids.labels == ("T4",)
    # Odds of 3 to 1 against the empty chain.
    np.testing.assert_allclose(found.confidence, [0.75])


def test_without_the_chain_each_vertebra_takes_its_own_best_candidate():
    rank = np.array([3, 3, 7, 7, 9])
    candidates = Candidates(rank, np.arange(15.0).reshape(5, 3), log_odds(np.array([0.4, 0.2, 0.9, 0.1, 0.01]), 0.1))
    found = label_chain(candidates, PRIOR, ShapeSettings(use_chain=False))
    np.testing.assert_array_equal(found.candidate, [0, 2])
    np.testing.assert_allclose(found.confidence, [0.8, 0.9])


def test_a_density_of_zero_is_no_warning_and_no_member():
    candidates = ideal_chain(("L1", "L2"))
    dark = Candidates(candidates.rank, candidates.points_mm, log_odds(np.array([0.5, 0.0]), 0.08))
    assert label_chain(dark, PRIOR, ShapeSettings()).centroids.labels == ("L1",)


@pytest.mark.parametrize(
    "wrong", [{"evidence_weight": -1}, {"confidence_weight": 2}, {"gap_cost": -1}, {"longest_gap": 6}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShapeSettings(**wrong)
