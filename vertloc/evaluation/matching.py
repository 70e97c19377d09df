"""True and predicted centroids of one scan -> which vertebrae were identified, and how far off each one is.

The definition of Glocker et al. (MICCAI 2012, 2013): a true vertebra is identified if the point predicted under its
name is nearer to it than to any other annotated vertebra, and less than 20 mm away.

What the definition leaves open is decided here:

- exactly 20 mm is not identified;
- a prediction exactly halfway between annotated vertebrae belongs to the uppermost of them;
- every annotated vertebra counts, T13 and L6 too, whether or not a model can name it;
- a predicted name that is not annotated is an extra label: it costs nothing in the identification rate, because a
  vertebra cut by the image border is often left without annotation, but it is counted beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.vertebrae import VERTEBRAE, Region, anatomical_order, region_of

IDENTIFIED_WITHIN_MM = 20.0
"""A prediction must be nearer than this, mm."""

Point = tuple[float, float, float]
"""(x, y, z) mm in the frame of the files."""

NOWHERE: Point = (math.nan, math.nan, math.nan)
"""The predicted point of a missed vertebra."""


@dataclass(frozen=True)
class VertebraScore:
    """One annotated vertebra and what was predicted under its name.

    predicted_mm, error_mm : NaN if nothing was predicted under this name
    nearest : the annotated vertebra that the prediction is nearest to, nearest_mm away; "" and NaN if there is none
    """

    label: str
    true_mm: Point
    predicted_mm: Point
    error_mm: float
    nearest: str
    is_identified: bool
    nearest_mm: float = math.nan

    @property
    def is_missed(self) -> bool:
        """Whether nothing was predicted under this name."""
        return math.isnan(self.error_mm)

    @property
    def region(self) -> Region:
        """The region, by the letter of the name."""
        return region_of(self.label)


@dataclass(frozen=True)
class ExtraLabel:
    """A predicted name that is not annotated in the scan.

    nearest : the annotated vertebra nearest to it, distance_mm away; "" and NaN if the scan has none
    """

    label: str
    predicted_mm: Point
    nearest: str
    distance_mm: float

    @property
    def region(self) -> Region:
        """The region, by the letter of the name."""
        return region_of(self.label)


@dataclass(frozen=True)
class ScanScore:
    """One scan: its annotated vertebrae and its extra labels, top to bottom.

    shift : by how many levels most predicted points are named too low (+, as T2 for T1) or too high (-); 0 otherwise
    has_prediction : whether there was a prediction at all (an empty one is one)
    patient : scans of the same patient share it; the scan itself where patients are unknown
    """

    scan: str
    vertebrae: tuple[VertebraScore, ...]
    extra: tuple[ExtraLabel, ...]
    shift: int = 0
    has_prediction: bool = True
    patient: str = ""

    @property
    def n(self) -> int:
        """Number of annotated vertebrae."""
        return len(self.vertebrae)

    @property
    def n_identified(self) -> int:
        """Number of identified vertebrae."""
        return sum(vertebra.is_identified for vertebra in self.vertebrae)

    @property
    def n_missed(self) -> int:
        """Number of annotated vertebrae under whose name nothing was predicted."""
        return sum(vertebra.is_missed for vertebra in self.vertebrae)

    @property
    def identification_rate(self) -> float:
        """Share of the annotated vertebrae that are identified, 0..1; NaN if none is annotated."""
        return self.n_identified / self.n if self.n else math.nan

    @property
    def is_all_right(self) -> bool:
        """Whether every annotated vertebra is identified (also if there is none); extra labels are no matter."""
        return self.n_identified == self.n

    @property
    def is_near(self) -> bool:
        """Whether any predicted point lies within reach of any annotated vertebra, whatever their names."""
        distances = (*(v.nearest_mm for v in self.vertebrae), *(extra.distance_mm for extra in self.extra))
        return any(distance < IDENTIFIED_WITHIN_MM for distance in distances)

    @property
    def errors_mm(self) -> NDArray[np.float64]:
        """(m,) float64: errors of the annotated vertebrae that have a prediction."""
        return np.array([v.error_mm for v in self.vertebrae if not v.is_missed], dtype=np.float64)


def score_scan(
    scan: str, truth: Centroids, predicted: Centroids, has_prediction: bool = True, patient: str = ""
) -> ScanScore:
    """Score the predicted centroids of one scan.

    truth, predicted : in the same frame; either may be empty
    Raises ValueError if the frames differ.
    """
    if truth.frame != predicted.frame:
        raise ValueError(f"{scan}: truth in the {truth.frame} frame, prediction in the {predicted.frame} frame")
    # (predicted, true) distances, mm; argmin takes the first of equal ones, and the true ones run top to bottom.
    distance = np.linalg.norm(predicted.points_mm[:, None] - truth.points_mm[None], axis=2)
    nearest = [truth.labels[i] for i in distance.argmin(axis=1)] if len(truth) else [""] * len(predicted)
    vertebrae = []
    for i, (label, true_mm) in enumerate(truth):
        if label in predicted:
            row = predicted.labels.index(label)
            error_mm = float(distance[row, i])
            is_identified = nearest[row] == label and error_mm < IDENTIFIED_WITHIN_MM
            predicted_mm = _point(predicted.points_mm[row])
            near_mm = float(distance[row].min())
            vertebra = VertebraScore(
                label, _point(true_mm), predicted_mm, error_mm, nearest[row], is_identified, near_mm
            )
        else:
            vertebra = VertebraScore(label, _point(true_mm), NOWHERE, math.nan, "", False)
        vertebrae.append(vertebra)
    reach = distance.min(axis=1) if len(truth) else np.full(len(predicted), math.nan)
    extra = tuple(
        ExtraLabel(label, _point(point), nearest[row], float(reach[row]))
        for row, (label, point) in enumerate(predicted)
        if label not in truth
    )
    near = [row for row in range(len(predicted)) if reach[row] < IDENTIFIED_WITHIN_MM]
    shift = _common_shift([predicted.labels[row] for row in near], [nearest[row] for row in near])
    return ScanScore(scan, tuple(vertebrae), extra, shift, has_prediction, patient or scan)


def _common_shift(named: Sequence[str], nearest: Sequence[str]) -> int:
    """Levels by which more than half of the points are named too low; 0 if there is no such number.

    named, nearest : per point within reach, its predicted name and the nearest annotated vertebra
    """
    if not named:
        return 0
    order = sorted({*VERTEBRAE, *named, *nearest}, key=anatomical_order)
    level = {label: i for i, label in enumerate(order)}
    shift, count = Counter(level[a] - level[b] for a, b in zip(named, nearest, strict=True)).most_common(1)[0]
    return shift if 2 * count > len(named) else 0


def _point(values: NDArray[np.float64]) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
