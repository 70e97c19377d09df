"""Labelled samples -> a forest: scikit-learn grows the trees, flat arrays keep them.

By default every tree has its own pool of context features and its own patients, which makes the trees differ at bounded
memory: only the feature matrices of the trees that grow at the same time exist.

A tree of the classification forest is grown on labels drawn from the soft labels; its leaves then hold the mean soft
label of all samples that fall into them. A tree of the centre forest is grown on the displacement to the nearest
centroid; its leaves hold the mean displacement and how sure it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import TrainingError
from vertloc.kernels.jit import run_pieces
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    FeaturePool,
    box_corners,
    draw_feature_pool,
    feature_values,
    make_integral_image,
)
from vertloc.stages.dense_labels import N_CLASSES
from vertloc.stages.forest import FlatForest, flatten_tree, join_forests
from vertloc.stages.sampling import CentreSamples, Samples, TrainingScan

Thresholds = Literal["random", "best"]
PoolRule = Literal["per_tree", "shared"]

_SURE_DEVIATION_MM = 2.0


@dataclass(frozen=True)
class ForestSettings:
    """How the trees grow.

    n_trees : number of trees
    max_depth : deepest level of a leaf
    min_samples_leaf : fewest samples in a leaf
    features_per_tree : size of a feature pool
    pool : "per_tree" (every tree draws its own pool: variety at bounded memory) or "shared" (one pool for all trees)
    features_per_node : how many of them compete at a node
    thresholds : "random" (one random threshold a feature, extremely randomised trees) or "best" (all thresholds)
    patient_share : share of the patients that a tree sees; the others are its out-of-bag patients
    """

    n_trees: int = 20
    max_depth: int = 24
    min_samples_leaf: int = 4
    features_per_tree: int = 400
    pool: PoolRule = "per_tree"
    features_per_node: int = 60
    thresholds: Thresholds = "random"
    patient_share: float = 0.75

    def __post_init__(self) -> None:
        for name, low, high in (
            ("n_trees", 1, 10_000),
            ("max_depth", 1, 100),
            ("min_samples_leaf", 1, 100_000),
            ("features_per_tree", 1, 100_000),
            ("features_per_node", 1, self.features_per_tree),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie within {low} and {high}, got {getattr(self, name)}")
        if self.thresholds not in ("random", "best"):
            raise ValueError(f"thresholds must be 'random' or 'best', got {self.thresholds!r}")
        if self.pool not in ("per_tree", "shared"):
            raise ValueError(f"pool must be 'per_tree' or 'shared', got {self.pool!r}")
        if not 0 < self.patient_share <= 1:
            raise ValueError(f"patient_share must lie between 0 and 1, got {self.patient_share}")


TreeMaker = Callable[[NDArray[np.float32], NDArray[np.float32], FeaturePool, np.random.Generator], FlatForest]
"""From (n, F) feature values, (n, K) targets, the pool and a generator to one tree."""

FeatureSource = Callable[[Sequence[int], np.random.Generator], tuple[FeaturePool, NDArray[np.float32]]]
"""From the rows of a tree's scans and its generator to its pool and the (n, F) feature values of all their samples."""


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

    def make(
        values: NDArray[np.float32], mass: NDArray[np.float32], pool: FeaturePool, rng: np.random.Generator
    ) -> FlatForest:
        return grow_classification_tree(values, mass, pool, settings, rng)

    indices = [part.index for part in samples]
    return _grow(make, scans, indices, targets, feature_settings, settings, seed, n_threads, on_tree)


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

    def make(
        values: NDArray[np.float32], target: NDArray[np.float32], pool: FeaturePool, rng: np.random.Generator
    ) -> FlatForest:
        return _centre_tree(values, target, pool, settings, rng)

    indices = [part.index for part in samples]
    targets = [part.displacement_mm for part in samples]
    return _grow(make, scans, indices, targets, feature_settings, settings, seed, n_threads, on_tree)


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
    features_of = _feature_source(scans, indices, feature_settings, settings, pool_seed, n_threads)

    def grow(tree: int) -> FlatForest:
        rng = np.random.default_rng(seeds[tree])
        rows = scans_of_some_patients(scans, indices, settings.patient_share, rng)
        pool, values = features_of(rows, rng)
        grown = make(values, np.concatenate([targets[i] for i in rows]), pool, rng)
        if on_tree is not None:
            on_tree()
        return grown

    return join_forests(run_pieces(grow, settings.n_trees, n_threads))


