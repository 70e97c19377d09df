"""Isotropic volume + forest -> sparse class posterior, without a feature matrix and without a dense posterior.

The volume is worked off in slabs of slices, each with its own padded integral image; a slab in blocks of voxels that
walk down the trees together. Of every voxel only the vertebrae with a noticeable probability are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Grid
from vertloc.kernels.entries import probable_classes
from vertloc.settings import CHECKED
from vertloc.stages.context_features import Positions
from vertloc.stages.dense_labels import BACKGROUND
from vertloc.stages.forest import BoundForest, FlatForest, bind_forest
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.workers import each_piece

BLOCK_VOXELS = 32768
_SLAB_PADDED_VOXELS = 10_000_000
_FEWEST_SLAB_SLICES = 8
_ENTRIES_AT_ONCE = 1_000_000


@checked(frozen=True, config=CHECKED)
class PosteriorSettings:
    """What is kept of the posterior.

    smallest_probability : a vertebra's probability below this counts as zero
    stop_after_trees : every so many trees, voxels that are surely background by now are left alone; 0: never
    stop_background : mean background probability of the trees so far from which a voxel is; above 1: never
    """

    smallest_probability: Annotated[float, Field(ge=0, lt=1)] = 0.025
    stop_after_trees: Annotated[int, Field(ge=0, le=10_000)] = 3
    stop_background: Annotated[float, Field(gt=0, le=2)] = 0.9


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


def classify(volume: IsotropicVolume, forest: FlatForest, settings: PosteriorSettings, n_threads: int = 1) -> Posterior:
    """Apply a forest to every voxel of a volume. The result does not depend on `n_threads`."""
    depth, height, width = volume.voxels.shape
    pad = forest.pool.rule.padding(volume.spacing_mm)
    padded_slice = (height + 2 * pad) * (width + 2 * pad)
    slices = int(np.clip(_SLAB_PADDED_VOXELS // padded_slice - 2 * pad, _FEWEST_SLAB_SLICES, depth))
    kept = (np.empty(0, _index_type(volume)), np.empty(0, np.uint8), np.empty(0, np.float32))
    waiting: list[Part] = []
    for z_first in range(0, depth, slices):
        slab = range(z_first * height * width, min(z_first + slices, depth) * height * width)
        bound = bind_forest(forest, volume, z_first, min(slices, depth - z_first))
        for part in _classify_slab(bound, slab, settings, n_threads):
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


def _classify_slab(bound: BoundForest, slab: range, settings: PosteriorSettings, n_threads: int) -> Iterator[Part]:
    """Classify the flat voxels of a slab, a block of them at a time."""
    smallest = np.float32(max(settings.smallest_probability, 1e-6))
    scale = np.float32(1 / (bound.forest.n_trees * bound.forest.unit))

    def block(piece: int) -> Part:
        some = slab[piece * BLOCK_VOXELS : (piece + 1) * BLOCK_VOXELS]
        voxels = np.arange(some.start, some.stop, dtype=_index_type(bound.volume))
        rows, sums = _sums_with_early_stop(bound, bound.positions(voxels), settings)
        return probable_classes(voxels[rows], sums, scale, smallest)

    return each_piece(block, -(-len(slab) // BLOCK_VOXELS), n_threads)


def _sums_with_early_stop(
    bound: BoundForest, positions: Positions, settings: PosteriorSettings
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Sum the trees at the positions that no first trees call background: their rows, and (rows, 27) sums."""
    n_trees = bound.forest.n_trees
    step = settings.stop_after_trees or n_trees
    kept = np.arange(len(positions))
    summed = bound.no_sums(len(positions))
    for begin in range(0, n_trees, step):
        end = min(begin + step, n_trees)
        bound.sums(positions[kept], range(begin, end), summed)
        if end < n_trees:
            in_question = summed[:, BACKGROUND] < settings.stop_background * end * bound.forest.unit
            kept, summed = kept[in_question], summed[in_question]
    return kept, summed
