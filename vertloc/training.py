"""Annotated cases -> a model, in the order of the data flow."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import vertloc
from vertloc.cohorts.case import Case
from vertloc.config import Config
from vertloc.errors import TrainingError
from vertloc.io.landmarks.registry import read_centroids
from vertloc.model import Model, Provenance
from vertloc.stages.forest import FlatForest
from vertloc.stages.forest_growing import grow_centre_forest, grow_classification_forest
from vertloc.stages.naming import grow_naming_forest
from vertloc.stages.preprocess_cache import read_preprocessed
from vertloc.stages.sampling import TrainingScan, class_weights, draw_centre_samples, draw_samples
from vertloc.stages.shape_model import learn_shape_model
from vertloc.vertebrae import RANK
from vertloc.workers import run_pieces

logger = logging.getLogger(__name__)

Progress = Callable[[], None]
"""Called once for each finished step of `n_training_steps`."""


def train(
    cases: Sequence[Case],
    config: Config,
    seed: int = 0,
    n_jobs: int = 1,
    folds: Sequence[str] = (),
    progress: Progress = lambda: None,
    cache: Path | None = None,
) -> Model:
    """Train a model on annotated cases.

    folds : names of the fold files, for the provenance; cache : folder that keeps preprocessed volumes
    The model depends on the cases, the configuration and the seed, not on `n_jobs`.
    Raises TrainingError if no case holds a centroid, ImageError or LandmarkError for files that cannot be read.
    """
    with _timed("read and preprocess %d scans", len(cases)):
        scans = read_training_scans(cases, config, n_jobs, progress, cache)
    return train_on_scans(scans, config, seed, n_jobs, folds, progress)


def train_on_scans(
    scans: Sequence[TrainingScan],
    config: Config,
    seed: int = 0,
    n_jobs: int = 1,
    folds: Sequence[str] = (),
    progress: Progress = lambda: None,
) -> Model:
    """Train a model on scans that are already preprocessed with `config.preprocess`; see `train`."""
    labels = Counter(label for scan in scans for label in scan.centroids.labels if label in RANK)
    if not labels:
        raise TrainingError(f"none of the {len(scans)} training scans has an annotated vertebra")
    sample_seed, forest_seed, centre_seed, naming_seed = np.random.SeedSequence(seed).spawn(4)
    shape = learn_shape_model([scan.centroids for scan in scans], config.shape_model)
    with _timed("grow the classification forest"):
        classifier = _grow_classifier(scans, config, sample_seed, forest_seed, n_jobs, progress)
    centre_forest = None
    if config.centre_votes.use_votes:
        with _timed("grow the centre forest"):
            centre_forest = _grow_centre_forest(scans, config, sample_seed, centre_seed, n_jobs, progress)
    naming_forest = None
    if config.naming.use_naming:
        with _timed("grow the naming forest"):
            naming_forest = grow_naming_forest(
                scans,
                shape,
                config.naming_features,
                config.naming_samples,
                config.naming,
                config.naming_forest,
                naming_seed,
                n_jobs,
                progress,
            )
    provenance = Provenance(
        vertloc=vertloc.__version__,
        seed=seed,
        n_scans=len(scans),
        n_patients=len({scan.patient for scan in scans}),
        folds=tuple(folds),
        labels={label: labels[label] for label in RANK if label in labels},
    )
    return Model(config, classifier, centre_forest, naming_forest, shape, provenance)


def n_training_steps(n_cases: int, config: Config) -> int:
    """Return how often `train` calls its `progress`."""
    centre_trees = config.centre_forest.n_trees * config.centre_votes.use_votes
    naming_trees = config.naming_forest.n_trees * config.naming.use_naming
    return n_cases + config.forest.n_trees + centre_trees + naming_trees


def read_training_scans(
    cases: Sequence[Case],
    config: Config,
    n_jobs: int = 1,
    progress: Progress = lambda: None,
    cache: Path | None = None,
) -> list[TrainingScan]:
    """Read and preprocess annotated cases; cases are read side by side."""

    def read(i: int) -> TrainingScan:
        case = cases[i]
        if case.landmarks_path is None:
            raise TrainingError(f"{case.scan}: no annotation next to {case.image_path}")
        volume, stored_grid = read_preprocessed(case.image_path, config.preprocess, cache)
        centroids = read_centroids(case.landmarks_path, stored_grid).to_world(stored_grid)
        scan = TrainingScan(volume, centroids, case.patient, case.scan)
        progress()
        return scan

    return run_pieces(read, len(cases), n_jobs)


def _grow_classifier(
    scans: Sequence[TrainingScan],
    config: Config,
    sample_seed: np.random.SeedSequence,
    seed: np.random.SeedSequence,
    n_jobs: int,
    progress: Progress,
) -> FlatForest:
    rngs = _generators(sample_seed, len(scans))
    samples = run_pieces(
        lambda i: draw_samples(scans[i], config.dense_labels, config.sampling, rngs[i]), len(scans), n_jobs
    )
    weights = class_weights(samples, config.sampling)
    return grow_classification_forest(scans, samples, weights, config.features, config.forest, seed, n_jobs, progress)


def _grow_centre_forest(
    scans: Sequence[TrainingScan],
    config: Config,
    sample_seed: np.random.SeedSequence,
    seed: np.random.SeedSequence,
    n_jobs: int,
    progress: Progress,
) -> FlatForest:
    rngs = _generators(sample_seed, len(scans))
    samples = run_pieces(
        lambda i: draw_centre_samples(scans[i], config.dense_labels, config.sampling, rngs[i]), len(scans), n_jobs
    )
    return grow_centre_forest(scans, samples, config.centre_features, config.centre_forest, seed, n_jobs, progress)


def _generators(seed: np.random.SeedSequence, n: int) -> list[np.random.Generator]:
    """One generator a scan. A scan's samples do not depend on the other scans."""
    return [
        np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i))) for i in range(n)
    ]


@contextmanager
def _timed(what: str, *values: object) -> Iterator[None]:
    start = time.perf_counter()
    yield
    logger.info(what + ": %.1f s", *values, time.perf_counter() - start)
