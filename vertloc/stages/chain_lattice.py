"""Candidates -> a lattice of levels, and the sums over all its chains.

A node is a candidate seen as one level; a chain is a path down the steps of the level graph, begins and ends anywhere,
and weighs exp(evidence of its nodes + scores of its steps + what its ends add). The best chain through every node
(max-product) and the probability of every node (forward-backward) come from two passes each, one level at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vertloc.stages.level_graph import LEVELS, Step

Chain = tuple[tuple[int, ...], tuple[Step, ...]]
"""Nodes of a chain, top to bottom, and the steps between them."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Nodes and the scores of stepping between them.

    nodes : for each of the 28 levels, its nodes (rising)
    steps, scores : the steps of the graph that join nodes, and for each its (upper nodes, lower nodes) scores
    evidence : (n,) score of a node; first, last : (n,) what it adds to begin or to end at a node
    """

    nodes: tuple[NDArray[np.int64], ...]
    steps: tuple[Step, ...]
    scores: tuple[NDArray[np.float64], ...]
    evidence: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]

    @cached_property
    def row_of_step(self) -> dict[int, int]:
        """Row of each step, by its identity."""
        return {id(step): k for k, step in enumerate(self.steps)}

    @cached_property
    def row_in_level(self) -> list[int]:
        """Where each node is among those of its level."""
        rows = np.empty(len(self.evidence), np.int64)
        for own in self.nodes:
            rows[own] = np.arange(len(own))
        return rows.tolist()

    def upside_down(self) -> Lattice:
        """Return the same chains read from bottom to top; nodes and steps stay the same."""
        scores = tuple(score.T for score in self.scores)
        return replace(self, scores=scores, first=self.last, last=self.first)


def arrivals(lattice: Lattice, upside_down: bool) -> list[tuple[int, list[tuple[int, int]]]]:
    """List the levels in walking order, each with the steps that arrive there: (row of the step, level it is from)."""
    into: list[list[tuple[int, int]]] = [[] for _ in LEVELS]
    for k, step in enumerate(lattice.steps):
        here, origin = (step.upper, step.lower) if upside_down else (step.lower, step.upper)
        into[here].append((k, origin))
    levels = range(len(LEVELS))
    return [(level, into[level]) for level in (reversed(levels) if upside_down else levels)]


@dataclass(frozen=True, eq=False)
class BestPaths:
    """Best path from a chain's first node to every node.

    value : (n,) score of the path, the node's own evidence included
    before, step : (n,) the node before, -1 if it is the first, and the row of the step between
    """

    value: NDArray[np.float64]
    before: NDArray[np.int64]
    step: NDArray[np.int64]


def best_paths(lattice: Lattice, upside_down: bool = False) -> BestPaths:
    """Find the best path to every node, from above or from below; among equals the one that begins here, then above."""
    walked = lattice.upside_down() if upside_down else lattice
    n = len(lattice.evidence)
    value, before, step = np.full(n, -np.inf), np.full(n, -1), np.full(n, -1)
    for level, into in arrivals(lattice, upside_down):
        here = lattice.nodes[level]
        if len(here) == 0:
            continue
        best = walked.first[here].copy()
        for k, origin in into:
            nodes = lattice.nodes[origin]
            arriving = value[nodes][:, None] + walked.scores[k]
            row = arriving.argmax(axis=0)
            found = arriving[row, np.arange(len(here))]
            better = found > best
            best[better], before[here[better]], step[here[better]] = found[better], nodes[row[better]], k
        value[here] = best + lattice.evidence[here]
    return BestPaths(value, before, step)


def chain_through(node: int, lattice: Lattice, from_above: BestPaths, from_below: BestPaths) -> Chain:
    """Return the best chain through a node."""
    nodes: list[int] = [node]
    steps: list[Step] = []
    while from_above.before[nodes[0]] >= 0:
        steps.insert(0, lattice.steps[from_above.step[nodes[0]]])
        nodes.insert(0, int(from_above.before[nodes[0]]))
    while from_below.before[nodes[-1]] >= 0:
        steps.append(lattice.steps[from_below.step[nodes[-1]]])
        nodes.append(int(from_below.before[nodes[-1]]))
    return tuple(nodes), tuple(steps)


def chain_score(chain: Chain, lattice: Lattice) -> float:
    """Return the score of a chain that is not empty; its steps are steps of the lattice."""
    members, steps = chain
    score = lattice.first[members[0]] + lattice.last[members[-1]] + sum(lattice.evidence[i] for i in members)
    for step, upper, lower in zip(steps, members, members[1:], strict=False):
        scores = lattice.scores[lattice.row_of_step[id(step)]]
        score += scores[lattice.row_in_level[upper], lattice.row_in_level[lower]]
    return float(score)


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over all chains.

    log_total : log weight of all chains, the empty one (weight 1) included
    log_through : (n,) log weight of the chains through each node
    up, down : for each step, (upper nodes, lower nodes): the probability that a chain through a lower node comes from
        an upper one by this step, and that one through an upper node goes on to a lower one
    """

    log_total: float
    log_through: NDArray[np.float64]
    up: tuple[NDArray[np.float64], ...]
    down: tuple[NDArray[np.float64], ...]


