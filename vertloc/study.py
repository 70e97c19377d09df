"""Two fold files -> cross-validated scores: each fold is tested with the model trained on the other one.

Beside the scores of the whole method stand those without the shape step (every vertebra's best candidate on its own),
from the same forests and candidates: what the chain adds is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from vertloc.batch.manifest import Run, write_manifest
from vertloc.batch.predicting import CaseResult, PredictOptions, predict_cases
from vertloc.cohorts.case import Case, Cohort
from vertloc.cohorts.layout import find_scans
from vertloc.config import Config
from vertloc.errors import CohortError, OutputError
from vertloc.evaluation.scores import Scores, evaluate
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import read_image
from vertloc.io.landmarks.registry import read_centroids
from vertloc.io.model_file import file_sha256
from vertloc.io.outputs import make_folder
from vertloc.model import save_model
from vertloc.report.gallery import gallery_html, score_entries
from vertloc.report.overlay import check_can_draw, draw_overlay
from vertloc.report.tables import scores_csv, scores_json, study_table
from vertloc.training import n_training_steps, train
from vertloc.versions import versions
from vertloc.workers import n_workers

Progress = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Study:
    """Scores over both directions, and what became of every scan.

    scores, scores_without_chain : with and without the shape step
    table : both as Markdown
    """

    scores: Scores
    scores_without_chain: Scores
    results: list[CaseResult]
    table: str


def run_study(
    folds: Sequence[Cohort],
    config: Config,
    out: Path,
    seed: int = 0,
    n_jobs: int = 1,
    command: Sequence[str] = (),
    overlays: bool = True,
    progress: Progress = lambda: None,
    cache: Path | None = None,
) -> Study:
    """Train on each fold, test on the other, and write everything into the folder `out`.

    folds : two cohorts; command : the command line, for the manifests; cache : folder that keeps preprocessed volumes
    Writes lml/<scan>.lml, lml-without-chain/<scan>.lml, model-<fold>.npz, run-<fold>.json, scores.json, scores.csv,
    table.md, overlays/<scan>.png and index.html, which shows them.
    Raises OutputError or CohortError, before any work starts, for what would spoil the scores at its end.
    """
    make_folder(out)
    if overlays:
        check_can_draw()
    _refuse_other_landmarks(folds, out)
    results: list[CaseResult] = []
    for trained_on, tested_on in ((folds[0], folds[1]), (folds[1], folds[0])):
        start = time.perf_counter()
        model = train(trained_on.cases, config, seed, n_jobs, [trained_on.name], progress, cache)
        model_path = out / f"model-{trained_on.name}.npz"
        save_model(model, model_path)
        sha256 = file_sha256(model_path)
        found = predict_cases(
            tested_on.cases,
            model,
            out / "lml",
            n_jobs,
            PredictOptions(without_chain="../lml-without-chain"),
            lambda _: progress(),
            model_sha256=lambda: sha256,  # noqa: B023 - called before the loop goes on
        )
        _set_aside_what_failed(found, out)
        run = Run(
            command,
            [case.scan for case in tested_on.cases],
            model,
            model_path,
            sha256,
            "local",
            time.perf_counter() - start,
        )
        write_manifest(out / f"run-{tested_on.name}.json", run, found, out / "lml")
        results += found
        del model
    cases = [case for fold in folds for case in fold.cases]
    scans = [case.scan for case in cases]
    scores = evaluate(folds[0].root, out / "lml", scans)
    without = evaluate(folds[0].root, out / "lml-without-chain", scans)
    table = study_table(scores, without)
    write_bytes_atomically(out / "table.md", table.encode())
    settings = {**_provenance(folds, seed), "configuration": config.as_dict()}
    write_bytes_atomically(out / "scores.json", scores_json(scores, settings, versions()).encode())
    write_bytes_atomically(out / "scores.csv", scores_csv(scores).encode())
    if overlays:
        _draw_overlays(cases, results, out / "overlays", n_jobs, progress)
        page = gallery_html(out.name, score_entries(scores, "overlays"))
        write_bytes_atomically(out / "index.html", page.encode())
    return Study(scores, without, results, table)


def _refuse_other_landmarks(folds: Sequence[Cohort], out: Path) -> None:
    """Make sure of one annotation a scan; the judge will search the whole data folder for them."""
    root = folds[0].root
    if out.resolve().is_relative_to(root.resolve()):
        raise OutputError(f"{out}: lies in the data folder {root}, where its landmarks would pass for annotations")
    found = find_scans(root)
    scans = [case.scan for fold in folds for case in fold.cases]
    twice = [found[scan].landmarks for scan in scans if scan in found and len(found[scan].landmarks) > 1]
    if twice:
        raise CohortError("\n".join(f"{' and '.join(map(str, paths))}: expected one annotation" for paths in twice))


def n_study_steps(folds: Sequence[Cohort], config: Config, overlays: bool = True) -> int:
    """Return how often `run_study` calls its `progress`."""
    n_cases = sum(len(fold.cases) for fold in folds)
    training = sum(n_training_steps(len(fold.cases), config) for fold in folds)
    return training + n_cases * (2 if overlays else 1)


def _provenance(folds: Sequence[Cohort], seed: int) -> dict[str, Any]:
    """Say what the scores were measured on, beside the configuration."""
    return {
        "seed": seed,
        "folds": [{"name": fold.name, "root": str(fold.root), "n_scans": len(fold.cases)} for fold in folds],
    }


def _set_aside_what_failed(results: Sequence[CaseResult], out: Path) -> None:
    """Rename what an earlier study left of scans that failed now: it must not be scored."""
    for result in results:
        for folder in ("lml", "lml-without-chain") if result.status == "failed" else ():
            left = out / folder / f"{result.scan}.lml"
            if left.exists():
                left.replace(left.with_name(f"{left.name}.earlier"))


def _draw_overlays(
    cases: Sequence[Case], results: Sequence[CaseResult], out: Path, n_jobs: int, progress: Progress
) -> None:
    """Draw the scans that have a result and an annotation, several side by side."""
    found = {result.scan: result for result in results}
    parallel = Parallel(n_jobs=n_workers(n_jobs, len(cases)), prefer="threads", return_as="generator")
    for _ in parallel(delayed(_draw_case)(case, found[case.scan], out) for case in cases):
        progress()


def _draw_case(case: Case, result: CaseResult, out: Path) -> None:
    if result.status != "failed" and case.landmarks_path is not None:
        volume = read_image(case.image_path)
        truth = read_centroids(case.landmarks_path, volume.grid).to_world(volume.grid)
        draw_overlay(volume, result.record.centroids(), truth, out / f"{case.scan}.png", case.scan, result.confidence)
