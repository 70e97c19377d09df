"""Labelled samples -> a forest, a tree at a time.

By default every tree has its own pool of context features and its own patients, which makes the trees differ at bounded
memory: only the feature columns of the trees that grow at the same time exist, 2 bytes a sample and feature, and a tree
has at most `samples_per_tree` samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import TrainingError
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    FeaturePool,
    draw_feature_pool,
    fill_feature_columns,
    make_integral_image,
)
from vertloc.stages.forest import FlatForest, join_forests
from vertloc.stages.sampling import CentreSamples, Samples, TrainingScan
from vertloc.stages.tree_growing import ForestSettings, grow_centre_tree, grow_classification_tree
from vertloc.workers import run_pieces

TreeMaker = Callable[
    [NDArray[np.int16], NDArray[np.float32], FeaturePool, ForestSettings, np.random.Generator], FlatForest
]
"""From (F, n) feature columns, (n, K) targets, the pool, the settings and a generator to one tree."""

FeatureSource = Callable[[NDArray[np.int64], np.random.Generator], tuple[FeaturePool, NDArray[np.int16]]]
"""From the rows of a tree's samples and its generator to its pool and the (F, n) feature columns."""


def grow_classification_forest(
    scans: Sequence[TrainingScan],
    samples: Sequence[Samples],
    weights: NDArray[np.float64],
    feature_settings: ContextFeatureSettings,
    settings: ForestSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
    on_tree: Callable[[], None] | None = None,
) -> FlatForest:
    """Grow a forest that tells which vertebra a voxel belongs to; leaves are (27,) class distributions.

    samples : one per scan; weights : (27,) from `class_weights`; on_tree : called after each tree
    """
    targets = [part.labels.probability * part.labels.weight[:, None] * weights.astype(np.float32) for part in samples]
    indices = [part.index for part in samples]
    return _grow(
        grow_classification_tree, scans, indices, targets, feature_settings, settings, seed, n_threads, on_tree
    )


def grow_centre_forest(
    scans: Sequence[TrainingScan],
    samples: Sequence[CentreSamples],
    feature_settings: ContextFeatureSettings,
    settings: ForestSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
    on_tree: Callable[[], None] | None = None,
) -> FlatForest:
    """Grow a forest that tells where the nearest centroid is; leaves are (4,): mean displacement (x, y, z) mm, weight.

    The weight of a leaf's vote is (1 + mean squared deviation per axis of its samples / (2 mm)^2)^-2: unsure leaves
    point between two vertebrae, and would join their modes.
    """
    indices = [part.index for part in samples]
    targets = [part.displacement_mm for part in samples]
    return _grow(grow_centre_tree, scans, indices, targets, feature_settings, settings, seed, n_threads, on_tree)


def _grow(
    make: TreeMaker,
    scans: Sequence[TrainingScan],
    indices: Sequence[NDArray[np.int64]],
    targets: Sequence[NDArray[np.float32]],
    feature_settings: ContextFeatureSettings,
    settings: ForestSettings,
    seed: np.random.SeedSequence,
    n_threads: int,
    on_tree: Callable[[], None] | None,
) -> FlatForest:
    """Grow all trees, each from its own child of `seed`: the forest does not depend on the number of threads.

    Raises TrainingError if no scan has any sample.
    """
    if not any(len(index) for index in indices):
        raise TrainingError(f"none of the {len(scans)} training scans has a voxel to learn from")
    pool_seed, *seeds = seed.spawn(settings.n_trees + 1)
    all_targets = np.concatenate(targets)
    features_of = _feature_source(scans, indices, feature_settings, settings, pool_seed, n_threads)

    def grow(tree: int) -> FlatForest:
        rng = np.random.default_rng(seeds[tree])
        rows = samples_of_some_patients(scans, indices, settings, rng)
        pool, columns = features_of(rows, rng)
        grown = make(columns, all_targets[rows], pool, settings, rng)
        if on_tree is not None:
            on_tree()
        return grown

    return join_forests(run_pieces(grow, settings.n_trees, n_threads))


def samples_of_some_patients(
    scans: Sequence[TrainingScan], samples: Sequence[Sized], settings: ForestSettings, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose a share of the patients that have samples, at least one, and some or all samples of all their scans.

    returns : ascending rows of the samples of all scans behind each other, (n,) int64
    """
    patients = sorted({scan.patient for scan, own in zip(scans, samples, strict=True) if len(own)})
    n_chosen = max(1, round(settings.patient_share * len(patients)))
    chosen = {patients[i] for i in rng.choice(len(patients), n_chosen, replace=False)}
    is_chosen = np.array([scan.patient in chosen for scan in scans])
    rows = np.flatnonzero(np.repeat(is_chosen, [len(own) for own in samples]))
    if len(rows) > settings.samples_per_tree:
        rows = np.sort(rng.choice(rows, settings.samples_per_tree, replace=False))
    return rows


def _feature_source(
    scans: Sequence[TrainingScan],
    indices: Sequence[NDArray[np.int64]],
    feature_settings: ContextFeatureSettings,
    settings: ForestSettings,
    pool_seed: np.random.SeedSequence,
    n_threads: int,
) -> FeatureSource:
    """Return what gives a tree its pool and its feature columns; a shared pool is evaluated here, once."""
    first = np.cumsum([0, *(len(index) for index in indices)])

    def columns_of(rows: NDArray[np.int64], pool: FeaturePool, n_threads: int) -> NDArray[np.int16]:
        columns = np.empty((len(pool), len(rows)), np.int16)
        ends = np.searchsorted(rows, first)

        def fill(i: int) -> None:
            begin, end = ends[i], ends[i + 1]
            if begin < end:
                index = indices[i][rows[begin:end] - first[i]]
                image = make_integral_image(scans[i].volume, feature_settings)
                positions = image.positions(*index.T)
                fill_feature_columns(image, positions, pool, scans[i].volume.spacing_mm, columns[:, begin:end])

        run_pieces(fill, len(scans), n_threads)
        return columns

    n_features = settings.features_per_tree
    if settings.pool == "shared":
        shared = draw_feature_pool(n_features, feature_settings, np.random.default_rng(pool_seed))
        everything = columns_of(np.arange(first[-1]), shared, n_threads)
        return lambda rows, _: (shared, everything if len(rows) == first[-1] else everything[:, rows])

    def own_pool(rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[FeaturePool, NDArray[np.int16]]:
        pool = draw_feature_pool(n_features, feature_settings, rng)
        return pool, columns_of(rows, pool, 1)

    return own_pool
