"""Cut the scans of a finished `vertloc study` as narrow sagittal series are, and name them; see `--help`.

Each scan is cut 80 to 110 mm wide and deep around five to nine successive vertebrae, and named by the model of the
study that never saw its patient. One table tells how both kinds fared, the other how far the confidence can be trusted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vertloc.batch.predicting import predict_cases
from vertloc.batch.records import read_record
from vertloc.centroids import Centroids
from vertloc.cohorts.case import Case
from vertloc.cohorts.loading import load_cohort
from vertloc.errors import VertlocError
from vertloc.evaluation.confidence import reliability
from vertloc.evaluation.folders import Truth
from vertloc.evaluation.matching import ScanScore
from vertloc.evaluation.scores import Scores, evaluate_truths
from vertloc.io.images import read_image, write_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.io.landmarks.registry import read_centroids
from vertloc.model import load_model
from vertloc.vertebrae import REGIONS
from vertloc.volume import Volume

_FIELD_MM = (80.0, 110.0)
_VERTEBRAE = (5, 9)
_MARGIN_MM = (12.0, 25.0)  # above and below the outermost centroids
_BEHIND_MM = 10.0  # the field reaches further to the back of the bodies than to the front
_SURE = 0.9


def main() -> int:
    """Cut, predict, score and print; 2 if the input is of no use."""
    args = _arguments()
    try:
        _run(args)
    except (VertlocError, OSError) as error:
        print(f"narrow_study: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--study", type=Path, required=True, metavar="DIR", help="a finished `vertloc study`")
    parser.add_argument("--data", type=Path, required=True, nargs="+", metavar="DIR", help="the scans that are cut")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the cut scans and their results")
    parser.add_argument("--versions", type=int, default=2, help="cuts of each scan (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=-1)
    return parser.parse_args()


def _run(args: argparse.Namespace) -> None:
    cohort = {case.scan: case for case in load_cohort(args.data).cases}
    whole, narrow = [], []
    runs = sorted(args.study.glob("run-*.json"))
    if not runs:
        raise VertlocError(f"{args.study}: expected a finished study, found no run-<fold>.json")
    for run in runs:
        tested = json.loads(run.read_text(encoding="utf-8"))
        cases = [cohort[found["scan"]] for found in tested["cases"] if found["scan"] in cohort]
        model = load_model(args.study / Path(tested["model"]["path"]).name)
        cuts = [_cut(case, args, version) for case in cases for version in range(args.versions)]
        predict_cases(cuts, model, args.out / "lml", args.n_jobs)
        whole += cases
        narrow += cuts
    kinds = [("as they are", truths_of(whole), args.study / "lml"), ("narrow", truths_of(narrow), args.out / "lml")]
    print(scores_and_confidence(kinds))


def scores_and_confidence(kinds: Sequence[tuple[str, Sequence[Truth], Path]]) -> str:
    """Return two Markdown tables: how kinds of scans fared, and how far the confidences of each can be trusted.

    kinds : name, annotated scans, and folder of the results with its records
    """
    scores = [evaluate_truths(truths, folder) for _, truths, folder in kinds]
    columns = ["scans", "n", "all levels right", "vertebrae", "identified", *REGIONS, "mean mm", "median mm"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += [_score_row(kind, found) for (kind, _, _), found in zip(kinds, scores, strict=True)]
    lines += [
        "",
        f"| scans | calibration error | names at {_SURE} or more | wrong of these | wrong scans flagged | right |",
    ]
    lines += ["|---|---|---|---|---|---|"]
    lines += [_confidence_row(*kind, found) for kind, found in zip(kinds, scores, strict=True)]
    return "\n".join(lines)


def _cut(case: Case, args: argparse.Namespace, version: int) -> Case:
    """Write one narrow version of a scan, with its landmarks, below the folder `scans`; the same for the same seed."""
    assert case.landmarks_path is not None  # load_cohort makes sure of it
    volume = read_image(case.image_path).aligned()
    known = read_centroids(case.landmarks_path, volume.grid).to_world(volume.grid)
    low, end = _box(known, volume, np.random.default_rng([args.seed, version, *case.scan.encode()]))
    origin = volume.grid.to_world(low[None])[0]
    grid = replace(volume.grid, shape=tuple(int(n) for n in end - low), origin_mm=tuple(float(x) for x in origin))
    name = f"{case.scan}-narrow{version}"
    small = Volume(np.ascontiguousarray(volume.voxels[tuple(map(slice, low, end))]), grid, name)
    index = grid.to_index(known.points_mm)
    # What is annotated is well inside: half a body along the spine, less across it.
    border = np.array([8.0, -5.0, -5.0]) / np.array(grid.spacing_mm[::-1])
    shown = ((index >= border) & (index <= np.array(grid.shape) - 1 - border)).all(axis=1)
    labels = tuple(label for label, is_shown in zip(known.labels, shown, strict=True) if is_shown)
    folder = args.out / "scans" / case.patient / name
    write_image(small, folder / f"{name}.mhd")
    write_lml(folder / f"{name}.lml", Centroids(labels, known.points_mm[shown], "world").to_local(grid))
    return Case(name, case.patient, folder / f"{name}.mhd", folder / f"{name}.lml")


def _box(known: Centroids, volume: Volume, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the voxels low .. end - 1, (z, y, x), of a narrow field around some successive vertebrae."""
    points = known.points_mm[np.argsort(-known.points_mm[:, 2])]
    n = min(int(rng.integers(_VERTEBRAE[0], _VERTEBRAE[1] + 1)), len(points))
    first = int(rng.integers(0, len(points) - n + 1))
    some = points[first : first + n]
    half_x, half_y = rng.uniform(*_FIELD_MM, 2) / 2
    below, above = rng.uniform(*_MARGIN_MM, 2)
    x, y = some[:, 0].mean(), some[:, 1].mean() + _BEHIND_MM
    corners = np.array(
        [[x - half_x, y - half_y, some[:, 2].min() - below], [x + half_x, y + half_y, some[:, 2].max() + above]]
    )
    index = np.sort(volume.grid.to_index(corners), axis=0)
    shape = np.array(volume.voxels.shape)
    low = np.clip(np.floor(index[0]).astype(int), 0, shape - 2)
    end = np.clip(np.ceil(index[1]).astype(int) + 1, low + 1, shape)
    return low, end


