"""A folder of true and a folder of predicted landmark files -> scores by region.

Identification rate = identified / all annotated vertebrae, so that a missed vertebra counts as wrong. Localization
error = distance in mm between the prediction and the annotation of the same name, over the vertebrae that have both.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vertloc.errors import EvaluationError
from vertloc.evaluation.folders import Truth, find_predictions, find_truths, read_pair
from vertloc.evaluation.matching import IDENTIFIED_WITHIN_MM, ScanScore, score_scan
from vertloc.vertebrae import REGIONS, Region

AnyRegion = Literal["all"] | Region

ALL_REGIONS: tuple[AnyRegion, ...] = ("all", *REGIONS)

SMALL_SCAN = 9
"""Scans with at most this many annotated vertebrae are also scored as a group: there is less to count levels from."""

N_RESAMPLES = 2000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """The scores of a group of vertebrae.

    n, n_identified, n_missed : annotated vertebrae; identified ones; ones without a prediction under their name
    n_extra : predicted labels that are not annotated
    mean_mm, std_mm, median_mm : localization error (population standard deviation); NaN without any prediction
    interval : 95 % interval of the identification rate, 0..1; NaN without vertebrae
    """

    n: int
    n_identified: int
    n_missed: int
    n_extra: int
    mean_mm: float
    std_mm: float
    median_mm: float
    interval: tuple[float, float]

    @property
    def identification_rate(self) -> float:
        """Identified / annotated, 0..1; NaN without vertebrae."""
        return self.n_identified / self.n if self.n else math.nan


@dataclass(frozen=True)
class Scores:
    """The scores of a set of scans, sorted by scan.

    without_truth : scans that have a prediction but no annotation, and so no score
    """

    scans: tuple[ScanScore, ...]
    without_truth: tuple[str, ...] = ()

    def summary(self, region: AnyRegion = "all") -> Summary:
        """Summarize the vertebrae of one region."""
        return summarize(self.scans, region)

    @property
    def small(self) -> Scores:
        """The scores of the scans with at most nine annotated vertebrae."""
        return Scores(tuple(scan for scan in self.scans if scan.n <= SMALL_SCAN))

    @property
    def n_all_right(self) -> int:
        """Number of scans in which every annotated vertebra is identified."""
        return sum(scan.is_all_right for scan in self.scans)

    @property
    def without_prediction(self) -> tuple[str, ...]:
        """The scans for which there is no prediction file."""
        return tuple(scan.scan for scan in self.scans if not scan.has_prediction)

    @property
    def shifts(self) -> dict[int, int]:
        """Number of scans by the shift of most of their labels; 0 is left out."""
        return dict(sorted(Counter(scan.shift for scan in self.scans if scan.shift).items()))


def evaluate(
    truth_root: Path | str | Sequence[Path | str], pred_dir: Path | str, scans: Sequence[str] | None = None
) -> Scores:
    """Score every scan that is annotated below `truth_root`.

    truth_root : a folder, or several, searched recursively for annotated scans in any layout and landmark format, apart
        from `pred_dir` if it lies below
    pred_dir : searched recursively for `<scan>.lml` or `<scan>_centroids_conf.lml`, or landmarks of another format; a
        scan without a result counts with all its vertebrae missed. Results in another frame than the annotation are
        brought into its frame, if the image lies with the annotation
    scans : score these only, by name, path or patient
    Raises EvaluationError, listing all of them, for folders or annotations that are not there, scans that occur twice,
    files that cannot be read, and frames that differ where there is no image.
    """
    roots = [Path(truth_root)] if isinstance(truth_root, Path | str) else [Path(root) for root in truth_root]
    pred_dir = Path(pred_dir)
    problems = [f"{folder}: no such folder" for folder in (*roots, pred_dir) if not folder.is_dir()]
    _raise_if_any(problems)
    truths, names = find_truths(roots, pred_dir, scans, problems)
    predictions = find_predictions(pred_dir, names, problems, None if scans is None else {t.scan for t in truths})
    _raise_if_any(problems)
    scores = _score(truths, predictions, problems)
    without_truth = tuple(sorted(set(predictions) - set(names))) if scans is None else ()
    return Scores(scores, without_truth)


def evaluate_truths(truths: Sequence[Truth], pred_dir: Path) -> Scores:
    """Score annotated scans that are already known; a result is searched below `pred_dir`. Errors as for `evaluate`."""
    problems: list[str] = []
    predictions = find_predictions(pred_dir, {truth.scan for truth in truths}, problems)
    _raise_if_any(problems)
    return Scores(_score(truths, predictions, problems))


def _score(truths: Sequence[Truth], predictions: Mapping[str, Path], problems: list[str]) -> tuple[ScanScore, ...]:
    scored = []
    for truth in truths:
        pred_file = predictions.get(truth.scan)
        true, predicted = read_pair(truth, pred_file, problems)
        scored.append(score_scan(truth.scan, true, predicted, pred_file is not None, truth.patient))
    _raise_if_any(problems)
    _warn_if_nothing_is_near(scored)
    return tuple(sorted(scored, key=lambda scan: scan.scan))


def _warn_if_nothing_is_near(scans: Sequence[ScanScore]) -> None:
    """Say so if results and annotations lie apart as a whole: frames are the usual cause."""
    predicted = [scan for scan in scans if scan.n and (scan.n > scan.n_missed or scan.extra)]
    far = [scan for scan in predicted if not scan.is_near]
    if predicted and len(far) == len(predicted):
        logger.warning(
            "no predicted point lies within %g mm of any annotated one: are the results of these scans, and in the same"
            " frame? A .lml file whose first line does not say 'world' is taken for local",
            IDENTIFIED_WITHIN_MM,
        )


def summarize(scans: Sequence[ScanScore], region: AnyRegion = "all") -> Summary:
    """Summarize the vertebrae of one region over some scans; none is fine."""
    vertebrae = [[v for v in scan.vertebrae if region in ("all", v.region)] for scan in scans]
    flat = [vertebra for row in vertebrae for vertebra in row]
    errors = np.array([v.error_mm for v in flat if not v.is_missed], dtype=np.float64)
    by_patient: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for scan, row in zip(scans, vertebrae, strict=True):
        by_patient[scan.patient][0] += sum(v.is_identified for v in row)
        by_patient[scan.patient][1] += len(row)
    return Summary(
        n=len(flat),
        n_identified=sum(v.is_identified for v in flat),
        n_missed=sum(v.is_missed for v in flat),
        n_extra=sum(region in ("all", extra.region) for scan in scans for extra in scan.extra),
        mean_mm=float(errors.mean()) if len(errors) else math.nan,
        std_mm=float(errors.std()) if len(errors) else math.nan,
        median_mm=float(np.median(errors)) if len(errors) else math.nan,
        interval=_bootstrap_interval([(hit, n) for hit, n in by_patient.values() if n]),
    )


def _bootstrap_interval(patients: Sequence[tuple[int, int]], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of sum(identified) / sum(annotated), by drawing patients with replacement.

    patients : (identified, annotated) of each; vertebrae of one patient succeed and fail together, so that an interval
        over single vertebrae would be too narrow
    """
    if not patients:
        return (math.nan, math.nan)
    identified, annotated = np.array(patients, dtype=np.float64).T
    n = len(patients)
    times_drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES)
    low, high = np.percentile((times_drawn @ identified) / (times_drawn @ annotated), (2.5, 97.5))
    return (float(low), float(high))


def _raise_if_any(problems: Sequence[str]) -> None:
    if problems:
        raise EvaluationError("\n".join(problems))
