"""Views of training scans -> a forest, a tree at a time; one way for both forests.

A forest is planned by what its trees learn (`TreeMaker`), from which features, and how they grow. Every tree sees
samples of its own share of the patients. Its features are its own, which makes trees differ at bounded memory: only the
columns of the trees that grow at the same time exist, 2 bytes a sample and feature. Or all trees share one pool, which
is evaluated once at all samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
from vertloc.stages.leaves import Leaves
from vertloc.stages.sampling import TrainingView
from vertloc.stages.tree_growing import ForestSettings
from vertloc.workers import run_pieces

TreeMaker = Callable[
    [NDArray[np.int16], NDArray[np.float32], FeaturePool, ForestSettings, np.random.Generator], FlatForest
]
"""From (F, n) feature columns, (n, K) targets, the pool, the settings and a generator to one tree."""


@dataclass(frozen=True)
class ForestPlan:
    """What kind of forest is to grow.

    make_tree : `grow_classification_tree` or `grow_centre_tree`; round_leaves : what makes its leaves small
    pool_seed : of a shared pool; tree_seeds : one a tree
    """

    make_tree: TreeMaker
    round_leaves: Callable[[NDArray[Any]], Leaves]
    features: ContextFeatureSettings
    settings: ForestSettings
    pool_seed: np.random.SeedSequence
    tree_seeds: Sequence[np.random.SeedSequence]


def grow_forest(
    views: Sequence[TrainingView], plan: ForestPlan, n_threads: int = 1, on_tree: Callable[[], None] = lambda: None
) -> FlatForest:
    """Grow all trees, each from its own seed: the forest does not depend on the number of threads.

    on_tree : called after each tree
    Raises TrainingError if no view has any sample.
    """
    if not any(len(view.index) for view in views):
        raise TrainingError(f"none of the {len(views)} views of the training scans has a voxel to learn from")
    settings = plan.settings
    targets = np.concatenate([view.targets for view in views])
    shared = None
    if settings.share_features:
        shared = draw_feature_pool(settings.features_per_tree, plan.features, np.random.default_rng(plan.pool_seed))
        everything = view_columns(views, np.arange(len(targets)), shared, n_threads)

    def grow(tree: int) -> FlatForest:
        rng = np.random.default_rng(plan.tree_seeds[tree])
        rows = samples_of_some_patients(views, settings, rng)
        if shared is None:
            pool = draw_feature_pool(settings.features_per_tree, plan.features, rng)
            columns = view_columns(views, rows, pool, 1)
        else:
            pool, columns = shared, everything if len(rows) == len(targets) else everything[:, rows]
        grown = plan.make_tree(columns, targets[rows], pool, settings, rng)
        on_tree()
        return grown.with_leaf_values(plan.round_leaves(grown.rows()))

    return join_forests(run_pieces(grow, settings.n_trees, n_threads))


def samples_of_some_patients(
    views: Sequence[TrainingView], settings: ForestSettings, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose a share of the patients that have samples, at least one, and some or all samples of all their views.

    returns : ascending rows of the samples of all views behind each other, (n,) int64
    """
    patients = sorted({view.patient for view in views if len(view.index)})
    n_chosen = max(1, round(settings.patient_share * len(patients)))
    chosen = {patients[i] for i in rng.choice(len(patients), n_chosen, replace=False)}
    is_chosen = np.array([view.patient in chosen for view in views])
    rows = np.flatnonzero(np.repeat(is_chosen, [len(view.index) for view in views]))
    if len(rows) > settings.samples_per_tree:
        rows = np.sort(rng.choice(rows, settings.samples_per_tree, replace=False))
    return rows


def view_columns(
    views: Sequence[TrainingView], rows: NDArray[np.int64], pool: FeaturePool, n_threads: int
) -> NDArray[np.int16]:
    """Evaluate a pool at some samples: (F, n) int16.

    rows : ascending, of the samples of all views behind each other
    """
    first = np.cumsum([0, *(len(view.index) for view in views)])
    ends = np.searchsorted(rows, first)
    columns = np.empty((len(pool), len(rows)), np.int16)

    def fill(i: int) -> None:
        here = slice(ends[i], ends[i + 1])
        if here.start < here.stop:
            _fill_view_columns(views[i], rows[here] - first[i], pool, columns[:, here])

    run_pieces(fill, len(views), n_threads)
    return columns


def _fill_view_columns(view: TrainingView, rows: NDArray[np.int64], pool: FeaturePool, out: NDArray[np.int16]) -> None:
    """Fill `out`, (F, n), with the features of some samples of a view, each in its own frame."""
    image = make_integral_image(view.volume, pool.rule)
    positions = image.positions(*view.index[rows].T)
    if view.frame is None or view.frames is None:
        fill_feature_columns(image, positions, pool, view.volume.spacing_mm, out)
        return
    frame = view.frame[rows]
    for k in np.unique(frame):
        here = np.flatnonzero(frame == k)
        own = np.empty((len(pool), len(here)), np.int16)
        fill_feature_columns(image, positions[here], pool, view.volume.spacing_mm, own, view.frames[k])
        out[:, here] = own