def truths_of(cases: Sequence[Case]) -> list[Truth]:
    """Return the annotated ones among the cases, as evaluation takes them."""
    return [Truth(c.scan, c.patient, c.landmarks_path, c.image_path) for c in cases if c.landmarks_path is not None]


def _score_row(kind: str, scores: Scores) -> str:
    everything = scores.summary()
    regions = [scores.summary(region) for region in REGIONS]
    cells = [kind, str(len(scores.scans)), str(scores.n_all_right), str(everything.n)]
    cells += [f"{s.identification_rate:.1%}" if s.n else "" for s in (everything, *regions)]
    return "| " + " | ".join([*cells, f"{everything.mean_mm:.2f}", f"{everything.median_mm:.2f}"]) + " |"


def _confidence_row(kind: str, truths: Sequence[Truth], folder: Path, scores: Scores) -> str:
    """Tell how far confidences hold; a name counts if its vertebra is annotated, and a scan if it has a result."""
    confidence, is_right = [], []
    flagged = {True: [], False: []}
    by_scan = {scan.scan: scan for scan in scores.scans}
    for truth in truths:
        record, scan = read_record(folder, truth.scan), by_scan[truth.scan]
        if record is None or not record.confidence:
            continue
        right = {vertebra.label: vertebra.is_identified for vertebra in scan.vertebrae}
        own = [(p, right[label]) for label, p in record.confidence.items() if label in right]
        confidence += [p for p, _ in own]
        is_right += [ok for _, ok in own]
        flagged[_is_level_right(scan)].append(record.verdict != "sure")
    p, ok = np.array(confidence), np.array(is_right, bool)
    high = p >= _SURE
    cells = [
        kind,
        f"{reliability(p, ok).expected_error:.3f}",
        f"{high.mean():.0%}",
        f"{(~ok[high]).mean():.1%}" if high.any() else "",
        f"{sum(flagged[False])} of {len(flagged[False])}",
        f"{sum(flagged[True])} of {len(flagged[True])}",
    ]
    return "| " + " | ".join(cells) + " |"


def _is_level_right(scan: ScanScore) -> bool:
    return scan.n_identified * 2 > scan.n


if __name__ == "__main__":
    sys.exit(main())
