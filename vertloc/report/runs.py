"""A folder of results -> what a report shows of each scan, with scores where the truth is known.

Read are the manifests of `predict` (`run.json`) and `study` (`run-<fold>.json`) or, where a run was stopped before it
wrote one, the records of the scans that were finished. Entries that a manifest lacks are simply not shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vertloc.centroids import Frame
from vertloc.cohorts.layout import find_scans
from vertloc.errors import ReportError
from vertloc.evaluation.matching import ScanScore
from vertloc.evaluation.scores import Scores, evaluate
from vertloc.io.landmarks.registry import FORMATS

_RECORD = ".record"
_ROUNDING = 1e-6

LOW_CONFIDENCE = 0.6
"""A vertebra named with less is worth a look."""


@dataclass(frozen=True, eq=False)
class RunScan:
    """What a run says about one scan.

    status : "done", "empty" (no vertebra found), "failed" or "skipped"; message : of a failed or empty one
    confidence : by label; alternatives : by label, other names with their probabilities, the likeliest first
    verdict : "sure", "unsure" or "" where the run does not say
    shifts : other readings of the whole chain, (levels further down, probability); reasons : of "unsure", in words
    landmarks : the file with its points, if there is one; world_mm : its points by label, if that is not so
    score : against the truth, if that is known
    """

    scan: str
    image: Path
    status: str
    cohort: str = ""
    message: str = ""
    seconds: float = math.nan
    confidence: Mapping[str, float] = field(default_factory=dict)
    alternatives: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    verdict: str = ""
    shifts: Sequence[tuple[int, float]] = ()
    reasons: Sequence[str] = ()
    warnings: Sequence[str] = ()
    landmarks: Path | None = None
    frame: Frame = "local"
    world_mm: Mapping[str, Sequence[float]] = field(default_factory=dict)
    score: ScanScore | None = None

    @property
    def name(self) -> str:
        """Name of the scan as it can be shown, whatever bytes its files are named by."""
        return as_text(self.scan)

    @property
    def least_confidence(self) -> float:
        """Confidence of the vertebra it is least sure of; 0 if nothing is known."""
        return min(self.confidence.values(), default=0.0)

    @property
    def concerns(self) -> list[str]:
        """Say why somebody should look at it, the gravest first; empty if nothing speaks for that."""
        return [*_failure(self), *_wrong(self), *_unsure(self), *self.warnings]

    @property
    def rank(self) -> tuple[float, ...]:
        """Return a sort key: what needs a look comes first."""
        wrong = 0.0 if self.score is None or not self.score.n else 1 - self.score.identification_rate
        is_unsure = self.verdict == "unsure"
        return (-(self.status == "failed"), -(self.status == "empty"), -wrong, -is_unsure, self.least_confidence)


@dataclass(frozen=True, eq=False)
class Run:
    """A folder of results.

    scans : those that need a look first; scores : of those whose truth is known, or None
    model : what the manifest says about the model; versions : of the software
    """

    folder: Path
    command: str
    scans: tuple[RunScan, ...]
    scores: Scores | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def cohorts(self) -> tuple[str, ...]:
        """Names of the parts of the run, if it has several."""
        names = sorted({scan.cohort for scan in self.scans})
        return tuple(names) if len(names) > 1 else ()


def read_run(folder: Path, truth: Path | None = None) -> Run:
    """Read a run.

    truth : folder that is searched for annotations; of a study, its data folder unless another is given
    Raises ReportError if the folder holds no run, or a manifest cannot be understood; EvaluationError for annotations
    that cannot be read.
    """
    manifests = _manifests(folder)
    entries = [
        (_cohort(path, manifest), manifest, case)
        for kind in ("cases", "earlier")  # results of an earlier run in the same folder
        for path, manifest in manifests
        for case in _cases(path, manifest, kind)
    ]
    first_of: dict[Any, Any] = {}
    for entry in entries:
        first_of.setdefault(entry[2].get("scan") if isinstance(entry[2], dict) else None, entry)
    entries = list(first_of.values())
    scans = [_scan_or_error(folder, *entry) for entry in entries]
    scores = _scores(folder, [truth] if truth else _truth_of_study(folder), scans)
    by_scan = {score.scan: score for score in scores.scans} if scores else {}
    judged = [RunScan(**{**vars(scan), "score": by_scan.get(scan.scan)}) for scan in scans]
    first = manifests[0][1]
    command = first.get("command") or []
    return Run(
        folder=folder,
        command=as_text(" ".join(map(str, command)) if isinstance(command, list) else str(command)),
        scans=tuple(sorted(judged, key=lambda scan: (*scan.rank, scan.scan))),
        scores=scores,
        model=_mapping(first.get("model")),
        versions=_mapping(first.get("versions")),
    )


def as_text(text: str) -> str:
    """Escape what is no character: bytes of file names that are not in the system's encoding."""
    return text.encode("utf-8", "backslashreplace").decode()


