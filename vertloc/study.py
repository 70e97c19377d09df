"""Fold files -> cross-validated scores: each fold is tested with a model trained on all others.

Beside the scores of the whole method stand those without the shape step (every vertebra's best candidate on its own),
from the same forests and candidates: what the chain adds is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vertloc.batch.cluster_training import preprocess_on_cluster, shared_cache, train_on_cluster
from vertloc.batch.manifest import Run, write_manifest
from vertloc.batch.predicting import CaseResult, ModelSource, PredictOptions, predict_cases
from vertloc.batch.trained import Trained, TrainingTask, train_or_reuse, training_key
from vertloc.cohorts.case import Cohort
from vertloc.config import Config
from vertloc.errors import OutputError
from vertloc.evaluation.folders import Truth
from vertloc.evaluation.scores import Scores, evaluate_truths
from vertloc.io.atomic import remove_stale_temporaries, write_bytes_atomically
from vertloc.io.outputs import make_folder
from vertloc.model import Model
from vertloc.report.page import check_can_report, write_report
from vertloc.report.tables import scores_csv, scores_json, study_table
from vertloc.training import n_training_steps, train
from vertloc.versions import versions

Progress = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Study:
    """Scores over all folds, and what became of every scan.

    scores, scores_without_chain : with and without the shape step
    table : both as Markdown
    """

    scores: Scores
    scores_without_chain: Scores
    results: list[CaseResult]
    table: str


@dataclass(frozen=True)
class StudyOptions:
    """How a study is run, beside its folds and its configuration.

    seed : of all randomness; n_jobs : threads, the results do not depend on it
    cache : folder that keeps preprocessed volumes; report : also write report.html
    resume : use the models and results of an earlier run that were made of the same
    command : the command line, for the manifests
    data : the data folders; scores are also told for each, where there are several
    cluster : address of a Dask scheduler whose workers train and predict; "": this process does
    """

    seed: int = 0
    n_jobs: int = 1
    cache: Path | None = None
    report: bool = True
    resume: bool = False
    command: Sequence[str] = ()
    data: Sequence[Path] = ()
    cluster: str = ""


def run_study(
    folds: Sequence[Cohort],
    config: Config,
    out: Path,
    options: StudyOptions | None = None,
    progress: Progress = lambda: None,
) -> Study:
    """Test each fold with a model trained on all others, and write everything into the folder `out`.

    folds : two cohorts or more
    Writes lml/<scan>.lml with lml/records/, lml-without-chain/<scan>.lml, a model and run-<fold>.json for each fold,
    scores.json, scores.csv, table.md, and report.html, which shows every scan, with its data in report/.
    Raises OutputError, before any work starts, for what would spoil the scores at its end.
    """
    options = options or StudyOptions()
    make_folder(out)
    remove_stale_temporaries(out / "lml-without-chain")
    if options.report:
        check_can_report()
    _check_folder_of_results([*options.data, *(fold.root for fold in folds)], out)
    tasks = _training_tasks(folds, config, out, options)
    results: list[CaseResult] = []
    with _all_trained_on_cluster(tasks, options) as resume:
        for tested_on in (*folds[1:], folds[0]):
            start = time.perf_counter()
            trained = _trained(tasks[tested_on.name], options, resume, progress)
            results += _tested(tested_on, trained, start, out, options, progress)
            del trained
    scores, without = _scored(folds, out)
    table = study_table(scores, without, _by_cohort(folds, scores, options.data))
    write_bytes_atomically(out / "table.md", table.encode())
    settings = {**_provenance(folds, options), "configuration": config.as_dict()}
    write_bytes_atomically(out / "scores.json", scores_json(scores, settings, versions()).encode())
    write_bytes_atomically(out / "scores.csv", scores_csv(scores).encode())
    if options.report:
        write_report(out, n_jobs=options.n_jobs, progress=progress)
    return Study(scores, without, results, table)


def _training_tasks(
    folds: Sequence[Cohort], config: Config, out: Path, options: StudyOptions
) -> dict[str, TrainingTask]:
    """Say, for each fold, how the model that it is tested with is trained: on all others."""
    tasks = {}
    for tested_on in folds:
        others = [fold for fold in folds if fold is not tested_on]
        cases = tuple(case for fold in others for case in fold.cases)
        names = tuple(fold.name for fold in others)
        path = out / f"model-{names[0] if len(names) == 1 else f'without-{tested_on.name}'}.npz"
        key = training_key(cases, config, options.seed)
        tasks[tested_on.name] = TrainingTask(path, key, cases, config, options.seed, names, options.cache)
    return tasks


@contextmanager
def _all_trained_on_cluster(tasks: Mapping[str, TrainingTask], options: StudyOptions) -> Iterator[bool]:
    """With a cluster, train all models there first; give whether models that are there are to be used."""
    if not options.cluster:
        yield options.resume
        return
    every_task = list(tasks.values())
    cases = {case.scan: case for task in every_task for case in task.cases}
    with shared_cache(options.cache, every_task[0].path.parent) as cache:
        preprocess_on_cluster(options.cluster, list(cases.values()), every_task[0].config.preprocess, cache)
        train_on_cluster(options.cluster, [replace(task, cache=cache) for task in every_task], options.resume)
    yield True


def _trained(task: TrainingTask, options: StudyOptions, resume: bool, progress: Progress) -> Trained:
    def train_anew() -> Model:
        return train(task.cases, task.config, task.seed, options.n_jobs, task.folds, progress, task.cache)

    trained = train_or_reuse(task.path, task.key, train_anew, resume)
    for _ in range(n_training_steps(len(task.cases), task.config) if trained.is_reused else 0):
        progress()
    return trained


def _tested(
    fold: Cohort, trained: Trained, start: float, out: Path, options: StudyOptions, progress: Progress
) -> list[CaseResult]:
    """Predict a fold and write its manifest, also if the prediction is stopped."""
    results: list[CaseResult] = []

    def done(result: CaseResult) -> None:
        results.append(result)
        progress()

    predict = PredictOptions(resume=options.resume, without_chain="../lml-without-chain", cluster=options.cluster)
    source = ModelSource(trained.path, lambda: trained.sha256)
    is_stopped = True
    try:
        predict_cases(fold.cases, trained.model, out / "lml", options.n_jobs, predict, done, source)
        is_stopped = False
    finally:
        scans = [case.scan for case in fold.cases]
        seconds = time.perf_counter() - start
        run = Run(options.command, scans, trained.model, trained.path, trained.sha256, "local", seconds, is_stopped)
        write_manifest(out / f"run-{fold.name}.json", run, results, out / "lml")
    # What an earlier study left of scans that failed now must not be scored.
    for result in results:
        for folder in ("lml", "lml-without-chain") if result.status == "failed" else ():
            left = out / folder / f"{result.scan}.lml"
            if left.exists():
                left.replace(left.with_name(f"{left.name}.earlier"))
    return results


def _scored(folds: Sequence[Cohort], out: Path) -> tuple[Scores, Scores]:
    """Score the written landmarks, with and without the shape step."""
    cases = [case for fold in folds for case in fold.cases]
    truths = [Truth(c.scan, c.patient, c.landmarks_path, c.image_path) for c in cases if c.landmarks_path is not None]
    return evaluate_truths(truths, out / "lml"), evaluate_truths(truths, out / "lml-without-chain")


def _by_cohort(folds: Sequence[Cohort], scores: Scores, data: Sequence[Path]) -> dict[str, Scores]:
    """Part the scores by the data folder that a scan lies in; nothing, where there is one folder."""
    cases = [case for fold in folds for case in fold.cases]
    folders = {case.scan: next((root for root in data if _is_below(case.image_path, root)), None) for case in cases}
    parts = {str(root): Scores(tuple(s for s in scores.scans if folders[s.scan] == root)) for root in data}
    return parts if len(parts) > 1 else {}


def _is_below(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())


def _check_folder_of_results(data: Sequence[Path], out: Path) -> None:
    """Make sure that the results do not lie among the data, where a later run would meet them."""
    for root in dict.fromkeys(data):
        if out.resolve().is_relative_to(root.resolve()):
            raise OutputError(f"{out}: lies in the data folder {root}, where its landmarks would pass for annotations")


def n_study_steps(folds: Sequence[Cohort], config: Config, report: bool = True) -> int:
    """Return how often `run_study` calls its `progress`."""
    n_cases = sum(len(fold.cases) for fold in folds)
    training = sum(n_training_steps(n_cases - len(fold.cases), config) for fold in folds)
    return training + n_cases * (2 if report else 1)


def _provenance(folds: Sequence[Cohort], options: StudyOptions) -> dict[str, Any]:
    """Say what the scores were measured on, beside the configuration."""
    return {
        "seed": options.seed,
        "data": [str(root.absolute()) for root in options.data or [folds[0].root]],
        "folds": [{"name": f.name, "root": str(f.root.absolute()), "n_scans": len(f.cases)} for f in folds],
    }
