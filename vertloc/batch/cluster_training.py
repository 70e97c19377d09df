"""Training on a cluster: workers read and preprocess the scans, and train the models of a study side by side.

Every worker writes what it made into the cache of preprocessed volumes, which all machines share. What a training finds
there is to the last bit what it would have computed itself, so a model is the same with and without a cluster.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vertloc.batch.cluster import connected, each_on_cluster
from vertloc.batch.trained import TrainingTask, train_or_reuse
from vertloc.cohorts.case import Case
from vertloc.model import Model
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.preprocess_cache import read_preprocessed
from vertloc.training import train


@contextmanager
def shared_cache(cache: Path | None, beside: Path) -> Iterator[Path]:
    """Give a cache that all machines see: the one that was asked for, or one in `beside` that is removed at the end."""
    if cache is not None:
        yield cache.resolve()
        return
    with tempfile.TemporaryDirectory(prefix=".vertloc-cache-", dir=beside) as folder:
        yield Path(folder).resolve()


def preprocess_on_cluster(
    address: str,
    cases: Sequence[Case],
    settings: PreprocessSettings,
    cache: Path,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Let the workers fill the cache with the preprocessed volumes of cases; `progress` is called after each.

    Raises ClusterError, or the error of a scan that cannot be read, of the first such case.
    """
    cache.mkdir(parents=True, exist_ok=True)
    tasks = [(case.image_path.resolve(), settings, cache) for case in cases]
    with connected(address, cache, [task[0] for task in tasks[:1]]) as client:
        for error in each_on_cluster(client, _fill, tasks, lambda _, error: error):
            if error is not None:
                raise error
            progress()


def train_on_cluster(
    address: str, tasks: Sequence[TrainingTask], resume: bool, done: Callable[[], None] = lambda: None
) -> None:
    """Let the workers train models and write their files; `done` is called after each. Raises the first error."""
    with connected(address, tasks[0].path.parent, [tasks[0].cases[0].image_path.resolve()]) as client:
        shared = [(replace(task, path=task.path.resolve(), cases=_resolved(task.cases)), resume) for task in tasks]
        for error in each_on_cluster(client, _train, shared, lambda _, error: error):
            if error is not None:
                raise error
            done()


def _fill(task: tuple[Path, PreprocessSettings, Path]) -> Exception | None:
    read_preprocessed(*task)
    return None


def _train(work: tuple[TrainingTask, bool]) -> Exception | None:
    task, resume = work

    def train_anew() -> Model:
        return train(task.cases, task.config, task.seed, -1, task.folds, cache=task.cache)

    train_or_reuse(task.path, task.key, train_anew, resume)
    return None


def _resolved(cases: Sequence[Case]) -> tuple[Case, ...]:
    return tuple(
        replace(
            case,
            image_path=case.image_path.resolve(),
            landmarks_path=case.landmarks_path.resolve() if case.landmarks_path else None,
        )
        for case in cases
    )
