"""The chosen chain and its rivals -> how probable each member is.

Chains weigh what forward-backward says, with evidence that counts only in part: it errs together, more than a sum of
logarithms believes. The chosen chain and its rivals also weigh what posture adds to them, in the same part. All others
cannot be asked one by one. They are parted by how they name one place, the middle of the chosen chain, one class a name
and one for those that pass it by, and gain what the best rival of their class does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.stages.chain_lattice import Lattice, probabilities_given, sum_chains
from vertloc.stages.level_graph import LEVELS, Step
from vertloc.vertebrae import RANK


@dataclass(frozen=True)
class Hypothesis:
    """A whole chain: nodes and the steps between them; no node is no chain.

    score : by which chains are chosen
    log_weight : among all chains, for the confidence; gain : what posture adds to it
    """

    nodes: tuple[int, ...]
    steps: tuple[Step, ...]
    score: float
    gain: float
    log_weight: float


def confidence_of(
    chosen: Hypothesis,
    hypotheses: Sequence[Hypothesis],
    lattice: Lattice,
    level: NDArray[np.int64],
    place: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Weigh all chains of a lattice, and return the probability of each node: (n,) in 0..1. `chosen` is not empty.

    hypotheses : chosen and rivals, all different
    lattice : with the evidence that counts for the confidence
    level, place : (n,) of each node; nodes of the same place have the same point
    """
    named = [node for node in chosen.nodes if LEVELS[level[node]] in RANK]
    middle = named[len(named) // 2]
    anchors = np.flatnonzero(place == place[middle])
    sums = sum_chains(lattice)
    # Probabilities before posture has its say: of the classes, the last that of no anchor, and of nodes and class.
    classes = np.exp(sums.log_through[anchors] - sums.log_total)
    classes = np.append(classes, max(1 - float(classes.sum()), 0.0))
    through = classes[:-1, None] * probabilities_given(anchors, lattice, sums)
    elsewhere = np.clip(np.exp(sums.log_through - sums.log_total) - through.sum(axis=0), 0, classes[-1])
    joint = np.concatenate([through, elsewhere[None]])
    return _with_gains(classes, joint, hypotheses, anchors, sums.log_total)


def _with_gains(
    classes: NDArray[np.float64],
    joint: NDArray[np.float64],
    hypotheses: Sequence[Hypothesis],
    anchors: NDArray[np.int64],
    log_total: float,
) -> NDArray[np.float64]:
    """Let hypotheses gain what they do, and other chains what the best of their class does.

    classes, joint : (k + 1,), (k + 1, n) probabilities of the classes, and of class and node, without gains
    returns : those of the nodes with gains, (n,)
    """
    row = {node: k for k, node in enumerate(anchors.tolist())}
    # The row of the anchor that a chain passes through, or the number of anchors.
    own = [min((row[node] for node in h.nodes if node in row), default=len(row)) for h in hypotheses]
    # Without a hypothesis a class is far behind; it gains as little as the last of them.
    gains = np.full(len(classes), min(hypothesis.gain for hypothesis in hypotheses))
    for k, hypothesis in sorted(zip(own, hypotheses, strict=True), key=lambda pair: pair[1].score):
        gains[k] = hypothesis.gain
    highest = max(hypothesis.gain for hypothesis in hypotheses)
    rest, rest_joint = classes.copy(), joint.copy()
    asked, asked_joint = 0.0, np.zeros(joint.shape[1])
    for k, hypothesis in zip(own, hypotheses, strict=True):
        share, nodes = np.exp(hypothesis.log_weight - log_total), list(hypothesis.nodes)
        rest[k] -= share
        rest_joint[k, nodes] -= share
        asked += share * np.exp(hypothesis.gain - highest)
        asked_joint[nodes] += share * np.exp(hypothesis.gain - highest)
    factor = np.exp(gains - highest)
    total = asked + factor @ np.maximum(rest, 0)
    return np.asarray(np.minimum((asked_joint + factor @ np.maximum(rest_joint, 0)) / total, 1.0))
