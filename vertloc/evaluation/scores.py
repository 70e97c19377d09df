"""A folder of true and a folder of predicted landmark files -> scores by region.

Identification rate = identified / all annotated vertebrae, so that a missed vertebra counts as wrong. Localization
error = distance in mm between the prediction and the annotation of the same name, over the vertebrae that have both.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from vertloc.centroids import Centroids
from vertloc.errors import EvaluationError, LandmarkError
from vertloc.evaluation.matching import ScanScore, score_scan
from vertloc.io.landmarks.registry import is_landmark_path, landmark_scan_name, read_centroids
from vertloc.vertebrae import REGIONS, Region

AnyRegion = Literal["all"] | Region

ALL_REGIONS: tuple[AnyRegion, ...] = ("all", *REGIONS)

SMALL_SCAN = 9
"""Scans with at most this many annotated vertebrae are also scored as a group: there is less to count levels from."""

RESULT_SUFFIX = "_centroids_conf"
"""Ending of the result files of 2013: `<scan>_centroids_conf.lml`."""

N_RESAMPLES = 2000


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


def evaluate(truth_root: Path | str, pred_dir: Path | str, scans: Sequence[str] | None = None) -> Scores:
    """Score every scan that is annotated below `truth_root`.

    truth_root : searched recursively for `<scan>.lml`, apart from `pred_dir` if it lies below
    pred_dir : searched recursively for `<scan>.lml` or `<scan>_centroids_conf.lml`, in the same frame as the truth;
        a scan without one counts with all its vertebrae missed
    scans : score these only
    Raises EvaluationError, listing all of them, for folders or annotations that are not there, scans that occur twice
    and files that cannot be read.
    """
    truth_root, pred_dir = Path(truth_root), Path(pred_dir)
    problems = [f"{folder}: no such folder" for folder in (truth_root, pred_dir) if not folder.is_dir()]
    _raise_if_any(problems)
    true_files = _true_files(truth_root, pred_dir, problems)
    pred_files = _predicted_files(pred_dir, scans, problems)
    wanted = sorted(true_files) if scans is None else list(scans)
    if not true_files:
        problems.append(f"{truth_root}: no .lml file in this folder or below it")
    else:
        problems += [f"{scan}: no {scan}.lml below {truth_root}" for scan in wanted if scan not in true_files]
    problems += [f"{scan}: asked for {n} times" for scan, n in Counter(wanted).items() if n > 1]
    _raise_if_any(problems)
    scored = [_score_files(scan, truth_root, true_files[scan], pred_files.get(scan), problems) for scan in wanted]
    _raise_if_any(problems)
    without_truth = tuple(sorted(set(pred_files) - set(true_files))) if scans is None else ()
    return Scores(tuple(sorted(scored, key=lambda scan: scan.scan)), without_truth)


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


def _score_files(scan: str, root: Path, true_file: Path, pred_file: Path | None, problems: list[str]) -> ScanScore:
    """Read and score one scan; what cannot be read is appended to `problems` and stands as empty."""
    truth = _read(true_file, problems)
    predicted = Centroids((), np.empty((0, 3))) if pred_file is None else _read(pred_file, problems)
    return score_scan(scan, truth, predicted, pred_file is not None, _patient_of(scan, root, true_file))


def _patient_of(scan: str, root: Path, true_file: Path) -> str:
    """Name of the patient's folder in the layout `<patient>/<scan>/<scan>.lml`; else the scan stands for itself."""
    folders = true_file.relative_to(root).parts[:-1]
    return folders[-2] if len(folders) >= 2 and folders[-1] == scan else scan


def _read(path: Path, problems: list[str]) -> Centroids:
    try:
        return read_centroids(path)
    except (LandmarkError, OSError) as error:
        problems.append(str(error))
        return Centroids((), np.empty((0, 3)))


def _true_files(truth_root: Path, pred_dir: Path, problems: list[str]) -> dict[str, Path]:
    found = [path for path in _landmark_files(truth_root) if not landmark_scan_name(path).endswith(RESULT_SUFFIX)]
    if pred_dir.resolve() != truth_root.resolve():
        found = [path for path in found if pred_dir.resolve() not in path.resolve().parents]
    return _by_scan(found, problems)


def _predicted_files(pred_dir: Path, scans: Sequence[str] | None, problems: list[str]) -> dict[str, Path]:
    found = _landmark_files(pred_dir)
    if scans is not None:
        found = [path for path in found if landmark_scan_name(path).removesuffix(RESULT_SUFFIX) in scans]
    return _by_scan(found, problems)


def _landmark_files(folder: Path) -> list[Path]:
    """All landmark files below a folder; hidden ones are leftovers of other programs."""
    return sorted(path for path in folder.rglob("*") if is_landmark_path(path) and not path.name.startswith("."))


def _by_scan(paths: Sequence[Path], problems: list[str]) -> dict[str, Path]:
    by_scan: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        by_scan[landmark_scan_name(path).removesuffix(RESULT_SUFFIX)].append(path)
    for scan, same in by_scan.items():
        if len(same) > 1:
            problems.append(f"{scan}: found {len(same)} times: {', '.join(map(str, same))}")
    return {scan: same[0] for scan, same in by_scan.items()}


def _raise_if_any(problems: Sequence[str]) -> None:
    if problems:
        raise EvaluationError("\n".join(problems))
