"""Exact inference against brute force: every chain of a small candidate set is listed and scored."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from vertloc.stages.centroid_density import Candidates, log_odds
from vertloc.stages.shape_labelling import ShapeSettings, label_chain
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.vertebrae import RANK, VERTEBRAE, anatomical_order

ENDS = np.random.default_rng(0).normal(0, 1, (2, len(VERTEBRAE)))
PRIOR = learn_shape_model([], ShapeModelSettings())
SHAPE = replace(PRIOR, log_ends=ENDS)
LINKS_MM = PRIOR.mean_mm
PLACES = np.concatenate([np.zeros((1, 3)), LINKS_MM.cumsum(axis=0)])
NEIGHBOURS = {"T13": ("T12", "L1"), "L6": ("L5", "S1")}
UNUSUAL = {("T12", "T13"), ("L5", "L6"), ("T11", "L1"), ("L4", "S1")}


def random_candidates(seed, n_places, first="T11", n_ranks=6):
    """Places near a plausible line, each of them a few vertebrae, so that good and bad chains compete."""
    rng = np.random.default_rng(seed)
    ranks = RANK[first] + np.sort(rng.integers(0, n_ranks - 2, n_places))
    places = PLACES[ranks] + rng.normal(0, 6, (n_places, 3))
    rank = (ranks[:, None] + np.arange(-1, 2)).reshape(-1)
    point = np.repeat(np.arange(n_places), 3)
    kept = rng.random(len(rank)) < 0.7
    rank, point = rank[kept], point[kept]
    density = 10 ** rng.uniform(-3, 0, len(rank))
    order = np.lexsort((-density, rank))
    return Candidates(rank[order].astype(np.int64), places[point[order]], log_odds(density[order], 0.08))


def listed_nodes(candidates, with_variants):
    """(name, point, log odds, candidate) of all that a chain may contain, top to bottom."""
    nodes = [
        (VERTEBRAE[rank], tuple(point), odds, row)
        for row, (rank, point, odds) in enumerate(
            zip(candidates.rank, candidates.points_mm, candidates.log_odds, strict=True)
        )
    ]
    for variant, names in NEIGHBOURS.items() if with_variants else ():
        for place in sorted({point for name, point, _, _ in nodes if name in names}):
            like = [node for node in nodes if node[0] in names and node[1] == place]
            best = max(like, key=lambda node: node[2])
            nodes.append((variant, place, logsumexp([node[2] for node in like]), best[3]))
    return sorted(nodes, key=lambda node: anatomical_order(node[0]))


def links(upper, lower, options):
    """All ways to step from one name to another: (span, vertebrae left out)."""
    unit = np.eye(len(VERTEBRAE) - 1)
    ways = []
    if upper in RANK and lower in RANK and 0 <= RANK[lower] - RANK[upper] - 1 <= options.longest_gap:
        ways.append((unit[RANK[upper] : RANK[lower]].sum(axis=0), RANK[lower] - RANK[upper] - 1))
    alike = {
        ("T12", "T13"): unit[RANK["T12"]],
        ("T13", "L1"): unit[RANK["T12"]],
        ("L5", "L6"): unit[RANK["L4"]],
        ("L6", "S1"): unit[RANK["L5"]],
        ("T11", "L1"): (unit[RANK["T11"]] + unit[RANK["T12"]]) / 2,
        ("L4", "S1"): unit[RANK["L5"]],
    }
    if options.use_variants and (upper, lower) in alike:
        ways.append((alike[upper, lower], -1 if (upper, lower) in UNUSUAL else 0))
    return ways


def listed_chains(nodes, options):
    """Every chain: (rows of the nodes, (span, price, whether it is unusual) of the links)."""
    chains, growing = [((), ())], [((i,), ()) for i, node in enumerate(nodes) if node[0] in RANK]
    while growing:
        chains += [chain for chain in growing if nodes[chain[0][-1]][0] in RANK]
        growing = [
            ((*members, j), (*steps, (span, options.variant_cost if out < 0 else out * options.gap_cost, out < 0)))
            for members, steps in growing
            for j, node in enumerate(nodes)
            for span, out in links(nodes[members[-1]][0], node[0], options)
            if np.subtract(node[1], nodes[members[-1]][1]) @ (span @ PRIOR.mean_mm) > 0
        ]
    return chains


def pair_densities(chain, nodes, shape):
    points = np.array([nodes[i][1] for i in chain[0]])
    return [
        float(shape.log_densities(span[None])[0](below - above))
        for (above, below), (span, *_) in zip(pairwise(points), chain[1], strict=True)
    ]


def chain_score(chain, nodes, shape, options, share=1.0):
    """Score of the docstring without posture."""
    members, steps = chain
    if not members:
        return 0.0
    score = sum(share * options.evidence_weight * nodes[i][2] for i in members)
    score += options.ends_weight * shape.log_ends[0, RANK[nodes[members[0]][0]]]
    score += options.ends_weight * shape.log_ends[1, RANK[nodes[members[-1]][0]]]
    return score + sum(pair_densities(chain, nodes, shape)) + sum(options.link_bonus - price for _, price, _ in steps)


def gain(chain, nodes, shape, options):
    members, steps = chain
    if not steps:
        return 0.0
    points, spans = np.array([nodes[i][1] for i in members]), np.array([span for span, *_ in steps])
    better = shape.posture.log_density(points, spans) - sum(pair_densities(chain, nodes, shape))
    return options.posture_weight * min(better, 3 * len(steps))


def is_shift(chain, other, nodes):
    """Whether two chains are at the same places, under names that are all the same number of levels apart."""
    names, others = ([nodes[i][0] for i in c[0]] for c in (chain, other))
    if not names or len(names) != len(others) or not set(names + others) <= set(RANK):
        return False
    usual = not any(unusual for _, _, unusual in (*chain[1], *other[1]))
    apart = {RANK[a] - RANK[b] for a, b in zip(names, others, strict=True)}
    same = all(nodes[i][1] == nodes[j][1] for i, j in zip(chain[0], other[0], strict=True))
    return usual and same and len(apart) == 1


def brute_force(candidates, shape, options):
    """Best chain by name and candidate, and its members' probabilities."""
    nodes = listed_nodes(candidates, options.use_variants)
    chains = listed_chains(nodes, options)
    scores = np.array([chain_score(chain, nodes, shape, options) for chain in chains])
    rivals = [0]
    for i in range(len(nodes)):
        through = [k for k, (members, _) in enumerate(chains) if i in members]
        if through:
            rivals.append(max(through, key=lambda k: scores[k]))
    top = scores[rivals[1:]].max(initial=0)
    rivals = {k for k in rivals if k == 0 or scores[k] >= top - 40}
    gains = {k: gain(chains[k], nodes, shape, options) for k in rivals}
    for k in sorted(rivals - {0}, key=lambda k: -scores[k] - gains[k])[:4]:
        for other, chain in enumerate(chains):
            if is_shift(chain, chains[k], nodes):
                gains[other] = gain(chain, nodes, shape, options)
    rivals = set(gains)
    best = max(sorted(rivals), key=lambda k: scores[k] + gains[k])
    members = chains[best][0]
    if not members:
        return [], [], np.empty(0)
    named = [i for i in members if nodes[i][0] in RANK]
    middle = named[len(named) // 2]
    # Chains are parted by how they name the place of the middle.
    classes = [next((i for i in chain[0] if nodes[i][1] == nodes[middle][1]), None) for chain in chains]
    of_class = {}
    for k in sorted(rivals, key=lambda k: scores[k] + gains[k]):
        of_class[classes[k]] = gains[k]
    partly = [chain_score(chain, nodes, shape, options, options.confidence_weight) for chain in chains]
    gained = [gains.get(k, of_class.get(own, min(gains.values()))) for k, own in enumerate(classes)]
    weight = np.array(partly) + options.confidence_weight * np.array(gained)
    share = np.exp(weight - logsumexp(weight))
    marginal = [sum(s for chain, s in zip(chains, share, strict=True) if i in chain[0]) for i in members]
    return [nodes[i][0] for i in members], [nodes[i][3] for i in members], np.array(marginal)


@given(
    seed=st.integers(0, 10_000),
    n_places=st.integers(0, 4),
    first=st.sampled_from(["T10", "L2"]),
    weight=st.sampled_from([0.3, 1.0, 2.0]),
    bonus=st.sampled_from([-3.0, 6.0, 10.0]),
    longest_gap=st.integers(0, 2),
    confidence=st.sampled_from([0.0, 0.5, 1.0]),
    posture=st.sampled_from([0.0, 0.5, 1.0]),
    ends=st.sampled_from([0.0, 1.0]),
    variants=st.sampled_from([None, 0.0, 4.0]),
)
@settings(max_examples=60, deadline=None)
def test_chain_and_marginals_equal_those_of_all_chains_listed(
    seed, n_places, first, weight, bonus, longest_gap, confidence, posture, ends, variants
):
    candidates = random_candidates(seed, n_places, first)
    options = ShapeSettings(
        evidence_weight=weight,
        link_bonus=bonus,
        longest_gap=longest_gap,
        confidence_weight=confidence,
        posture_weight=posture,
        ends_weight=ends,
        use_variants=variants is not None,
        variant_cost=variants or 0.0,
        smallest_confidence=0,
    )
    found = label_chain(candidates, SHAPE, options)
    names, rows, marginal = brute_force(candidates, SHAPE, options)
    assert found.centroids.labels == tuple(names)
    np.testing.assert_array_equal(found.candidate, rows)
    np.testing.assert_allclose(found.confidence, marginal, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(found.centroids.points_mm, candidates.points_mm[rows])
    np.testing.assert_array_equal(found.ranks, [int(anatomical_order(name)) for name in names])
    assert found.centroids.frame == "world"


def ideal_chain(labels, density=0.5, reference=0.08):
    rank = np.array([RANK[label] for label in labels])
    return Candidates(rank, PLACES[rank], log_odds(np.full(len(rank), density), reference))


@pytest.mark.parametrize(("longest_gap", "expected"), [(0, ("L3", "L4", "L5")), (1, ("T12", "L1", "L3", "L4", "L5"))])
def test_a_missing_vertebra_is_bridged_only_if_gaps_are_allowed(longest_gap, expected):
    candidates = ideal_chain(("T12", "L1", "L3", "L4", "L5"), density=1.0)
    found = label_chain(candidates, PRIOR, ShapeSettings(longest_gap=longest_gap, gap_cost=4, smallest_confidence=0))
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


def test_points_on_top_of_each_other_make_no_chain_however_long_the_tails_of_the_posture():
    spine = ideal_chain(VERTEBRAE[10:16])
    beside = Candidates(np.array([11, 12]), np.array([[0.0, 0, 0], [0, 0, -0.5]]) + PLACES[12], np.full(2, 3.0))
    both = [np.concatenate(pair) for pair in ((spine.rank, beside.rank), (spine.points_mm, beside.points_mm))]
    odds = np.concatenate([spine.log_odds, beside.log_odds])
    order = np.lexsort((-odds, both[0]))
    found = label_chain(Candidates(both[0][order], both[1][order], odds[order]), PRIOR, ShapeSettings())
    assert len(found.centroids.labels) >= 5


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


def every_name_everywhere(labels, density=0.5):
    """An ideal chain's places, each of which may be any vertebra."""
    places = ideal_chain(labels).points_mm
    rank = np.repeat(np.arange(len(VERTEBRAE)), len(places))
    odds = log_odds(np.full(len(rank), density), 0.08)
    return Candidates(rank, np.tile(places, (len(VERTEBRAE), 1)), odds)


def named_as(places, names, strength=0.9, doubt=0.003):
    """Places whose forest finds the given names likely and the levels above and below possible."""
    rank, points, density = [], [], []
    for place, name in zip(places, names, strict=True):
        for r in range(max(RANK[name] - 1, 0), min(RANK[name] + 2, 26)):
            rank.append(r)
            points.append(place)
            density.append(strength if r == RANK[name] else doubt)
    order = np.lexsort((-np.array(density), rank))
    return Candidates(np.array(rank)[order], np.array(points)[order], log_odds(np.array(density)[order], 0.01))


def spine_with(names):
    """Places of a spine with a variant, or without a vertebra, by steps of the prior."""
    below = dict(zip(VERTEBRAE, LINKS_MM, strict=False))
    below |= {"T13": below["T12"], "L6": below["L5"]}
    unlike_above = {("L5", "L6"): below["L4"], ("L4", "S1"): below["L5"]}
    steps = [unlike_above.get(pair, below[pair[0]]) for pair in pairwise(names)]
    return np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])


