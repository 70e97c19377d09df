"""Training: seconds a tree with the default settings, what they go into, and how long scikit-learn takes for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench_parts.harness import Contender, Figure, interleaved, single_figure, timed_figure
from bench_parts.scene import SEED, Scene
from vertloc.stages.context_features import (
    FeaturePool,
    box_corners,
    draw_feature_pool,
    feature_values,
    fill_feature_columns,
    make_integral_image,
)
from vertloc.stages.sampling import class_weights
from vertloc.stages.tree_growing import ForestSettings, grow_classification_tree


def measure_training(scene: Scene) -> list[Figure]:
    """Grow single trees of the default classifier on one thread, from all the scans."""
    settings, features = scene.config.classifier.forest, scene.config.classifier.features
    pool = draw_feature_pool(settings.features_per_tree, features, np.random.default_rng(SEED))
    weights = class_weights(scene.samples, scene.config.classifier.samples).astype(np.float32)
    mass = np.concatenate([p.labels.probability * p.labels.weight[:, None] * weights for p in scene.samples])
    columns = _columns(scene, pool)
    with_scikit_learn = replace(settings, grower="scikit-learn")

    def grow_with(how: ForestSettings) -> Contender:
        return Contender(
            lambda: grow_classification_tree(columns, mass, pool, how, np.random.default_rng(SEED)),
            scene.repeats(3),
        )

    times = interleaved(
        {
            "values": Contender(lambda: _values(scene, pool), scene.repeats(3)),
            "columns": Contender(lambda: _columns(scene, pool), scene.repeats(3)),
            "ours": grow_with(settings),
            "theirs": grow_with(with_scikit_learn),
        }
    )
    both = [a + b for a, b in zip(times["columns"].seconds, times["ours"].seconds, strict=True)]
    what = f"{len(scene.training_scans)} scans, {columns.shape[1]} samples, {len(pool)} features, one thread"
    return [
        single_figure("training: a tree of the default classifier", both, "s", note=what),
        timed_figure(
            "of that, feature values",
            times["columns"],
            "every box of every feature on its own",
            times["values"],
        ),
        timed_figure(
            "of that, growing the tree",
            times["ours"],
            "scikit-learn's ExtraTreeClassifier on the same columns",
            times["theirs"],
        ),
    ]


def _columns(scene: Scene, pool: FeaturePool) -> NDArray[np.int16]:
    ends = np.cumsum([0, *(len(samples.index) for samples in scene.samples)])
    columns = np.empty((len(pool), ends[-1]), np.int16)
    for scan, samples, begin, end in zip(scene.training_scans, scene.samples, ends[:-1], ends[1:], strict=True):
        image = make_integral_image(scan.volume, pool.rule)
        positions = image.positions(*samples.index.T)
        fill_feature_columns(image, positions, pool, scan.volume.spacing_mm, columns[:, begin:end])
    return columns


def _values(scene: Scene, pool: FeaturePool) -> NDArray[np.float32]:
    parts = []
    for scan, samples in zip(scene.training_scans, scene.samples, strict=True):
        image = make_integral_image(scan.volume, pool.rule)
        corners, scales = box_corners(pool, scan.volume.spacing_mm, image)
        parts.append(feature_values(image, image.positions(*samples.index.T), corners, scales))
    return np.concatenate(parts)
