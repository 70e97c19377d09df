"""The levels a spine may have, and the steps from one down to the next: a graph that knows the usual variants.

Most spines have C1 to S2 without a gap. Some have a thirteenth thoracic or a sixth lumbar vertebra; others carry eleven
pairs of ribs, T11 above L1, or four lumbar vertebrae, L4 above S1. A chain is a path of this graph. Steps are what the
chain is scored by: a step contains one link of a normal spine, or several where vertebrae were not found.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vertloc.vertebrae import RANK, VARIANTS, VERTEBRAE, anatomical_order

LEVELS: tuple[str, ...] = tuple(sorted((*VERTEBRAE, *VARIANTS), key=anatomical_order))
"""Every name a chain can give, top to bottom."""

LEVEL: dict[str, int] = {name: level for level, name in enumerate(LEVELS)}
"""Position of a name among the 28 levels."""

BETWEEN: dict[str, tuple[str, str]] = {"T13": ("T12", "L1"), "L6": ("L5", "S1")}
"""A variant looks like a bit of both its neighbours."""

FLAGS: dict[tuple[str, str], str] = {
    ("T12", "T13"): "T13: a thirteenth thoracic vertebra",
    ("L5", "L6"): "L6: a sixth lumbar vertebra",
    ("T11", "L1"): "T12 is missing: eleven thoracic vertebrae",
    ("L4", "S1"): "L5 is missing: four lumbar vertebrae",
}
"""What is said of a spine whose chain takes such a step."""


@dataclass(frozen=True, eq=False)
class Step:
    """One way from a level down to another.

    span : (25,), how often it contains each link of a normal spine
    n_left_out : vertebrae between the two that were not found
    flag : what it says about the spine; empty for a normal step
    """

    upper: int
    lower: int
    span: NDArray[np.float64]
    n_left_out: int = 0
    flag: str = ""


@lru_cache(maxsize=16)
def steps_down(longest_gap: int, with_variants: bool) -> tuple[Step, ...]:
    """Return all steps, ordered by where they arrive, then by where they begin; normal ones come first.

    longest_gap : most vertebrae that a step may leave out
    """
    steps = [
        Step(LEVEL[VERTEBRAE[upper]], LEVEL[VERTEBRAE[lower]], _links(upper, lower), lower - upper - 1)
        for lower in range(len(VERTEBRAE))
        for upper in range(max(lower - 1 - longest_gap, 0), lower)
    ]
    if with_variants:
        steps += [
            _variant("T12", "T13", {"T12": 1.0}),
            _variant("T13", "L1", {"T12": 1.0}),
            _variant("L5", "L6", {"L4": 1.0}),
            _variant("L6", "S1", {"L5": 1.0}),
            _variant("T11", "L1", {"T11": 0.5, "T12": 0.5}),
            _variant("L4", "S1", {"L5": 1.0}),
        ]
    return tuple(sorted(steps, key=lambda step: (step.lower, step.upper, step.flag != "")))


def _links(upper: int, lower: int) -> NDArray[np.float64]:
    span = np.zeros(len(VERTEBRAE) - 1)
    span[upper:lower] = 1
    return span


def _variant(upper: str, lower: str, links: dict[str, float]) -> Step:
    """Make a step that is as long and inclined as the links below the given vertebrae, by their shares."""
    span = np.zeros(len(VERTEBRAE) - 1)
    for name, share in links.items():
        span[RANK[name]] = share
    return Step(LEVEL[upper], LEVEL[lower], span, flag=FLAGS.get((upper, lower), ""))