def scans_of_some_patients(
    scans: Sequence[TrainingScan], samples: Sequence[Sized], share: float, rng: np.random.Generator
) -> list[int]:
    """Choose a share of the patients that have samples, at least one, and return the rows of all their scans."""
    patients = sorted({scan.patient for scan, own in zip(scans, samples, strict=True) if len(own)})
    n_chosen = max(1, round(share * len(patients)))
    chosen = {patients[i] for i in rng.choice(len(patients), n_chosen, replace=False)}
    return [i for i, scan in enumerate(scans) if scan.patient in chosen]


def _feature_source(
    scans: Sequence[TrainingScan],
    indices: Sequence[NDArray[np.int64]],
    feature_settings: ContextFeatureSettings,
    settings: ForestSettings,
    pool_seed: np.random.SeedSequence,
    n_threads: int,
) -> FeatureSource:
    """Return what gives a tree its pool and the feature values of its scans; a shared pool is evaluated here, once."""
    n_features = settings.features_per_tree
    if settings.pool == "shared":
        shared = draw_feature_pool(n_features, feature_settings, np.random.default_rng(pool_seed))
        parts = run_pieces(
            lambda i: _sample_features(scans[i], indices[i], shared, feature_settings), len(scans), n_threads
        )
        return lambda rows, _: (shared, np.concatenate([parts[i] for i in rows]))

    def own_pool(rows: Sequence[int], rng: np.random.Generator) -> tuple[FeaturePool, NDArray[np.float32]]:
        pool = draw_feature_pool(n_features, feature_settings, rng)
        return pool, np.concatenate([_sample_features(scans[i], indices[i], pool, feature_settings) for i in rows])

    return own_pool


def _sample_features(
    scan: TrainingScan, index: NDArray[np.int64], pool: FeaturePool, settings: ContextFeatureSettings
) -> NDArray[np.float32]:
    image = make_integral_image(scan.volume, settings)
    corners, scales = box_corners(pool, scan.volume.spacing_mm, image)
    return feature_values(image, image.positions(*index.T), corners, scales)


def grow_classification_tree(
    values: NDArray[np.float32],
    mass: NDArray[np.float32],
    pool: FeaturePool,
    settings: ForestSettings,
    rng: np.random.Generator,
) -> FlatForest:
    """Grow one tree on feature values and soft labels.

    values : (n, F) float32; mass : (n, 27) float32 class mass of each sample, its sum is the sample's weight
    """
    from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

    # One label a sample, drawn in proportion to its mass; the tree's own draw adds variety.
    cumulative = np.cumsum(mass, axis=1)
    drawn = (cumulative < (rng.random(len(mass)) * cumulative[:, -1])[:, None]).sum(axis=1)
    kind = ExtraTreeClassifier if settings.thresholds == "random" else DecisionTreeClassifier
    tree = kind(
        criterion="entropy",
        max_depth=settings.max_depth,
        min_samples_leaf=settings.min_samples_leaf,
        max_features=min(settings.features_per_node, len(pool)),
        random_state=int(rng.integers(2**31)),
    ).fit(values, np.minimum(drawn, N_CLASSES - 1), sample_weight=cumulative[:, -1])
    flat = flatten_tree(tree.tree_, pool)
    sums = _leaf_sums(flat, tree.apply(values), mass)
    return flat.with_leaf_values((sums / sums.sum(axis=1, keepdims=True)).astype(np.float32))


def _centre_tree(
    values: NDArray[np.float32],
    displacement_mm: NDArray[np.float32],
    pool: FeaturePool,
    settings: ForestSettings,
    rng: np.random.Generator,
) -> FlatForest:
    """Grow one tree on (n, F) feature values and (n, 3) displacements."""
    from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor

    kind = ExtraTreeRegressor if settings.thresholds == "random" else DecisionTreeRegressor
    tree = kind(
        max_depth=settings.max_depth,
        min_samples_leaf=settings.min_samples_leaf,
        max_features=min(settings.features_per_node, len(pool)),
        random_state=int(rng.integers(2**31)),
    ).fit(values, displacement_mm)
    flat = flatten_tree(tree.tree_, pool)
    variance = tree.tree_.impurity[tree.tree_.children_left < 0]
    weight = (1 + np.maximum(variance, 0) / _SURE_DEVIATION_MM**2) ** -2.0
    return flat.with_leaf_values(np.column_stack([flat.leaf_values, weight]).astype(np.float32))


def _leaf_sums(forest: FlatForest, leaf_node: NDArray[np.int64], mass: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum the rows of `mass` (n, K) over the samples of each leaf: (leaves, K)."""
    rows = forest.children[leaf_node, 1]
    columns = [np.bincount(rows, weights=column, minlength=len(forest.leaf_values)) for column in mass.T]
    return np.stack(columns, axis=1)
