"""Candidates -> the jointly most plausible chain of labelled centroids, by exact inference.

A chain is a path down the level graph through candidates; it may start and end anywhere, may leave out a vertebra, and
may name T13 or L6. Its score is a sum over its members, links and ends:

    sum_members  evidence_weight * log odds of the candidate
  + sum_links    log N(displacement; mean, covariance of this pair) + link_bonus  - gap_cost * vertebrae left out
  + ends_weight * log frequency of its top and bottom  - variant_cost * unusual steps

The best chain through every candidate is found by dynamic programming (Viterbi). These chains, all shifts among them,
compete once more with what only whole chains show: `posture_weight` of the pairs' log density gives way to that of the
posture, lengths and inclinations of all links together. `chain_confidence` says how sure the winner is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.centroids import Centroids
from vertloc.errors import KnownLevelError
from vertloc.geometry import Points
from vertloc.settings import CHECKED, Share
from vertloc.stages.centroid_density import Candidates
from vertloc.stages.chain_confidence import Hypothesis, confidence_of
from vertloc.stages.chain_lattice import (
    Chain,
    Lattice,
    best_paths,
    chain_score,
    chain_through,
    make_lattice,
)
from vertloc.stages.level_graph import BETWEEN, LEVEL, LEVELS, Step, steps_down
from vertloc.stages.shape_model import ShapeModel
from vertloc.vertebrae import RANK, VERTEBRAE, anatomical_order

# Chains that are this much worse (log) than the best by pairs are not asked about posture, nor more than so many.
_FAR_BEHIND = 40.0
_MOST_HYPOTHESES = 64
_SHIFTED = 4
# A crooked spine may gain this much a link; more gains only what is none, for the tails of the posture are long.
_MOST_GAIN = 3.0
_CERTAIN = 1000.0  # log odds of a known vertebra


@checked(frozen=True, config=CHECKED)
class ShapeSettings:
    """How evidence and shape are weighed.

    use_chain : false takes every vertebra's best candidate on its own, for comparison
    evidence_weight : what a unit of a candidate's log odds counts
    link_bonus : what a link earns; its log density per mm^3 alone, about -8, would tear chains
    gap_cost : price of a vertebra left out inside the chain
    longest_gap : most vertebrae left out between two members
    posture_weight : share of the shape's score that looks at whole chains, not at one pair after the other
    ends_weight : what the frequencies of the training chains' ends count; cropped scans say where crops end
    use_variants : false knows no T13, no L6, and no spine without T12 or L5
    variant_cost : price of each of these; most that seem to be there are a vertebra seen as both of its neighbours
    confidence_weight : share of evidence and posture that counts for the confidence: voxels of one scan err together
    smallest_confidence : a member of the chain is left out if its place is less probably a vertebra, of any name
    """

    use_chain: bool = True
    evidence_weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    link_bonus: Annotated[float, Field(ge=-100, le=100)] = 10.0
    gap_cost: Annotated[float, Field(ge=0, le=100)] = 8.0
    longest_gap: Annotated[int, Field(ge=0, le=5)] = 1
    posture_weight: Share = 0.0
    ends_weight: Annotated[float, Field(ge=0, le=10)] = 0.0
    use_variants: bool = True
    variant_cost: Annotated[float, Field(ge=0, le=100)] = 10.0
    confidence_weight: Share = 0.5
    smallest_confidence: Share = 0.2


@dataclass(frozen=True, eq=False)
class Labelling:
    """The chosen chain.

    centroids : world frame; candidate : (n,) row of each centroid among the candidates
    confidence : (n,) float64 in 0..1, marginal probability that this vertebra is there
    flags : what is unusual about the spine, in words: T13, L6, no T12, no L5
    """

    centroids: Centroids
    candidate: NDArray[np.int64]
    confidence: NDArray[np.float64]
    flags: tuple[str, ...] = ()

    @property
    def ranks(self) -> NDArray[np.int64]:
        """(n,) int64, 0 = C1 ... 25 = S2; a variant has that of the vertebra above it."""
        return np.array([int(anatomical_order(label)) for label in self.centroids.labels], np.int64)

    def renamed(self, shift: int) -> Labelling:
        """Return the chain with every name so many levels lower: no variant, and none past an end of the spine."""
        names = tuple(VERTEBRAE[RANK[label] + shift] for label in self.centroids.labels)
        return replace(self, centroids=Centroids(names, self.centroids.points_mm, self.centroids.frame))


def label_chain(
    candidates: Candidates, shape: ShapeModel, settings: ShapeSettings, known: Sequence[str] = ()
) -> Labelling:
    """Choose the most plausible chain; empty if no candidate is worth a chain.

    known : vertebrae that must be in the chain, each a candidate at one place only; see `with_known`
    Raises KnownLevelError, a ValueError, if no chain has them all: they do not lie in the order of a spine.
    """
    if not settings.use_chain:
        return _each_on_its_own(candidates, settings.evidence_weight * candidates.log_odds)
    nodes = _nodes(candidates, settings.use_variants, known)
    lattice = _lattice(nodes, shape, settings, _longest_gap(settings, known))
    hypotheses = _hypotheses(lattice, nodes, shape, settings)
    best = max(hypotheses, key=lambda hypothesis: hypothesis.score)
    left_out = [label for label in known if LEVEL[label] not in nodes.level[list(best.nodes)]]
    if left_out:
        given = ", ".join(known)
        raise KnownLevelError(f"known {given}: no spine has them in these places; try without {left_out[0]}")
    if not best.nodes:
        return Labelling(Centroids((), np.empty((0, 3)), "world"), np.empty(0, np.int64), np.empty(0))
    # For the confidence, evidence counts only in part.
    partly = replace(lattice, evidence=_part(lattice.evidence, nodes.certain, settings.confidence_weight))
    place = np.unique(nodes.points_mm, axis=0, return_inverse=True)[1].reshape(-1)
    marginal = confidence_of(best, hypotheses, partly, nodes.level, place)
    chain = np.array(best.nodes, np.int64)
    # How probably something is centred there, under whatever name: an uncertain level is no reason to leave it out.
    is_vertebra = np.bincount(place, marginal)[place[chain]]
    kept = is_vertebra >= settings.smallest_confidence
    flags = tuple(step.flag for k, step in enumerate(best.steps) if step.flag and kept[k] and kept[k + 1])
    chain = chain[kept]
    names = tuple(LEVELS[level] for level in nodes.level[chain])
    return Labelling(
        Centroids(names, nodes.points_mm[chain], "world"),
        nodes.candidate[chain],
        marginal[chain],
        flags,
    )


def _longest_gap(settings: ShapeSettings, known: Sequence[str]) -> int:
    """Allow gaps as long as those between known vertebrae, whatever was found between them."""
    ranks = sorted(RANK[label] for label in known)
    return max([settings.longest_gap, *(below - above - 1 for above, below in pairwise(ranks))])


def _each_on_its_own(candidates: Candidates, evidence: NDArray[np.float64]) -> Labelling:
    best = [int(np.flatnonzero(candidates.rank == rank)[0]) for rank in np.unique(candidates.rank)]
    chosen = np.array([i for i in best if evidence[i] > 0], np.int64)
    names = tuple(VERTEBRAE[r] for r in candidates.rank[chosen])
    confidence = 1 / (1 + np.exp(-evidence[chosen]))
    return Labelling(Centroids(names, candidates.points_mm[chosen], "world"), chosen, confidence)


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Candidates as levels: (n,) level, row among the candidates, log odds; (n, 3) world mm; (n,) log odds if known."""

    level: NDArray[np.int64]
    candidate: NDArray[np.int64]
    log_odds: NDArray[np.float64]
    points_mm: Points
    certain: NDArray[np.float64]


