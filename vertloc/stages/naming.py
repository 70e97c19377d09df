"""Centres + a first chain -> named candidates again, this time seen from the spine.

The first forest names voxels wherever they are, in the patient's frame. Once a chain is found, place, direction and
size of the spine are known, and the question becomes easier: which vertebra is centred *here*, on a spine that runs
*this* way, in a patient of *this* size? A third forest answers it. It is trained at annotated centroids, with features
whose offsets and sizes are measured in the spine's frame, and has a class for centres that are none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Points
from vertloc.stages.centroid_density import Candidates
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    FeaturePool,
    box_corners,
    draw_feature_pool,
    fill_feature_columns,
    make_integral_image,
)
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.forest import FlatForest, forest_sums, join_forests
from vertloc.stages.forest_growing import samples_of_some_patients
from vertloc.stages.naming_samples import NamingSampleSettings, NamingView, draw_naming_views
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingScan
from vertloc.stages.shape_labelling import Labelling
from vertloc.stages.shape_model import ShapeModel
from vertloc.stages.spine_frame import nearest_frames, spine_frames
from vertloc.stages.tree_growing import ForestSettings, grow_classification_tree
from vertloc.workers import run_pieces

# A centre is named by the mean answer at its voxel and the six around it.
_AROUND = np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], np.int64)


@dataclass(frozen=True)
class NamingSettings:
    """How centres are named in the spine's frame.

    use_naming : False leaves out this step; the first chain is then the result
    pool_features : number of features of the whole forest; each tree draws its own from them
    balance : 0 keeps the frequencies of the vertebrae in the training scans, 1 gives all the same weight
    smallest_probability : a centre is no candidate for a vertebra less probable than this
    """

    use_naming: bool = True
    pool_features: int = 2400
    balance: float = 0.5
    smallest_probability: float = 0.001

    def __post_init__(self) -> None:
        for name, low, high in (
            ("pool_features", 1, 100_000),
            ("balance", 0, 1),
            ("smallest_probability", 1e-6, 0.5),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie within {low} and {high}, got {getattr(self, name)}")


def name_in_spine_frame(
    volume: IsotropicVolume,
    places_mm: Points,
    first: Labelling,
    forest: FlatForest,
    shape: ShapeModel,
    feature_settings: ContextFeatureSettings,
    settings: NamingSettings,
) -> Candidates:
    """Let every place be a candidate of every vertebra that the forest finds possible there.

    places_mm : (n, 3) world, where a vertebra may be centred; first : the chain found before, not empty
    The candidates' density is the forest's probability.
    """
    chain_mm = first.centroids.points_mm
    frames = nearest_frames(places_mm, chain_mm, spine_frames(chain_mm, first.ranks, shape))
    index = np.rint(volume.grid.to_index(places_mm)).astype(np.int64)
    around = np.clip(index[:, None] + _AROUND, 0, np.array(volume.voxels.shape) - 1)
    z_first = int(around[..., 0].min(initial=volume.voxels.shape[0] - 1))
    z_last = int(around[..., 0].max(initial=z_first))
    image = make_integral_image(volume, feature_settings, z_first, z_last - z_first + 1)
    probability = np.empty((len(index), N_CLASSES))
    # Places with the nearest member of the chain in common share its frame, and the boxes turned into it.
    different, which = np.unique(frames.reshape(-1, 9), axis=0, return_inverse=True)
    for k, frame in enumerate(different.reshape(-1, 3, 3)):
        here = np.flatnonzero(which == k)
        corners, scales = box_corners(forest.pool.transformed(frame), volume.spacing_mm, image)
        sums = forest_sums(image, image.positions(*around[here].reshape(-1, 3).T), forest, corners, scales)
        sums = sums.reshape(len(here), len(_AROUND), N_CLASSES)
        probability[here] = sums.mean(axis=1, dtype=np.float64) / forest.n_trees
    vertebrae = probability[:, BACKGROUND + 1 :]
    rank, place = np.nonzero(settings.smallest_probability <= vertebrae.T)
    order = np.lexsort((-vertebrae[place, rank], rank))
    rank, place = rank[order], place[order]
    return Candidates(rank.astype(np.int64), places_mm[place], vertebrae[place, rank])


def grow_naming_forest(
    scans: Sequence[TrainingScan],
    shape: ShapeModel,
    feature_settings: ContextFeatureSettings,
    sample_settings: NamingSampleSettings,
    settings: NamingSettings,
    forest_settings: ForestSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
    on_tree: Callable[[], None] | None = None,
) -> FlatForest:
    """Grow the forest that names centres; leaves are (27,) class distributions, background first."""
    pool_seed, sample_seed, tree_seed = seed.spawn(3)
    pool = draw_feature_pool(settings.pool_features, feature_settings, np.random.default_rng(pool_seed))
    scan_seeds, tree_seeds = sample_seed.spawn(len(scans)), tree_seed.spawn(forest_settings.n_trees)

    def sample(i: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        views = draw_naming_views(scans[i], shape, sample_settings, np.random.default_rng(scan_seeds[i]))
        # A scan without any of the 26 vertebrae has no view.
        columns = [np.empty((len(pool), 0), np.int16), *(_view_columns(v, pool, feature_settings) for v in views)]
        classes = [np.empty(0, np.uint8), *(view.classes for view in views)]
        return np.concatenate(columns, axis=1), np.concatenate(classes)

    parts = run_pieces(sample, len(scans), n_threads)
    columns, classes = np.concatenate([part[0] for part in parts], axis=1), np.concatenate([part[1] for part in parts])
    classes_of_scans = [part[1] for part in parts]
    del parts
    class_weights = _balance(classes, settings.balance)

    def grow(tree: int) -> FlatForest:
        rng = np.random.default_rng(tree_seeds[tree])
        chosen = rng.choice(len(pool), min(forest_settings.features_per_tree, len(pool)), replace=False)
        rows = samples_of_some_patients(scans, classes_of_scans, forest_settings, rng)
        mass = np.eye(N_CLASSES, dtype=np.float32)[classes[rows]] * class_weights
        own_columns = columns[chosen] if len(rows) == len(classes) else columns[np.ix_(chosen, rows)]
        own = grow_classification_tree(own_columns, mass, pool.some(chosen), forest_settings, rng)
        if on_tree is not None:
            on_tree()
        return own.with_features(chosen[own.features].astype(np.int32), pool)

    return join_forests(run_pieces(grow, forest_settings.n_trees, n_threads))


def _view_columns(view: NamingView, pool: FeaturePool, feature_settings: ContextFeatureSettings) -> NDArray[np.int16]:
    """Feature columns of a view's samples, each in its own frame: (F, n) int16."""
    image = make_integral_image(view.volume, feature_settings)
    columns = np.empty((len(pool), len(view.index)), np.int16)
    for k, frame in enumerate(view.frames):
        rows = np.flatnonzero(view.frame == k)
        own = np.empty((len(pool), len(rows)), np.int16)
        positions = image.positions(*view.index[rows].T)
        fill_feature_columns(image, positions, pool, view.volume.spacing_mm, own, frame)
        columns[:, rows] = own
    return columns


def _balance(classes: NDArray[np.uint8], balance: float) -> NDArray[np.float32]:
    """Weight of each class: its frequency to the power of minus `balance`."""
    share = np.bincount(classes, minlength=N_CLASSES) / len(classes)
    weights = np.zeros(N_CLASSES)
    weights[share > 0] = share[share > 0] ** -balance
    return weights.astype(np.float32)
