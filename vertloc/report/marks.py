"""Scored centroids -> what to draw for each: status, sign, name; and names -> places where they do not overlap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.evaluation.matching import NOWHERE, Point, ScanScore, VertebraScore

FAR_MM = 10.0
"""An identified vertebra further off than this is marked as far."""

Status = Literal["identified", "far", "wrong", "missed", "extra", "unjudged"]


@dataclass(frozen=True)
class Sign:
    """How a status looks; the shapes differ too, for eyes that do not tell red from green.

    marker : in matplotlib's letters; glyph : its like in a line of text
    """

    colour: str
    marker: str
    glyph: str
    meaning: str


TRUE_SIGN = Sign("#ffffff", "o", "○", "annotated")

SIGNS: dict[Status, Sign] = {
    "identified": Sign("#4be37a", "o", "●", "identified"),
    "far": Sign("#ffae2b", "D", "◆", f"identified, over {FAR_MM:g} mm off"),
    "wrong": Sign("#ff5a52", "X", "✖", "wrong level"),
    "missed": Sign("#ff5a52", "o", "○", "missed"),
    "extra": Sign("#d69bff", "^", "▲", "not annotated"),
    "unjudged": Sign("#43d3ff", "o", "●", "predicted"),
}


@dataclass(frozen=True)
class Mark:
    """One vertebra to draw.

    true_mm, found_mm : world; NaN if there is no such point
    text : name and confidence beside the predicted point; "" if there is none
    """

    label: str
    status: Status
    true_mm: Point
    found_mm: Point
    text: str

    @property
    def has_truth(self) -> bool:
        """Whether the vertebra is annotated."""
        return not math.isnan(self.true_mm[0])

    @property
    def is_found(self) -> bool:
        """Whether something is predicted under its name."""
        return not math.isnan(self.found_mm[0])


def marks_of(found: Centroids, score: ScanScore | None, confidence: Mapping[str, float]) -> tuple[Mark, ...]:
    """Decide what to draw: every annotated vertebra and every predicted one, those of the same name together.

    found : predicted centroids, world frame; score : theirs in the same frame, or None where nothing is annotated
    """
    text = {label: _text(label, confidence) for label in found.labels}
    if score is None:
        return tuple(Mark(label, "unjudged", NOWHERE, _point(point), text[label]) for label, point in found)
    judged = [Mark(v.label, _status(v), v.true_mm, v.predicted_mm, text.get(v.label, "")) for v in score.vertebrae]
    extra = [Mark(e.label, "extra", NOWHERE, e.predicted_mm, text[e.label]) for e in score.extra]
    return (*judged, *extra)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Move positions apart to at least `gap`, in least squares as little as possible, within low..high.

    wanted : n positions, any order; the order is kept
    returns : (n,) float64; closer than `gap` only where low..high cannot hold them all
    """
    if not len(wanted):
        return np.empty(0)
    order = np.argsort(wanted, kind="stable")
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    steps = gap * np.arange(len(wanted))
    # With y_i = p_i - i gap, "p at least gap apart" reads "y does not decrease".
    fitted = _nearest_rising(np.asarray(wanted, dtype=np.float64)[order] - steps)
    placed = np.empty(len(wanted))
    placed[order] = np.clip(fitted, low, high - steps[-1]) + steps
    return placed


def _nearest_rising(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sequence without a step down that is nearest in least squares (pool adjacent violators)."""
    # scipy.optimize has this too, but takes 0.3 s to import.
    means: list[float] = []
    counts: list[int] = []
    for value in values:
        mean, count = float(value), 1
        while means and means[-1] > mean:
            mean = (means.pop() * counts[-1] + mean * count) / (counts[-1] + count)
            count += counts.pop()
        means.append(mean)
        counts.append(count)
    return np.repeat(means, counts)


def _status(vertebra: VertebraScore) -> Status:
    if vertebra.is_missed:
        return "missed"
    if not vertebra.is_identified:
        return "wrong"
    return "far" if vertebra.error_mm > FAR_MM else "identified"


def _text(label: str, confidence: Mapping[str, float]) -> str:
    return f"{label}  {100 * confidence[label]:.0f}%" if label in confidence else label


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