LOINS = ("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1", "S2")


@pytest.mark.parametrize(
    ("names", "seen_as", "flag"),
    [
        (LOINS, LOINS, None),
        (
            ("T9", "T10", "T11", "T12", "T13", "L1", "L2", "L3", "L4", "L5", "S1"),
            ("T9", "T10", "T11", "T12", "L1", "L1", "L2", "L3", "L4", "L5", "S1"),
            "T13: a thirteenth thoracic vertebra",
        ),
        (
            ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "L6", "S1", "S2"),
            ("T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "L5", "S1", "S2"),
            "L6: a sixth lumbar vertebra",
        ),
        (
            ("T8", "T9", "T10", "T11", "L1", "L2", "L3", "L4"),
            ("T8", "T9", "T10", "T11", "L1", "L2", "L3", "L4"),
            "T12 is missing: eleven thoracic vertebrae",
        ),
        (
            ("T11", "T12", "L1", "L2", "L3", "L4", "S1", "S2"),
            ("T11", "T12", "L1", "L2", "L3", "L4", "S1", "S2"),
            "L5 is missing: four lumbar vertebrae",
        ),
    ],
)
def test_anomalies_are_named_and_flagged_where_the_evidence_is_clear(names, seen_as, flag):
    candidates = named_as(spine_with(names), seen_as)
    found = label_chain(candidates, PRIOR, ShapeSettings(smallest_confidence=0))
    assert found.centroids.labels == names
    assert found.flags == (() if flag is None else (flag,))
    without = label_chain(candidates, PRIOR, ShapeSettings(use_variants=False))
    assert without.flags == ()
    assert set(without.centroids.labels) <= set(VERTEBRAE)


