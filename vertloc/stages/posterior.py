"""Isotropic volume + forest -> sparse class posterior, without a feature matrix and without a dense posterior.

The volume is worked off in slabs of slices, each with its own padded integral image; a slab in blocks of voxels that
walk down the trees together. Of every voxel only the vertebrae with a noticeable probability are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Grid
from vertloc.kernels.entries import probable_classes
from vertloc.stages.context_features import (
    ContextFeatureSettings,
    IntegralImage,
    box_corners,
    make_integral_image,
    padding,
)
from vertloc.stages.dense_labels import BACKGROUND
from vertloc.stages.forest import FlatForest, forest_sums
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.workers import each_piece

BLOCK_VOXELS = 32768
_SLAB_PADDED_VOXELS = 10_000_000
_FEWEST_SLAB_SLICES = 8
_ENTRIES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class PosteriorSettings:
    """What is kept of the posterior.

    smallest_probability : a vertebra's probability below this counts as zero
    stop_after_trees, stop_background : after every so many trees, a voxel is background for good if the mean background
        probability of the trees so far reaches this; with 0 trees, or above 1, all trees see all voxels
    """

    smallest_probability: float = 0.025
    stop_after_trees: int = 5
    stop_background: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.stop_after_trees <= 10_000:
            raise ValueError(f"stop_after_trees must lie within 0 and 10000, got {self.stop_after_trees}")
        if not 0 < self.stop_background <= 2:
            raise ValueError(f"stop_background must lie within 0 and 2, got {self.stop_background}")
        if not 0 <= self.smallest_probability < 1:
            raise ValueError(f"smallest_probability must lie within 0 and 1, got {self.smallest_probability}")


@dataclass(frozen=True, eq=False)
class Posterior:
    """Where which vertebra is probable, as a list of (voxel, class, probability), ordered by voxel, then class.

    voxel : (m,) flat index into the grid, int32 if the grid's size allows, else int64
    rank : (m,) uint8, 0 = C1 ... 25 = S2; probability : (m,) float32; grid : the isotropic grid
    """

    voxel: NDArray[np.integer[Any]]
    rank: NDArray[np.uint8]
    probability: NDArray[np.float32]
    grid: Grid


Part = tuple[NDArray[np.integer[Any]], NDArray[np.uint8], NDArray[np.float32]]
"""Voxels, ranks and probabilities of some of the volume; see `Posterior`."""


def classify(
    volume: IsotropicVolume,
    forest: FlatForest,
    feature_settings: ContextFeatureSettings,
    settings: PosteriorSettings,
    n_threads: int = 1,
) -> Posterior:
    """Apply a forest to every voxel of a volume. The result does not depend on `n_threads`."""
    depth, height, width = volume.voxels.shape
    pad = padding(feature_settings, volume.spacing_mm)
    padded_slice = (height + 2 * pad) * (width + 2 * pad)
    slices = int(np.clip(_SLAB_PADDED_VOXELS // padded_slice - 2 * pad, _FEWEST_SLAB_SLICES, depth))
    kept = (np.empty(0, _index_type(volume)), np.empty(0, np.uint8), np.empty(0, np.float32))
    waiting: list[Part] = []
    for z_first in range(0, depth, slices):
        n_z = min(slices, depth - z_first)
        for part in _classify_slab(volume, forest, feature_settings, settings, z_first, n_z, n_threads):
            waiting.append(part)
            if sum(len(voxel) for voxel, _, _ in waiting) >= _ENTRIES_AT_ONCE:
                _append(kept, waiting)
                waiting = []
    _append(kept, waiting)
    return Posterior(*kept, volume.grid)


def _index_type(volume: IsotropicVolume) -> type[np.integer[Any]]:
    return np.int32 if volume.voxels.size < 2**31 else np.int64


def _append(kept: Part, parts: list[Part]) -> None:
    """Put parts behind what is there, in place: a large array grows without a second copy of it."""
    n = len(kept[0])
    column: NDArray[Any]
    for k, column in enumerate(kept):
        more = [part[k] for part in parts]
        column.resize(n + sum(map(len, more)), refcheck=False)
        np.concatenate([column[:0], *more], out=column[n:])


def _classify_slab(
    volume: IsotropicVolume,
    forest: FlatForest,
    feature_settings: ContextFeatureSettings,
    settings: PosteriorSettings,
    z_first: int,
    n_z: int,
    n_threads: int,
) -> Iterator[Part]:
    """Classify the slices z_first .. z_first + n_z - 1, a block of voxels at a time."""
    _, height, width = volume.voxels.shape
    image = make_integral_image(volume, feature_settings, z_first, n_z)
    corners, scales = box_corners(forest.pool, volume.spacing_mm, image)
    smallest = np.float32(max(settings.smallest_probability, 1e-6))
    begin, end = z_first * height * width, (z_first + n_z) * height * width

    def block(piece: int) -> Part:
        first = begin + piece * BLOCK_VOXELS
        voxels = np.arange(first, min(first + BLOCK_VOXELS, end), dtype=_index_type(volume))
        positions = image.positions_of(voxels, volume.grid.shape)
        rows, sums = _sums_with_early_stop(image, positions, forest, corners, scales, settings)
        return probable_classes(voxels[rows], sums, np.float32(1 / forest.n_trees), smallest)

    return each_piece(block, -(-(end - begin) // BLOCK_VOXELS), n_threads)


def _sums_with_early_stop(
    image: IntegralImage,
    positions: NDArray[np.uint64],
    forest: FlatForest,
    corners: NDArray[np.integer[Any]],
    scales: NDArray[np.float32],
    settings: PosteriorSettings,
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Sum the trees at the positions that no first trees call background: their rows, and (rows, 27) sums."""
    step = settings.stop_after_trees or forest.n_trees
    kept = np.arange(len(positions))
    summed = np.zeros((len(positions), forest.leaf_values.shape[1]), forest.leaf_values.dtype)
    for begin in range(0, forest.n_trees, step):
        end = min(begin + step, forest.n_trees)
        forest_sums(image, positions[kept], forest, corners, scales, range(begin, end), summed)
        if end < forest.n_trees:
            in_question = summed[:, BACKGROUND] < settings.stop_background * end
            kept, summed = kept[in_question], summed[in_question]
    return kept, summed
