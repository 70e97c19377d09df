"""Feature columns + targets -> one tree, by the growing kernel or by scikit-learn.

A tree of the classification forest is grown on labels drawn from the soft labels; its leaves then hold the mean soft
label of all samples that fall into them. A tree of the centre forest is grown on the displacement to the nearest
centroid; its leaves hold the mean displacement and how sure it is.

Both growers see the same columns, in whole steps of a Hounsfield unit's eighth, and end in the same flat arrays. The
kernel grows extremely randomised trees by the Gini impurity or the variance, several times faster than scikit-learn,
which also grows trees with the best of all thresholds, and by the entropy.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.kernels.grow import grow_tree
from vertloc.settings import CHECKED
from vertloc.stages.context_features import FeaturePool, thresholds_in_hu
from vertloc.stages.dense_labels import N_CLASSES
from vertloc.stages.forest import FlatForest, flatten_tree

Thresholds = Literal["random", "best"]
Grower = Literal["vertloc", "scikit-learn"]

_SURE_DEVIATION_MM = 2.0
_LARGEST_SUM = 2**30
"""Targets are scaled to whole numbers whose sums stay below this."""


@checked(frozen=True, config=CHECKED)
class ForestSettings:
    """How the trees grow.

    n_trees : more is steadier, and slower in proportion
    max_depth : deepest level of a leaf
    min_samples_leaf : fewest samples in a leaf; less remembers single patients
    features_per_tree : features that a tree has to choose from
    share_features : true: all trees choose from the same features, evaluated once at all samples; false: every tree
        draws its own, which makes trees differ at bounded memory
    features_per_node : how many of a tree's features compete at a node
    grower : our own kernel ("vertloc"), several times faster, or "scikit-learn"
    thresholds : "random" (one random threshold a feature, extremely randomised trees) or "best" (all thresholds), which
        only scikit-learn grows
    patient_share : share of the patients that a tree sees; scans of one patient stay together
    samples_per_tree : most samples of a tree, drawn from all of its patients. Its feature columns take 2 bytes times
        features_per_tree for each
    """

    n_trees: Annotated[int, Field(ge=1, le=10_000)] = 14
    max_depth: Annotated[int, Field(ge=1, le=100)] = 24
    min_samples_leaf: Annotated[int, Field(ge=1, le=100_000)] = 4
    features_per_tree: Annotated[int, Field(ge=1, le=100_000)] = 400
    share_features: bool = False
    features_per_node: Annotated[int, Field(ge=1, le=100_000)] = 60
    grower: Grower = "vertloc"
    thresholds: Thresholds = "random"
    patient_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    samples_per_tree: Annotated[int, Field(ge=1, le=100_000_000)] = 500_000

    def __post_init__(self) -> None:
        if self.features_per_node > self.features_per_tree:
            found = f"features_per_node {self.features_per_node}, features_per_tree {self.features_per_tree}"
            raise ValueError(f"features_per_node <= features_per_tree must hold, got {found}")
        if self.thresholds == "best" and self.grower != "scikit-learn":
            raise ValueError(f"thresholds 'best' needs the grower 'scikit-learn', got {self.grower!r}")


def grow_classification_tree(
    columns: NDArray[np.int16],
    mass: NDArray[np.float32],
    pool: FeaturePool,
    settings: ForestSettings,
    rng: np.random.Generator,
) -> FlatForest:
    """Grow one tree on soft labels.

    columns : (F, n) int16, from `fill_feature_columns`
    mass : (n, 27) float32 class mass of each sample; its sum, above 0, is the sample's weight
    """
    # One label a sample, drawn in proportion to its mass; the tree's own draw adds variety.
    cumulative = np.cumsum(mass, axis=1)
    drawn = (cumulative < (rng.random(len(mass)) * cumulative[:, -1])[:, None]).sum(axis=1)
    classes, weights = np.minimum(drawn, N_CLASSES - 1).astype(np.uint8), cumulative[:, -1]
    if settings.grower == "scikit-learn":
        from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

        kind = ExtraTreeClassifier if settings.thresholds == "random" else DecisionTreeClassifier
        tree = kind(criterion="entropy", **_scikit_learn_arguments(settings, pool, rng))
        flat, leaves = _fitted(tree, columns, pool, classes, sample_weight=weights)
    else:
        scaled = np.rint(weights.astype(np.float64) * (_LARGEST_SUM / weights.sum(dtype=np.float64)))
        flat, leaves = _grown(columns, classes, np.maximum(scaled, 1)[:, None], pool, settings, rng)
    sums = _leaf_sums(leaves, mass, len(flat.leaf_values))
    return flat.with_leaf_values((sums / sums.sum(axis=1, keepdims=True)).astype(np.float32))


def grow_centre_tree(
    columns: NDArray[np.int16],
    displacement_mm: NDArray[np.float32],
    pool: FeaturePool,
    settings: ForestSettings,
    rng: np.random.Generator,
) -> FlatForest:
    """Grow one tree on (F, n) columns and (n, 3) displacements; leaves are (4,): mean displacement and vote weight."""
    if settings.grower == "scikit-learn":
        from sklearn.tree import DecisionTreeRegressor, ExtraTreeRegressor

        kind = ExtraTreeRegressor if settings.thresholds == "random" else DecisionTreeRegressor
        tree = kind(**_scikit_learn_arguments(settings, pool, rng))
        flat, leaves = _fitted(tree, columns, pool, displacement_mm)
    else:
        largest = max(float(np.abs(displacement_mm).max()), 1.0)
        scaled = np.rint(displacement_mm * np.float64(_LARGEST_SUM / (largest * len(displacement_mm))))
        one_class = np.zeros(len(displacement_mm), np.uint8)
        flat, leaves = _grown(columns, one_class, scaled, pool, settings, rng)
    n = len(flat.leaf_values)
    count = np.bincount(leaves, minlength=n)[:, None]
    mean = _leaf_sums(leaves, displacement_mm, n) / count
    variance = (_leaf_sums(leaves, (displacement_mm - mean[leaves]) ** 2, n) / count).mean(axis=1)
    weight = (1 + variance / _SURE_DEVIATION_MM**2) ** -2.0
    return flat.with_leaf_values(np.column_stack([mean, weight]).astype(np.float32))


def _grown(
    columns: NDArray[np.int16],
    classes: NDArray[np.uint8],
    targets: NDArray[np.float64],
    pool: FeaturePool,
    settings: ForestSettings,
    rng: np.random.Generator,
) -> tuple[FlatForest, NDArray[np.int32]]:
    """Grow a tree with the kernel: the tree, its leaves still without values, and the leaf row of every sample."""
    children, features, steps, leaves = grow_tree(
        columns,
        np.argsort(classes, kind="stable").astype(np.uint32),
        classes,
        targets.astype(np.int32),
        min(settings.features_per_node, len(pool)),
        settings.min_samples_leaf,
        settings.max_depth,
        rng,
    )
    return _flat(children, features, steps, pool), leaves


def _scikit_learn_arguments(settings: ForestSettings, pool: FeaturePool, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "max_depth": settings.max_depth,
        "min_samples_leaf": settings.min_samples_leaf,
        "max_features": min(settings.features_per_node, len(pool)),
        "random_state": int(rng.integers(2**31)),
    }


def _fitted(
    tree: Any, columns: NDArray[np.int16], pool: FeaturePool, targets: NDArray[Any], **weights: NDArray[np.float32]
) -> tuple[FlatForest, NDArray[np.int32]]:
    """Fit a scikit-learn tree: what `_grown` returns."""
    values = np.ascontiguousarray(columns.T, dtype=np.float32)
    tree.fit(values, targets, **weights)
    flat = flatten_tree(tree.tree_, pool)
    leaves = flat.children[tree.apply(values), 1]
    # Values are whole steps, so that a threshold between two of them may be rounded down.
    return _flat(flat.children, flat.features, np.floor(flat.thresholds).astype(np.int16), pool), leaves


def _flat(
    children: NDArray[np.int32], features: NDArray[np.int32], steps: NDArray[np.int16], pool: FeaturePool
) -> FlatForest:
    is_leaf = children[:, 0] < 0
    thresholds = np.where(is_leaf, np.float32(0), thresholds_in_hu(steps))
    empty = np.empty((int(is_leaf.sum()), 0), np.float32)
    return FlatForest(np.zeros(1, np.int64), children, features, thresholds, empty, pool)


def _leaf_sums(leaves: NDArray[np.int32], rows: NDArray[Any], n_leaves: int) -> NDArray[np.float64]:
    """Sum the rows (n, K) of the samples of each leaf: (leaves, K)."""
    columns = [np.bincount(leaves, weights=column, minlength=n_leaves) for column in rows.T]
    return np.stack(columns, axis=1)