def test_an_anomaly_is_not_flagged_when_what_lies_beside_it_is_left_out():
    names = ("T11", "T12", "L1", "L2", "L3", "L4", "S1", "S2")
    candidates = named_as(spine_with(names), names)
    found = label_chain(candidates, PRIOR, ShapeSettings(smallest_confidence=0.5))
    assert found.centroids.labels == names[:-2]
    assert found.flags == ()


def test_a_variant_costs_so_much_that_one_doubtful_place_makes_none():
    places = spine_with(("T10", "T11", "T12", "T13", "L1", "L2"))
    candidates = named_as(places, ("T10", "T11", "T12", "L1", "L2", "L3"), strength=0.6, doubt=0.3)
    assert label_chain(candidates, PRIOR, ShapeSettings()).flags == ()


def test_the_same_candidates_give_the_same_labelling_in_any_order_of_their_ties():
    candidates = every_name_everywhere(VERTEBRAE[3:9])
    first, again = (label_chain(candidates, PRIOR, ShapeSettings()) for _ in range(2))
    assert first.centroids.labels == again.centroids.labels
    np.testing.assert_array_equal(first.confidence, again.confidence)


def test_ends_that_are_frequent_draw_a_chain_to_them():
    candidates = every_name_everywhere(VERTEBRAE[4:7])
    log_ends = np.zeros((2, len(VERTEBRAE)))
    log_ends[0, RANK["C3"]] = 12
    shape = replace(PRIOR, log_ends=log_ends)
    assert label_chain(candidates, shape, ShapeSettings(ends_weight=0)).centroids.labels != ("C3", "C4", "C5")
    assert label_chain(candidates, shape, ShapeSettings(ends_weight=1)).centroids.labels == ("C3", "C4", "C5")


def test_an_uncertain_level_is_no_reason_to_leave_out_what_is_surely_a_vertebra():
    # Thoracic vertebrae that may be any: no name is probable, that they are vertebrae is.
    found = label_chain(every_name_everywhere(VERTEBRAE[8:14]), PRIOR, ShapeSettings(smallest_confidence=0.5))
    assert len(found.centroids) == 6
    assert found.confidence.max() < 0.3
