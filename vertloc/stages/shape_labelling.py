"""Candidates -> the jointly most plausible chain of labelled centroids, by exact inference.

A chain is a sequence of candidates with rising rank; it may start and end anywhere, and may leave out a vertebra. Its
score is a sum over its members and links:

    sum_members  evidence_weight * log odds of the candidate
  + sum_links    log N(displacement; mean, covariance of this pair) + link_bonus  - gap_cost * vertebrae left out

The best chain is found by dynamic programming over candidates in rank order (Viterbi); the sums over all chains give
each member's marginal probability (forward-backward), which is its confidence. Evidence from one scan errs together,
more than a sum of logarithms believes; for the confidence it counts only in part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.centroids import Centroids
from vertloc.settings import CHECKED, Share
from vertloc.stages.centroid_density import Candidates
from vertloc.stages.shape_model import ShapeModel
from vertloc.vertebrae import RANK, VERTEBRAE


@checked(frozen=True, config=CHECKED)
class ShapeSettings:
    """How evidence and shape are weighed.

    use_chain : false takes every vertebra's best candidate on its own, for comparison
    evidence_weight : what a unit of a candidate's log odds counts
    link_bonus : what a link earns; its log density per mm^3 alone, about -8, would tear chains
    gap_cost : price of a vertebra left out inside the chain
    longest_gap : most vertebrae left out between two members
    confidence_weight : share of the evidence that counts for the confidence: voxels of one scan err together
    smallest_confidence : a member of the chain less probable than this is left out
    """

    use_chain: bool = True
    evidence_weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    link_bonus: Annotated[float, Field(ge=-100, le=100)] = 10.0
    gap_cost: Annotated[float, Field(ge=0, le=100)] = 4.0
    longest_gap: Annotated[int, Field(ge=0, le=5)] = 1
    confidence_weight: Share = 0.5
    smallest_confidence: Share = 0.2


@dataclass(frozen=True, eq=False)
class Labelling:
    """The chosen chain.

    centroids : world frame; candidate : (n,) row of each centroid among the candidates
    confidence : (n,) float64 in 0..1, marginal probability that this vertebra is there
    """

    centroids: Centroids
    candidate: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def ranks(self) -> NDArray[np.int64]:
        """(n,) int64, 0 = C1 ... 25 = S2."""
        return np.array([RANK[label] for label in self.centroids.labels], np.int64)


def label_chain(candidates: Candidates, shape: ShapeModel, settings: ShapeSettings) -> Labelling:
    """Choose the most plausible chain; empty if no candidate is worth a chain."""
    evidence = settings.evidence_weight * candidates.log_odds
    if not settings.use_chain:
        return _each_on_its_own(candidates, evidence)
    links = _link_scores(candidates, shape, settings)
    chain = _best_chain(evidence, links)
    marginal = _marginals(settings.confidence_weight * evidence, links)
    chain = chain[marginal[chain] >= settings.smallest_confidence]
    centroids = Centroids(tuple(VERTEBRAE[r] for r in candidates.rank[chain]), candidates.points_mm[chain], "world")
    return Labelling(centroids, chain, marginal[chain])


def _each_on_its_own(candidates: Candidates, evidence: NDArray[np.float64]) -> Labelling:
    best = [int(np.flatnonzero(candidates.rank == rank)[0]) for rank in np.unique(candidates.rank)]
    chosen = np.array([i for i in best if evidence[i] > 0], np.int64)
    names = tuple(VERTEBRAE[r] for r in candidates.rank[chosen])
    confidence = 1 / (1 + np.exp(-evidence[chosen]))
    return Labelling(Centroids(names, candidates.points_mm[chosen], "world"), chosen, confidence)


def _link_scores(candidates: Candidates, shape: ShapeModel, settings: ShapeSettings) -> NDArray[np.float64]:
    """(n, n) score of stepping from candidate i down to candidate j; -inf where j cannot follow i."""
    n = len(candidates)
    links = np.full((n, n), -np.inf)
    rows = [np.flatnonzero(candidates.rank == rank) for rank in range(len(VERTEBRAE))]
    for upper in range(len(VERTEBRAE)):
        for lower in range(upper + 1, min(upper + settings.longest_gap + 2, len(VERTEBRAE))):
            i, j = rows[upper], rows[lower]
            if len(i) and len(j):
                displacement = candidates.points_mm[j][None, :] - candidates.points_mm[i][:, None]
                score = shape.log_density(displacement, upper, lower)
                links[np.ix_(i, j)] = score + settings.link_bonus - settings.gap_cost * (lower - upper - 1)
    return links


def _best_chain(evidence: NDArray[np.float64], links: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of the best chain, top to bottom. Candidates are in rank order, so one pass suffices."""
    n = len(evidence)
    if n == 0:
        return np.empty(0, np.int64)
    best, before = evidence.copy(), np.full(n, -1)
    for j in range(1, n):
        arriving = best[:j] + links[:j, j]
        i = int(np.argmax(arriving))
        if arriving[i] > 0:
            best[j] += arriving[i]
            before[j] = i
    end = int(np.argmax(best))
    if best[end] <= 0:
        return np.empty(0, np.int64)
    chain = [end]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return np.array(chain[::-1], np.int64)


def _marginals(evidence: NDArray[np.float64], links: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each candidate under all chains, the empty one included."""
    n = len(evidence)
    forward, backward = evidence.copy(), evidence.copy()
    for j in range(1, n):
        forward[j] += np.logaddexp.reduce(np.append(forward[:j] + links[:j, j], 0.0))
    for i in range(n - 2, -1, -1):
        backward[i] += np.logaddexp.reduce(np.append(backward[i + 1 :] + links[i, i + 1 :], 0.0))
    total = np.logaddexp.reduce(np.append(forward, 0.0))
    marginal: NDArray[np.float64] = np.exp(forward + backward - evidence - total)
    return np.minimum(marginal, 1.0)
