"""Posterior + centre forest -> the places where vertebral bodies are centred, whatever their names.

The classification forest sees far and knows the level, but its posterior is as wide as a vertebra. A second forest
sees near and votes: every voxel that is probably part of a vertebra casts, for each tree, one vote at itself plus the
mean displacement of its leaf, as heavy as the voxel's vertebra probability times the leaf's certainty (Hough voting,
as in regression forests). The modes of the votes are sharp: a few millimetres, not half a vertebra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Points
from vertloc.kernels.peaks import find_peaks, smooth_slices
from vertloc.kernels.votes import climb_cells, collect_votes
from vertloc.settings import CHECKED, Share
from vertloc.stages.forest import FlatForest, bind_forest
from vertloc.stages.posterior import Posterior
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.workers import n_workers, run_pieces

_CELL_MM = 2.0
_MARGIN_MM = 12.0
_SLICES_PER_PIECE = 16
_VOTERS_PER_PIECE = 16384


@checked(frozen=True, config=CHECKED)
class CentreVoteSettings:
    """How votes are cast and counted.

    smallest_probability : voxels less probable than this to be of any vertebra do not vote
    bandwidth_mm : standard deviation of the Gaussian whose modes are sought
    merge_mm : modes nearer to each other are one; cervical bodies are at least 12 mm apart
    most_modes : at most this many modes of a scan; a whole spine has 26
    smallest_height : modes below this share of the scan's typical high mode are dropped
    """

    smallest_probability: Share = 0.15
    bandwidth_mm: Annotated[float, Field(ge=0.5, le=50)] = 2.0
    merge_mm: Annotated[float, Field(ge=0, le=50)] = 7.0
    most_modes: Annotated[int, Field(ge=1, le=1000)] = 60
    smallest_height: Share = 0.03


@dataclass(frozen=True, eq=False)
class Centres:
    """Places where votes agree, the highest first.

    points_mm : (n, 3) float64, world
    height : (n,) float64 in 0..1, vote density relative to the scan's typical high mode
    """

    points_mm: Points
    height: NDArray[np.float64]


def find_centres(
    volume: IsotropicVolume,
    posterior: Posterior,
    forest: FlatForest,
    settings: CentreVoteSettings,
    n_threads: int = 1,
) -> Centres:
    """Let the voxels that look like vertebrae vote, and find the modes of the votes; empty if none does."""
    voxel, mass = _voters(posterior, settings)
    if len(voxel) == 0:
        return Centres(np.empty((0, 3)), np.empty(0))
    points = volume.grid.to_world(np.stack(np.unravel_index(voxel, volume.grid.shape), axis=1))
    leaves = _leaves_of_all_trees(volume, voxel, forest, n_threads)
    cells, low = _collect(points, leaves, forest.rows(), mass, n_threads)
    return _modes(cells, low, settings, n_threads)


def _collect(
    points: Points,
    leaves: NDArray[np.int32],
    leaf_values: NDArray[np.float32],
    mass: NDArray[np.float32],
    n_threads: int,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Add the votes of all trees in cells, in parts of slices, side by side; return the cells and their lower corner.

    A part walks the voters whose votes can reach it, and no others; parts are taller than that reach, so that all of
    them together walk every voter about twice, however many threads there are.
    """
    low, shape = _cells_around(points)
    cells = np.zeros((*shape, 4), np.float32)
    reach = float(np.abs(leaf_values[:, 2]).max()) + _CELL_MM
    height = points[:, 2]  # rising, as voxels are stored
    n_parts = n_workers(n_threads, 1 + int((height[-1] - height[0]) / (2.0 * reach)))
    # Around each part are about as many voters.
    ends = np.floor((np.quantile(height, np.arange(1, n_parts) / n_parts) - low[2]) / _CELL_MM)
    ends = np.array([0, *ends, len(cells)]).astype(int)

    def collect(part: int) -> None:
        begin, end = int(ends[part]), int(ends[part + 1])
        lowest, highest = low[2] + begin * _CELL_MM - reach, low[2] + end * _CELL_MM + reach
        near = slice(int(np.searchsorted(height, lowest)), int(np.searchsorted(height, highest, side="right")))
        # In tree order, so that the sums are the same to the last bit on any number of cores.
        for own in leaves:
            collect_votes(points[near], own[near], leaf_values, mass[near], low, _CELL_MM, begin, end, cells)

    run_pieces(collect, n_parts, n_threads)
    return cells, low


