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

from vertloc.batch.manifest import Run, write_manifest
from vertloc.batch.predicting import CaseResult, PredictOptions, predict_cases
from vertloc.cohorts.case import Cohort
from vertloc.cohorts.layout import find_scans
from vertloc.config import Config
from vertloc.errors import CohortError, OutputError
from vertloc.evaluation.scores import Scores, evaluate
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.model_file import file_sha256
from vertloc.io.outputs import make_folder
from vertloc.model import save_model
from vertloc.report.page import check_can_report, write_report
from vertloc.report.tables import scores_csv, scores_json, study_table
from vertloc.training import n_training_steps, train
from vertloc.versions import versions

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
    report: bool = True,
    progress: Progress = lambda: None,
    cache: Path | None = None,
) -> Study:
    """Train on each fold, test on the other, and write everything into the folder `out`.

    folds : two cohorts; command : the command line, for the manifests; cache : folder that keeps preprocessed volumes
    Writes lml/<scan>.lml, lml-without-chain/<scan>.lml, model-<fold>.npz, run-<fold>.json, scores.json, scores.csv,
    table.md, and report.html, which shows every scan, with its data in report/.
    Raises OutputError or CohortError, before any work starts, for what would spoil the scores at its end.
    """
    make_folder(out)
    if report:
        check_can_report()
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
    scans = [case.scan for fold in folds for case in fold.cases]
    scores = evaluate(folds[0].root, out / "lml", scans)
    without = evaluate(folds[0].root, out / "lml-without-chain", scans)
    table = study_table(scores, without)
    write_bytes_atomically(out / "table.md", table.encode())
    settings = {**_provenance(folds, seed), "configuration": config.as_dict()}
    write_bytes_atomically(out / "scores.json", scores_json(scores, settings, versions()).encode())
    write_bytes_atomically(out / "scores.csv", scores_csv(scores).encode())
    if report:
        write_report(out, folds[0].root, n_jobs, progress=progress)
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


def n_study_steps(folds: Sequence[Cohort], config: Config, report: bool = True) -> int:
    """Return how often `run_study` calls its `progress`."""
    n_cases = sum(len(fold.cases) for fold in folds)
    training = sum(n_training_steps(len(fold.cases), config) for fold in folds)
    return training + n_cases * (2 if report else 1)


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
