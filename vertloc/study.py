"""Two fold files -> cross-validated scores: each fold is tested with the model trained on the other one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertloc.batch import CaseResult, predict_cases, versions, write_manifest
from vertloc.cohorts.case import Cohort
from vertloc.config import Config
from vertloc.evaluation.scores import Scores, evaluate
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import read_image
from vertloc.io.lml import read_lml
from vertloc.model import save_model
from vertloc.report.gallery import gallery_html, score_entries
from vertloc.report.overlay import draw_overlay
from vertloc.report.tables import scores_csv, scores_json, scores_table, worst_scans
from vertloc.training import n_training_steps, train


@dataclass(frozen=True, eq=False)
class Study:
    """Scores over both directions, and what became of every scan."""

    scores: Scores
    results: list[CaseResult]


def run_study(
    folds: Sequence[Cohort],
    config: Config,
    out: Path,
    seed: int = 0,
    n_jobs: int = 1,
    settings: dict[str, Any] | None = None,
    overlays: bool = True,
    progress: Callable[[], None] = lambda: None,
) -> Study:
    """Train on each fold, test on the other, and write everything into the folder `out`.

    folds : two cohorts; settings : what the manifests should say about how this was called
    Writes lml/<scan>.lml, model-<fold>.npz, run-<fold>.json, scores.json, scores.csv, table.md,
    overlays/<scan>.png and index.html, which shows them.
    """
    results: list[CaseResult] = []
    for trained_on, tested_on in ((folds[0], folds[1]), (folds[1], folds[0])):
        start = time.perf_counter()
        model = train(trained_on.cases, config, seed, n_jobs, [trained_on.name], progress)
        save_model(model, out / f"model-{trained_on.name}.npz")
        found = predict_cases(tested_on.cases, model, out / "lml", n_jobs, progress=progress)
        manifest = out / f"run-{tested_on.name}.json"
        write_manifest(manifest, "study", found, model, settings or {}, time.perf_counter() - start)
        results += found
        del model
    cases = [case for fold in folds for case in fold.cases]
    scores = evaluate(folds[0].root, out / "lml", [case.scan for case in cases])
    _write_scores(scores, {**_provenance(folds, seed), "configuration": config.as_dict()}, out)
    if overlays:
        _draw_overlays(cases, results, out / "overlays", progress)
        page = gallery_html(out.name, score_entries(scores, "overlays"))
        write_bytes_atomically(out / "index.html", page.encode())
    return Study(scores, results)


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


def _write_scores(scores: Scores, configuration: dict[str, Any], out: Path) -> None:
    table = scores_table(scores) + "\n" + worst_scans(scores) + "\n"
    write_bytes_atomically(out / "table.md", table.encode())
    write_bytes_atomically(out / "scores.json", scores_json(scores, configuration, versions()).encode())
    write_bytes_atomically(out / "scores.csv", scores_csv(scores).encode())


def _draw_overlays(
    cases: Sequence[Any], results: Sequence[CaseResult], out: Path, progress: Callable[[], None]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    found = {result.scan: result for result in results}
    for case in cases:
        result = found[case.scan]
        if result.localization is not None:
            volume = read_image(case.image_path)
            draw_overlay(
                volume,
                result.localization.local,
                read_lml(case.lml_path),
                out / f"{case.scan}.png",
                title=case.scan,
                confidence=result.confidence,
            )
        progress()