def _nodes(candidates: Candidates, with_variants: bool, known: Sequence[str]) -> _Nodes:
    """Make a node of every candidate, and of every place that may be a variant."""
    levels = np.array([LEVEL[name] for name in VERTEBRAE], np.int64)
    level, row, log_odds = [levels[candidates.rank]], [np.arange(len(candidates))], [candidates.log_odds]
    for variant, (above, below) in BETWEEN.items() if with_variants else ():
        like = np.flatnonzero(np.isin(candidates.rank, (RANK[above], RANK[below])))
        # A variant is as probable as both neighbours together. One node a place, held by the likelier of the two.
        like = like[np.argsort(-candidates.log_odds[like], kind="stable")]
        _, first, which = np.unique(candidates.points_mm[like], axis=0, return_index=True, return_inverse=True)
        together = np.full(len(first), -np.inf)
        np.logaddexp.at(together, which.reshape(-1), candidates.log_odds[like])
        level.append(np.full(len(first), LEVEL[variant]))
        row.append(like[first])
        log_odds.append(together)
    rows, of_level = np.concatenate(row), np.concatenate(level)
    certain = np.where(np.isin(of_level, [LEVEL[label] for label in known]), _CERTAIN, 0.0)
    return _Nodes(of_level, rows, np.concatenate(log_odds), candidates.points_mm[rows], certain)