def n_training_scans(folder: Path) -> float:
    """Return how many scans the models of a run learnt from, on average; NaN if its manifests do not say."""
    counts = [_mapping(manifest.get("model")).get("n_scans", math.nan) for _, manifest in _manifests(folder)]
    return float(sum(counts) / len(counts))


def landmark_folder(folder: Path) -> Path:
    """Return where the results of a run lie: `lml/` of a study, the folder itself of a prediction."""
    return folder / "lml" if (folder / "lml").is_dir() else folder


def _manifests(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder")
    paths = [folder / "run.json"] if (folder / "run.json").exists() else sorted(folder.glob("run-*.json"))
    if paths:
        return [(path, _read_json(path)) for path in paths]
    records = landmark_folder(folder) / "records"
    found = sorted(records.rglob(f"*{_RECORD}"))
    if not found:
        raise ReportError(f"{folder}: holds no run.json, run-*.json or records; expected results of predict or study")
    return [(records, {"cases": [_read_json(path) for path in found]})]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ReportError(f"{path}: expected a JSON object, found {type(document).__name__}")
    return document


def _cases(path: Path, manifest: Mapping[str, Any], kind: str) -> list[Any]:
    cases = manifest.get(kind, [])
    if not isinstance(cases, list):
        raise ReportError(f"{path}: {kind}: expected a list, found {type(cases).__name__}")
    return cases


def _cohort(path: Path, manifest: Mapping[str, Any]) -> str:
    """Name the part of a run: the fold of a study; nothing, where a manifest is one part of a job array."""
    name = path.stem.removeprefix("run-") if path.stem.startswith("run-") else ""
    return str(manifest.get("cohort") or ("" if re.fullmatch(r"\d+-of-\d+", name) else name))


def _scan_or_error(folder: Path, cohort: str, manifest: Mapping[str, Any], case: Any) -> RunScan:
    try:
        return _scan(folder, cohort, manifest, case)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        name = case.get("scan") if isinstance(case, dict) else case
        raise ReportError(f"{folder}: the manifest's entry of {name!r} makes no sense: {error}") from error


def _scan(folder: Path, cohort: str, manifest: Mapping[str, Any], case: Mapping[str, Any]) -> RunScan:
    scan = str(case.get("scan", ""))
    if not scan:
        raise ReportError(f"{folder}: a manifest lists a scan without a name")
    frame: Frame = "world" if case.get("frame", manifest.get("frame")) == "world" else "local"
    confidence = {str(label): _probability(p) for label, p in _mapping(case.get("confidence")).items()}
    seconds = case.get("seconds")
    landmarks = _landmarks(landmark_folder(folder), scan)
    world_mm = case.get("world_mm") if "world_mm" in case or landmarks else _recorded_points(folder, scan)
    return RunScan(
        scan=scan,
        image=Path(str(case.get("image", ""))),
        status=str(case.get("status") or case.get("state") or "done"),
        cohort=str(case.get("cohort") or cohort),
        message=as_text(str(case.get("message") or "")),
        seconds=float(seconds) if isinstance(seconds, int | float) else math.nan,
        confidence=confidence,
        alternatives={label: _pairs(value) for label, value in _mapping(case.get("alternatives")).items()},
        verdict=str(case.get("verdict") or ""),
        shifts=_shifts(case),
        reasons=tuple(as_text(str(text)) for text in case.get("reasons") or ()),
        warnings=tuple(as_text(str(text)) for text in case.get("warnings") or ()),
        landmarks=landmarks,
        frame=frame,
        world_mm=_mapping(world_mm),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _pairs(value: Any) -> list[tuple[str, float]]:
    """Read {name: probability} or [[name, probability], ...], the likeliest first."""
    pairs = list(value.items()) if isinstance(value, dict) else list(value or [])
    return sorted(((str(name), _probability(p)) for name, p in pairs), key=lambda pair: -pair[1])


def _shifts(case: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Read other readings of the whole chain: `shifts` as pairs, or `alternatives` as objects, as in `<scan>.json`."""
    alternatives = case.get("alternatives")
    if isinstance(alternatives, list):
        pairs = _pairs([(entry["shift"], entry["probability"]) for entry in alternatives])
    else:
        pairs = _pairs(case.get("shifts") or case.get("shift_probability"))
    return [(int(n), p) for n, p in pairs if int(n)]


def _probability(value: Any) -> float:
    probability = float(value)
    if not -_ROUNDING <= probability <= 1 + _ROUNDING:
        raise ValueError(f"expected a probability, got {value!r}")
    return min(1.0, max(0.0, probability))


def _recorded_points(folder: Path, scan: str) -> Any:
    """Return the points in the record of a scan, whose landmarks may be in a format that is only written."""
    path = landmark_folder(folder) / "records" / f"{scan}{_RECORD}"
    return _read_json(path).get("world_mm") if path.exists() else None


def _landmarks(folder: Path, scan: str) -> Path | None:
    """Find the points of a scan, in the format that is preferred among those that can be read."""
    paths = [folder / f"{scan}{suffix}" for known in FORMATS if known.reader for suffix in known.suffixes]
    return next((path for path in paths if path.exists()), None)


def _truth_of_study(folder: Path) -> list[Path]:
    """Return the data folders that a study was scored with, if they still are where they were."""
    path = folder / "scores.json"
    if not path.exists():
        return []
    settings = _mapping(_read_json(path).get("configuration"))
    folds = settings.get("folds") or []
    named = settings.get("data") or [fold["root"] for fold in folds if isinstance(fold, dict) and "root" in fold]
    roots = [Path(str(root)) for root in dict.fromkeys(map(str, named))]
    return roots if all(root.is_dir() for root in roots) else []


def _scores(folder: Path, truth: Sequence[Path], scans: Sequence[RunScan]) -> Scores | None:
    """Score the scans of the run that are annotated below the folders of `truth`."""
    if not truth:
        return None
    for root in truth:
        if not root.is_dir():
            raise ReportError(f"{root}: no such folder")
    found = find_scans(truth, without=landmark_folder(folder))
    annotated = {name for name, files in found.items() if files.landmarks}
    wanted = [scan.scan for scan in scans if scan.scan in annotated]
    return evaluate(truth, landmark_folder(folder), wanted) if wanted else None


def _failure(scan: RunScan) -> list[str]:
    if scan.status == "failed":
        return [f"failed: {scan.message}"]
    return [scan.message or "no vertebra found"] if scan.status == "empty" else []


def _wrong(scan: RunScan) -> list[str]:
    score = scan.score
    if score is None or score.is_all_right:
        return []
    shifted = f", most named {_levels(score.shift)}" if score.shift else ""
    return [f"{score.n - score.n_identified} of {score.n} not identified{shifted}"]


def _unsure(scan: RunScan) -> list[str]:
    found = []
    if scan.verdict == "unsure":
        others = [f"all {_some_levels(n)} {'lower' if n > 0 else 'higher'}: {p:.0%}" for n, p in scan.shifts[:2]]
        reasons = "; ".join(scan.reasons or others)
        found.append(f"unsure of the level ({reasons})" if reasons else "unsure of the level")
    if scan.confidence and scan.least_confidence < LOW_CONFIDENCE:
        label = min(scan.confidence, key=lambda name: scan.confidence[name])
        found.append(f"least sure of {label} ({scan.least_confidence:.0%})")
    return found


def _levels(n: int) -> str:
    return f"{_some_levels(n)} too {'low' if n > 0 else 'high'}"


def _some_levels(n: int) -> str:
    return f"{abs(n)} level{'s' if abs(n) > 1 else ''}"