def sum_chains(lattice: Lattice) -> Sums:
    """Sum over all chains, forward and backward."""
    forward, backward = _summed_paths(lattice, False), _summed_paths(lattice, True)
    evidence = lattice.evidence
    through = forward + backward - evidence
    up: list[NDArray[np.float64]] = []
    down: list[NDArray[np.float64]] = []
    with np.errstate(invalid="ignore", over="ignore"):
        for step, score in zip(lattice.steps, lattice.scores, strict=True):
            above, below = lattice.nodes[step.upper], lattice.nodes[step.lower]
            reached = forward[above][:, None] + score - (forward[below] - evidence[below])
            left = score + backward[below] - (backward[above] - evidence[above])[:, None]
            for found, logarithm in ((up, reached), (down, left)):
                probability = np.exp(logarithm)
                # A node that no chain can reach gives infinity minus infinity: no chain comes that way.
                probability[~np.isfinite(probability)] = 0.0
                found.append(probability)
    total = float(_log_sum(np.append(forward + lattice.last, 0.0)[:, None])[0])
    return Sums(total, through, tuple(up), tuple(down))


def _summed_paths(lattice: Lattice, upside_down: bool) -> NDArray[np.float64]:
    """(n,) log sum of the paths to every node, the node's own evidence included."""
    walked = lattice.upside_down() if upside_down else lattice
    value = np.full(len(lattice.evidence), -np.inf)
    for level, into in arrivals(lattice, upside_down):
        here = lattice.nodes[level]
        if len(here) == 0:
            continue
        arriving = [walked.first[here][None]]
        arriving += [value[lattice.nodes[origin]][:, None] + walked.scores[k] for k, origin in into]
        value[here] = lattice.evidence[here] + _log_sum(np.concatenate(arriving))
    return value


def _log_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of the sum of exponentials over the first axis; minus infinity of nothing but that."""
    highest = values.max(axis=0)
    finite = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(finite + np.log(np.exp(values - finite).sum(axis=0)))


def probabilities_given(anchors: NDArray[np.int64], lattice: Lattice, sums: Sums) -> NDArray[np.float64]:
    """Return the probability of every node in a chain that passes through an anchor: (anchors, n)."""
    n = len(lattice.evidence)
    start = np.zeros((len(anchors), n))
    start[np.arange(len(anchors)), anchors] = 1
    above, below = start.copy(), start.copy()
    for level, into in arrivals(lattice, False):
        for k, origin in into:
            below[:, lattice.nodes[level]] += below[:, lattice.nodes[origin]] @ sums.down[k]
    for level, into in arrivals(lattice, True):
        for k, origin in into:
            above[:, lattice.nodes[level]] += above[:, lattice.nodes[origin]] @ sums.up[k].T
    return np.asarray(above + below - start)


def make_lattice(
    level: NDArray[np.int64],
    evidence: NDArray[np.float64],
    ends: NDArray[np.float64],
    steps: Sequence[Step],
    score: Callable[[Step, NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
) -> Lattice:
    """Join nodes by all steps for which there are nodes.

    level : (n,) of each node; evidence : (n,); ends : (2, 28), what it adds to begin and to end at a level
    score : gives the scores of a step between (u,) upper and (l,) lower nodes, (u, l)
    """
    nodes = tuple(np.flatnonzero(level == k) for k in range(len(LEVELS)))
    there = tuple(step for step in steps if len(nodes[step.upper]) and len(nodes[step.lower]))
    scores = tuple(score(step, nodes[step.upper], nodes[step.lower]) for step in there)
    return Lattice(nodes, there, scores, evidence, ends[0, level], ends[1, level])
