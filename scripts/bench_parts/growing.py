"""Training: seconds a tree with the default settings, and what they go into."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench_parts.harness import Contender, Figure, interleaved, single_figure
from bench_parts.scene import SEED, Scene
from vertloc.stages.context_features import (
    FeaturePool,
    box_corners,
    draw_feature_pool,
    feature_values,
    make_integral_image,
)
from vertloc.stages.forest_growing import grow_classification_tree
from vertloc.stages.sampling import class_weights


def measure_training(scene: Scene) -> list[Figure]:
    """Grow single trees of the default classifier on one thread, from all the scans."""
    settings, features = scene.config.forest, scene.config.features
    pool = draw_feature_pool(settings.features_per_tree, features, np.random.default_rng(SEED))
    weights = class_weights(scene.samples, scene.config.sampling).astype(np.float32)
    mass = np.concatenate([p.labels.probability * p.labels.weight[:, None] * weights for p in scene.samples])
    values = _features(scene, pool)
    contenders = {
        "features": Contender(lambda: _features(scene, pool), scene.repeats(3), warm_up=False),
        "growth": Contender(
            lambda: grow_classification_tree(values, mass, pool, settings, np.random.default_rng(SEED)),
            scene.repeats(3),
        ),
    }
    times = interleaved(contenders)
    feature_seconds, growth_seconds = times["features"].seconds, times["growth"].seconds
    both = [a + b for a, b in zip(feature_seconds, growth_seconds, strict=True)]
    share = [100 * a / c for a, c in zip(feature_seconds, both, strict=True)]
    what = f"{len(scene.training_scans)} scans, {len(values)} samples, {len(pool)} features, one thread"
    return [
        single_figure("training: a tree of the default classifier", both, "s", note=what),
        single_figure("of that, feature values (the rest is scikit-learn's fit)", share, "%"),
    ]


def _features(scene: Scene, pool: FeaturePool) -> NDArray[np.float32]:
    parts = []
    for scan, samples in zip(scene.training_scans, scene.samples, strict=True):
        image = make_integral_image(scan.volume, scene.config.features)
        corners, scales = box_corners(pool, scan.volume.spacing_mm, image)
        parts.append(feature_values(image, image.positions(*samples.index.T), corners, scales))
    return np.concatenate(parts)
