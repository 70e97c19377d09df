"""Everything the parts share: training scans, forests, volumes and files, made once a run when first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from vertloc.config import Config
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.localization import Model
from vertloc.model import save_model
from vertloc.phantom.cohort import plan_cohort
from vertloc.phantom.render import render_benchmark_scan, render_scan
from vertloc.phantom.settings import demo_settings
from vertloc.stages.context_features import box_corners, draw_feature_pool, feature_values, make_integral_image
from vertloc.stages.dense_labels import N_CLASSES
from vertloc.stages.forest import FlatForest, flatten_tree, join_forests
from vertloc.stages.preprocess import IsotropicVolume, preprocess
from vertloc.stages.sampling import Samples, TrainingScan, class_weights, draw_samples
from vertloc.training import train_on_scans
from vertloc.volume import Volume

N_THREADS = 2
N_PATIENTS = 8
SEED = 1
CONTEST_TREES, CONTEST_DEPTH, CONTEST_FEATURES = 30, 20, 1000


@dataclass(frozen=True, eq=False)
class Contest:
    """One forest twice: as scikit-learn holds it, and flattened by the project."""

    theirs: ExtraTreesClassifier
    ours: FlatForest


class Scene:
    """The inputs of all measurements.

    folder : temporary, for files; quick : fewer repeats, smaller volumes
    """

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.config = Config()

    def repeats(self, usual: int) -> int:
        """Return how often to measure: `usual`, or about half of it in a quick run."""
        return max(1, usual // 2) if self.quick else usual

    @cached_property
    def training_scans(self) -> list[TrainingScan]:
        """Coarse phantom scans, preprocessed."""
        scans = []
        for plan in plan_cohort(demo_settings(N_PATIENTS), SEED):
            volume, centroids = render_scan(plan.patient, plan.geometry, plan.generator(), plan.scan)
            small = preprocess(volume, self.config.preprocess, N_THREADS)
            scans.append(TrainingScan(small, centroids.to_world(volume.grid), plan.patient_name, plan.scan))
        return scans

    @cached_property
    def samples(self) -> list[Samples]:
        """The classifier's training samples of every scan."""
        rng = np.random.default_rng(SEED)
        settings = self.config.classifier.samples
        return [draw_samples(s, self.config.labels, settings, rng) for s in self.training_scans]

    @cached_property
    def model(self) -> Model:
        """A model with forests of the default size."""
        return train_on_scans(self.training_scans, self.config, SEED, N_THREADS)

    @cached_property
    def model_path(self) -> Path:
        """File of `model`."""
        path = self.folder / "model.npz"
        save_model(self.model, path)
        return path

    @cached_property
    def contest(self) -> Contest:
        """A forest that scikit-learn can apply too: all trees share 1000 features."""
        rng = np.random.default_rng(SEED)
        pool = draw_feature_pool(CONTEST_FEATURES, self.config.classifier.features, rng)
        values = []
        for scan, samples in zip(self.training_scans, self.samples, strict=True):
            image = make_integral_image(scan.volume, pool.rule)
            corners, scales = box_corners(pool, scan.volume.spacing_mm, image)
            values.append(feature_values(image, image.positions(*samples.index.T), corners, scales))
        classes = np.concatenate([_drawn_classes(part, rng) for part in self.samples])
        balance = class_weights(self.samples, self.config.classifier.samples)
        weights = np.concatenate([(p.labels.probability * p.labels.weight[:, None]) @ balance for p in self.samples])
        forest = ExtraTreesClassifier(
            CONTEST_TREES,
            criterion="entropy",
            max_depth=CONTEST_DEPTH,
            min_samples_leaf=self.config.classifier.forest.min_samples_leaf,
            max_features=self.config.classifier.forest.features_per_node,
            random_state=SEED,
            n_jobs=N_THREADS,
        ).fit(np.concatenate(values), classes, weights)
        if len(forest.classes_) != N_CLASSES:
            raise RuntimeError(f"the training scans show {len(forest.classes_)} classes, wanted {N_CLASSES}")
        return Contest(forest, join_forests([flatten_tree(tree.tree_, pool) for tree in forest.estimators_]))

    @cached_property
    def tall_volume(self) -> IsotropicVolume:
        """150 x 64 x 64 voxels of 3 mm."""
        painted = render_benchmark_scan((300, 128, 128), SEED)
        at_half = Volume(painted.voxels, Grid(painted.voxels.shape, (1.5, 1.5, 1.5)))
        volume = preprocess(at_half, self.config.preprocess)
        if volume.voxels.shape != (150, 64, 64):
            raise RuntimeError(f"wanted 150 x 64 x 64 voxels, got {volume.voxels.shape}")
        return volume

    @cached_property
    def contest_volume(self) -> IsotropicVolume:
        """The tall volume; in a quick run its lower half."""
        if not self.quick:
            return self.tall_volume
        voxels = np.ascontiguousarray(self.tall_volume.voxels[:75])
        return IsotropicVolume(voxels, Grid(voxels.shape, self.tall_volume.grid.spacing_mm))  # type: ignore[arg-type]

    @cached_property
    def large_volume(self) -> IsotropicVolume:
        """300 x 256 x 256 voxels of 3 mm: the tall one, repeated."""
        voxels: NDArray[np.int16] = np.tile(self.tall_volume.voxels, (2, 4, 4))
        return IsotropicVolume(voxels, Grid(voxels.shape, self.tall_volume.grid.spacing_mm))  # type: ignore[arg-type]

    @cached_property
    def scan(self) -> Volume:
        """A scan of 300 x 512 x 512 voxels, 157 MB."""
        return render_benchmark_scan((300, 512, 512), SEED)

    @cached_property
    def scan_path(self) -> Path:
        """File of `scan`: mhd and raw."""
        path = self.folder / "scans" / "scan.mhd"
        write_image(self.scan, path)
        return path


def _drawn_classes(samples: Samples, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one hard label for each soft one."""
    cumulative = np.cumsum(samples.labels.probability, axis=1)
    drawn = (cumulative < rng.random(len(cumulative))[:, None] * cumulative[:, -1:]).sum(axis=1)
    return np.minimum(drawn, N_CLASSES - 1)
