"""Isotropic volume + forest -> sparse class posterior, without a feature matrix and without a dense posterior.

The volume is worked off in slabs of slices, each with its own padded integral image; a slab in blocks of voxels that
walk down the trees together. Of every voxel only the vertebrae with a noticeable probability are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Grid
from vertloc.kernels.jit import run_pieces
from vertloc.stages.context_features import ContextFeatureSettings, IntegralImage, box_corners, make_integral_image
from vertloc.stages.forest import FlatForest, forest_sums
from vertloc.stages.preprocess import IsotropicVolume

BLOCK_VOXELS = 16384
_SLAB_PADDED_VOXELS = 40_000_000


@dataclass(frozen=True)
class PosteriorSettings:
    """What is kept of the posterior.

    smallest_probability : a vertebra's probability below this counts as zero
    """

    smallest_probability: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_probability < 1:
            raise ValueError(f"smallest_probability must lie within 0 and 1, got {self.smallest_probability}")


@dataclass(frozen=True, eq=False)
class Posterior:
    """Where which vertebra is probable, as a list of (voxel, class, probability), ordered by voxel, then class.

    voxel : (m,) int64 flat index into the grid; rank : (m,) uint8, 0 = C1 ... 25 = S2
    probability : (m,) float32; grid : the isotropic grid
    """

    voxel: NDArray[np.int64]
    rank: NDArray[np.uint8]
    probability: NDArray[np.float32]
    grid: Grid


def classify(
    volume: IsotropicVolume,
    forest: FlatForest,
    feature_settings: ContextFeatureSettings,
    settings: PosteriorSettings,
    n_threads: int = 1,
) -> Posterior:
    """Apply a forest to every voxel of a volume."""
    depth, height, width = volume.voxels.shape
    pad = int(np.ceil(feature_settings.reach_mm / volume.spacing_mm)) + 1
    padded_slice = (height + 2 * pad) * (width + 2 * pad)
    slices = int(np.clip(_SLAB_PADDED_VOXELS // padded_slice - 2 * pad, 8, depth))
    parts: list[tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32]]] = []
    for z_first in range(0, depth, slices):
        n_z = min(slices, depth - z_first)
        image = make_integral_image(volume, feature_settings, z_first, n_z)
        corners, scales = box_corners(forest.pool, volume.spacing_mm, image)
        begin, end = z_first * height * width, (z_first + n_z) * height * width

        def block(piece: int, begin: int = begin, end: int = end, image: IntegralImage = image) -> Any:
            flat = np.arange(begin + piece * BLOCK_VOXELS, min(begin + (piece + 1) * BLOCK_VOXELS, end))
            return _classify_block(flat, volume, image, forest, corners, scales, settings)

        parts += run_pieces(block, -(-(end - begin) // BLOCK_VOXELS), n_threads)
    voxel, rank, probability = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Posterior(voxel, rank, probability, volume.grid)


def _classify_block(
    flat: NDArray[np.int64],
    volume: IsotropicVolume,
    image: IntegralImage,
    forest: FlatForest,
    corners: NDArray[np.int64],
    scales: NDArray[np.float32],
    settings: PosteriorSettings,
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32]]:
    _, height, width = volume.voxels.shape
    z, rest = np.divmod(flat, height * width)
    y, x = np.divmod(rest, width)
    summed = forest_sums(image, image.positions(z, y, x), forest, corners, scales)
    vertebrae = summed[:, 1:] * np.float32(1 / forest.n_trees)
    row, rank = np.nonzero(vertebrae >= max(settings.smallest_probability, 1e-6))
    return flat[row], rank.astype(np.uint8), vertebrae[row, rank]