def _lattice(nodes: _Nodes, shape: ShapeModel, settings: ShapeSettings, longest_gap: int) -> Lattice:
    """Score nodes and steps."""
    steps = steps_down(longest_gap, settings.use_variants)
    density = dict(zip(map(id, steps), shape.log_densities(np.array([step.span for step in steps])), strict=True))

    def score(step: Step, upper: NDArray[np.int64], lower: NDArray[np.int64]) -> NDArray[np.float64]:
        above, below = nodes.points_mm[upper], nodes.points_mm[lower]
        displacement = below[None] - above[:, None]
        # A step back up could come by a place twice, under two names.
        goes_down = displacement @ (step.span @ shape.mean_mm) > 0
        return np.where(goes_down, density[id(step)](displacement) + _bonus(step, settings), -np.inf)

    ends = np.full((2, len(LEVELS)), -np.inf)  # a variant is one only between its neighbours
    ends[:, [LEVEL[name] for name in VERTEBRAE]] = settings.ends_weight * shape.log_ends
    evidence = settings.evidence_weight * nodes.log_odds + nodes.certain
    return make_lattice(nodes.level, evidence, ends, steps, score)


def _part(evidence: NDArray[np.float64], certain: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return a share of the evidence; what is known stays certain."""
    return np.asarray(certain + share * (evidence - certain))


def _bonus(step: Step, settings: ShapeSettings) -> float:
    """Return what a step earns beside its density."""
    price = settings.gap_cost * step.n_left_out + (settings.variant_cost if step.flag else 0.0)
    return settings.link_bonus - price


def _hypotheses(lattice: Lattice, nodes: _Nodes, shape: ShapeModel, settings: ShapeSettings) -> list[Hypothesis]:
    """Score whole chains: the best by pairs through every node, the best of these shifted, and no chain at all."""
    found = {chain: _hypothesis(chain, lattice, nodes, shape, settings) for chain in _best_by_pairs(lattice)}
    # What pairs prefer to a shift need not be a shift: they may leave out a vertebra halfway instead.
    best = sorted(found.values(), key=lambda h: -h.score)[:_SHIFTED]
    for chain in _shifted([(hypothesis.nodes, hypothesis.steps) for hypothesis in best], lattice, nodes):
        if chain not in found and np.isfinite(chain_score(chain, lattice)):
            found[chain] = _hypothesis(chain, lattice, nodes, shape, settings)
    return [*found.values(), Hypothesis((), (), 0.0, 0.0, 0.0)]


def _best_by_pairs(lattice: Lattice) -> list[Chain]:
    """List the best chains through every node, the best first."""
    from_above, from_below = best_paths(lattice), best_paths(lattice, upside_down=True)
    through = from_above.value + from_below.value - lattice.evidence
    chains: dict[Chain, None] = {}
    covered = np.zeros(len(through), bool)
    for node in np.argsort(-through, kind="stable"):
        if len(chains) == _MOST_HYPOTHESES or not through[node] >= through.max() - _FAR_BEHIND:
            break
        if not covered[node]:
            chain = chain_through(int(node), lattice, from_above, from_below)
            # The other members whose best chain this is need not be followed again.
            members = np.array(chain[0])
            covered[members[through[members] <= through[node] + 1e-9]] = True
            chains[chain] = None
    return list(chains)


def _shifted(chains: Sequence[Chain], lattice: Lattice, nodes: _Nodes) -> Iterator[Chain]:
    """Name all members of each chain some levels higher or lower, where all are candidates of that; no variants."""
    place, level = [tuple(point) for point in nodes.points_mm.tolist()], nodes.level.tolist()
    at = {key: i for i, key in enumerate(zip(place, level, strict=True))}
    normal = {(step.upper, step.lower): step for step in lattice.steps if not step.flag}
    for members, steps in chains:
        names = [LEVELS[level[i]] for i in members]
        if not members or any(name not in RANK for name in names) or any(step.flag for step in steps):
            continue
        for shift in range(-RANK[names[0]], len(VERTEBRAE) - RANK[names[-1]]):
            levels = [LEVEL[VERTEBRAE[RANK[name] + shift]] for name in names]
            rows = [at.get((place[i], k)) for i, k in zip(members, levels, strict=True)]
            if shift and None not in rows:
                yield tuple(row for row in rows if row is not None), tuple(normal[pair] for pair in pairwise(levels))


def _hypothesis(
    chain: Chain, lattice: Lattice, nodes: _Nodes, shape: ShapeModel, settings: ShapeSettings
) -> Hypothesis:
    """Score a chain with its posture in place of its pairs."""
    members, steps = chain
    rows = list(members)
    plain, evidence = chain_score(chain, lattice), float(lattice.evidence[rows].sum())
    gain = 0.0
    if settings.posture_weight > 0 and steps:
        rest = evidence + lattice.first[rows[0]] + lattice.last[rows[-1]]
        pairs = plain - rest - sum(_bonus(step, settings) for step in steps)
        spans = np.array([step.span for step in steps])
        better = shape.posture.log_density(nodes.points_mm[rows], spans) - float(pairs)
        gain = settings.posture_weight * min(better, _MOST_GAIN * len(steps))
    log_weight = plain - evidence + _part(lattice.evidence, nodes.certain, settings.confidence_weight)[rows].sum()
    return Hypothesis(members, steps, plain + gain, settings.confidence_weight * gain, float(log_weight))
