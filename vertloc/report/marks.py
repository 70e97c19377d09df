"""Scored centroids -> what to draw for each: status, sign, name."""

from __future__ import annotations

import math
from collections.abc import Mapping
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

    marker : in matplotlib's letters; is_hollow : a ring, not a disc
    """

    colour: str
    marker: str
    meaning: str
    is_hollow: bool = False


TRUE_SIGN = Sign("#ffffff", "o", "annotated", is_hollow=True)

SIGNS: dict[Status, Sign] = {
    "identified": Sign("#4be37a", "o", "identified"),
    "far": Sign("#ffae2b", "D", f"identified, over {FAR_MM:g} mm off"),
    "wrong": Sign("#ff5a52", "X", "wrong level"),
    "missed": Sign("#ff5a52", "o", "missed", is_hollow=True),
    "extra": Sign("#d69bff", "^", "not annotated"),
    "unjudged": Sign("#43d3ff", "o", "predicted"),
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

    @property
    def points(self) -> tuple[Point, ...]:
        """Those of the two points that exist."""
        return tuple(p for p, is_there in ((self.true_mm, self.has_truth), (self.found_mm, self.is_found)) if is_there)


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