def _voters(posterior: Posterior, settings: CentreVoteSettings) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Flat voxels that vote, and the probability of each to be of any vertebra."""
    if len(posterior.voxel) == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    first = np.flatnonzero(np.diff(posterior.voxel, prepend=-1))
    total = np.add.reduceat(posterior.probability, first)
    voting = total >= settings.smallest_probability
    return posterior.voxel[first][voting], total[voting].astype(np.float32)


def _cells_around(points: Points) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    low = points.min(axis=0) - _MARGIN_MM
    size = np.ceil((points.max(axis=0) + _MARGIN_MM - low) / _CELL_MM).astype(int)
    return low, (int(size[2]), int(size[1]), int(size[0]))


def _leaves_of_all_trees(
    volume: IsotropicVolume, voxel: NDArray[np.integer[Any]], forest: FlatForest, n_threads: int
) -> NDArray[np.int32]:
    """Leaf rows of all voters in each tree, (trees, n); the forest is bound to the voters' slices only."""
    _, height, width = volume.voxels.shape
    z_first, z_last = int(voxel[0]) // (height * width), int(voxel[-1]) // (height * width)
    bound = bind_forest(forest, volume, z_first, z_last - z_first + 1)
    out = np.empty((forest.n_trees, len(voxel)), np.int32)

    def fill(piece: int) -> None:
        here = slice(piece * _VOTERS_PER_PIECE, (piece + 1) * _VOTERS_PER_PIECE)
        positions = bound.positions(voxel[here])
        for tree in range(forest.n_trees):
            out[tree, here] = bound.leaves(positions, tree)

    run_pieces(fill, -(-len(voxel) // _VOTERS_PER_PIECE), n_threads)
    return out


def smoothed_peaks(masses: NDArray[np.floating[Any]], sigma: float, most: int, n_threads: int = 1) -> NDArray[np.int64]:
    """Find the highest peaks of masses on a grid under a Gaussian: (n, 3) indices, the highest first, at most `most`.

    masses : (z, y, x); sigma : standard deviation in cells; the Gaussian is cut at 3 of them
    """
    distance = np.arange(-int(3.0 * sigma + 0.5), int(3.0 * sigma + 0.5) + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * distance**2)
    weights = (weights / weights.sum())[len(weights) // 2 :]
    radius, depth = len(weights) - 1, len(masses)

    def peaks_of_piece(piece: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        begin, end = piece * _SLICES_PER_PIECE, min((piece + 1) * _SLICES_PER_PIECE, depth)
        # A peak is above the slices next to it, and those are smoothed with slices further on.
        low, high = max(begin - 1, 0), min(end + 1, depth)
        first, past = max(low - radius, 0), min(high + radius, depth)
        own = np.ascontiguousarray(masses[first:past], dtype=np.float64)
        smooth = np.empty(own.shape)
        smooth_slices(own, weights, low - first, high - first, smooth)
        smooth = smooth[low - first : high - first]
        peaks = find_peaks(smooth, begin - low, end - low)
        return peaks + np.array([low, 0, 0]), smooth[tuple(peaks.T)]

    pieces = run_pieces(peaks_of_piece, -(-depth // _SLICES_PER_PIECE), n_threads)
    peaks, heights = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return peaks[np.argsort(-heights, kind="stable")][:most]


def _modes(
    cells: NDArray[np.float32], low: NDArray[np.float64], settings: CentreVoteSettings, n_threads: int
) -> Centres:
    peaks = smoothed_peaks(cells[..., 0], settings.bandwidth_mm / _CELL_MM, settings.most_modes, n_threads)
    seeds = (peaks[:, ::-1] + 0.5) * _CELL_MM + low
    modes, density = climb_cells(cells, low, _CELL_MM, seeds, settings.bandwidth_mm, 0.02, 50)
    kept: list[int] = []
    for i in np.argsort(-density, kind="stable").tolist():
        squared = ((modes[np.array(kept, np.int64)] - modes[i]) ** 2).sum(axis=1)
        if not (squared < settings.merge_mm**2).any():
            kept.append(i)
    modes, density = modes[kept], density[kept]
    if not kept:  # every vote fell past the cells
        return Centres(modes, density)
    # The upper quartile of the sixteen highest modes: a scan's typical vertebra, robust to one over-bright mode.
    height = np.minimum(density / np.percentile(density[:16], 75), 1.0)
    high = height >= settings.smallest_height
    return Centres(modes[high], height[high])
