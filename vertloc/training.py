"""Annotated cases -> a model, in the order of the data flow."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vertloc
from vertloc.annotation_check import annotation_problem
from vertloc.centroids import Centroids
from vertloc.cohorts.case import Case
from vertloc.config import CentreForestSettings, ClassifierSettings, Config
from vertloc.errors import LandmarkError, TrainingError
from vertloc.io.landmarks.registry import read_centroids
from vertloc.model import Model, Provenance
from vertloc.stages.discriminant import learn_discriminant
from vertloc.stages.forest_growing import ForestPlan, TreeMaker, grow_forest
from vertloc.stages.leaves import Leaves, rounded_votes, sparse_distributions
from vertloc.stages.naming_samples import naming_views
from vertloc.stages.preprocess_cache import read_preprocessed
from vertloc.stages.sampling import TrainingScan, centre_views, classification_views
from vertloc.stages.shape_model import learn_shape_model
from vertloc.stages.tree_growing import grow_centre_tree, grow_classification_tree
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
    sample_seed, classifier_seed, centre_seed, naming_seed = np.random.SeedSequence(seed).spawn(4)
    shape = learn_shape_model([scan.centroids for scan in scans], config.shape)
    with _timed("grow the classification forest"):
        views = classification_views(scans, config.labels, config.classifier.samples, sample_seed, n_jobs)
        plan = _plan(config.classifier, classifier_seed, grow_classification_tree, sparse_distributions)
        classifier = grow_forest(views, plan, n_jobs, progress)
    centre_forest = None
    if config.centres.grow:
        with _timed("grow the centre forest"):
            views = centre_views(scans, config.labels, config.centres.samples, sample_seed, n_jobs)
            plan = _plan(config.centres, centre_seed, grow_centre_tree, rounded_votes)
            centre_forest = grow_forest(views, plan, n_jobs, progress)
    discriminant = None
    if config.naming.learn:
        with _timed("learn the naming discriminant"):
            pool_seed, view_seed = naming_seed.spawn(2)
            views = naming_views(scans, shape, config.naming.samples, view_seed, n_jobs)
            how = (config.naming.features, config.naming.discriminant)
            discriminant = learn_discriminant(views, *how, pool_seed, n_jobs)
            progress()
    provenance = Provenance(
        vertloc=vertloc.__version__,
        seed=seed,
        n_scans=len(scans),
        n_patients=len({scan.patient for scan in scans}),
        folds=tuple(folds),
        labels={label: labels[label] for label in RANK if label in labels},
        configuration=config.as_yaml(),
    )
    radius_factor = config.labels.radius_factor
    parts = (classifier, centre_forest, discriminant, shape)
    return Model(config.preprocess, radius_factor, config.prediction, *parts, provenance)


def n_training_steps(n_cases: int, config: Config) -> int:
    """Return how often `train` calls its `progress`."""
    centre_trees = config.centres.forest.n_trees * config.centres.grow
    return n_cases + config.classifier.forest.n_trees + centre_trees + config.naming.learn


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
        centroids = read_centroids(case.landmarks_path, stored_grid)
        if problem := annotation_problem(centroids, stored_grid):
            raise LandmarkError(f"{case.landmarks_path}: {problem}")
        centroids = centroids.to_world(stored_grid)
        centroids = Centroids(centroids.labels, volume.from_world(centroids.points_mm), "world")
        scan = TrainingScan(volume, centroids, case.patient, case.scan)
        progress()
        return scan

    return run_pieces(read, len(cases), n_jobs)


def _plan(
    settings: ClassifierSettings | CentreForestSettings,
    seed: np.random.SeedSequence,
    make_tree: TreeMaker,
    round_leaves: Callable[[NDArray[Any]], Leaves],
) -> ForestPlan:
    pool_seed, *tree_seeds = seed.spawn(settings.forest.n_trees + 1)
    return ForestPlan(make_tree, round_leaves, settings.features, settings.forest, pool_seed, tree_seeds)


@contextmanager
def _timed(what: str, *values: object) -> Iterator[None]:
    start = time.perf_counter()
    yield
    logger.info(what + ": %.1f s", *values, time.perf_counter() - start)
