"""Sparse posterior -> a few candidate centroids per vertebra, by the modes of a Gaussian density.

The density of vertebra v at x is sum_i p_v(x_i)^a exp(-|x - x_i|^2 / 2 s^2), divided by what the ideal dense label of
v alone would give at its own centroid, so that 1 means: as much evidence as a perfect classifier would leave. Modes
are found by a Gaussian filter on the grid, and polished by mean shift on the voxels themselves.

When a classifier is off by one level, the mode of v lies where its neighbour's does. So every vertebra may also take
the modes of the vertebrae next to it, at its own density there: the shape step then compares all shifts on equal terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Grid, Points
from vertloc.kernels.density import class_densities, density_at, mean_shift
from vertloc.kernels.entries import row_starts
from vertloc.settings import CHECKED, Share
from vertloc.stages.centre_votes import Centres, smoothed_peaks
from vertloc.stages.dense_labels import label_width_mm2
from vertloc.stages.posterior import Posterior
from vertloc.vertebrae import VERTEBRAE
from vertloc.workers import run_pieces


@checked(frozen=True, config=CHECKED)
class DensitySettings:
    """How modes are sought.

    bandwidth_mm : s, the standard deviation of the Gaussian that collects a vertebra's voxels
    mass_power : a, the power of a voxel's probability; above 1 trusts the sure voxels more
    modes_per_vertebra : at most this many modes of each vertebra's own density; without votes only
    smallest_density : candidates below this density (1 = ideal) are dropped
    reference_density : a candidate of this density is worth as much as a missing vertebra: its log odds are 0
    neighbours : a vertebra may also sit at the modes of this many vertebrae above and below; without votes only
    merge_mm : candidates nearer to each other are one; without votes only
    height_power : power of a voted centre's height in its candidates' density
    """

    bandwidth_mm: Annotated[float, Field(ge=0.5, le=50)] = 5.0
    mass_power: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    modes_per_vertebra: Annotated[int, Field(ge=1, le=100)] = 5
    smallest_density: Share = 0.002
    reference_density: Annotated[float, Field(ge=1e-6, le=1)] = 0.08
    neighbours: Annotated[int, Field(ge=0, le=25)] = 2
    merge_mm: Annotated[float, Field(ge=0, le=50)] = 5.0
    height_power: Annotated[float, Field(ge=0, le=10)] = 0.5


@dataclass(frozen=True, eq=False)
class Candidates:
    """Possible centroids of all vertebrae, ordered by rank, then falling evidence.

    rank : (n,) int64, 0 = C1 ... 25 = S2
    points_mm : (n, 3) float64, world
    log_odds : (n,) float64, evidence for this vertebra here against a missing one, from `log_odds`
    """

    rank: NDArray[np.int64]
    points_mm: Points
    log_odds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def places_mm(self) -> Points:
        """(m, 3) the different points, in a fixed order: each is a candidate of several vertebrae."""
        return np.unique(self.points_mm, axis=0)


def log_odds(evidence: NDArray[np.float64], reference: float) -> NDArray[np.float64]:
    """Compare densities or probabilities with the one that is worth as much as a missing vertebra: (n,) float64."""
    return np.asarray(np.log(np.maximum(evidence, 1e-12) / reference))


def name_centres(centres: Centres, posterior: Posterior, radius_factor: float, settings: DensitySettings) -> Candidates:
    """Let every centre be a candidate of every vertebra that has some density there.

    radius_factor : how wide the labels were that the classifier learned, see `DenseLabelSettings`
    The density is multiplied by the centre's height to the power `height_power`.
    """
    depth, height, width = posterior.grid.shape
    probability = posterior.probability
    found = class_densities(
        posterior.voxel,
        posterior.rank,
        probability if settings.mass_power == 1 else probability.astype(np.float64) ** settings.mass_power,
        row_starts(posterior.voxel, width, depth * height),
        *posterior.grid.axes_mm(),
        centres.points_mm,
        settings.bandwidth_mm,
        len(VERTEBRAE),
    )
    ideal = [_ideal_density(posterior.grid, radius_factor, rank, settings) for rank in range(len(VERTEBRAE))]
    density = found / np.array(ideal) * (centres.height**settings.height_power)[:, None]
    rank, centre = np.nonzero(max(settings.smallest_density, 1e-9) <= density.T)
    order = np.lexsort((-density[centre, rank], rank))
    rank, centre = rank[order], centre[order]
    odds = log_odds(density[centre, rank], settings.reference_density)
    return Candidates(rank.astype(np.int64), centres.points_mm[centre], odds)


def find_candidates(
    posterior: Posterior, radius_factor: float, settings: DensitySettings, n_threads: int = 1
) -> Candidates:
    """Find the candidates of all vertebrae; empty if nothing looks like a vertebra. See `name_centres`."""
    modes = run_pieces(lambda rank: _modes(posterior, radius_factor, rank, settings), len(VERTEBRAE), n_threads)

    def candidates(rank: int) -> tuple[Points, NDArray[np.float64]]:
        near = [modes[k] for k in _nearest_first(rank, settings.neighbours)]
        pool = _merged(np.concatenate(near), settings.merge_mm)
        density = _density(_cloud(posterior, rank, settings), pool, posterior.grid, radius_factor, rank, settings)
        order = np.argsort(-density, kind="stable")
        order = order[density[order] >= settings.smallest_density]
        return pool[order], density[order]

    found = run_pieces(candidates, len(VERTEBRAE), n_threads)
    ranks = np.repeat(np.arange(len(VERTEBRAE)), [len(density) for _, density in found])
    points, densities = zip(*found, strict=True)
    odds = log_odds(np.concatenate(densities), settings.reference_density)
    return Candidates(ranks, np.concatenate(points), odds)


@dataclass(frozen=True, eq=False)
class _Cloud:
    """The voxels of one vertebra: (m,) flat, rising; masses (m,); and where each row of the grid begins."""

    voxel: NDArray[np.integer[Any]]
    mass: NDArray[np.float64]
    starts: NDArray[np.int64]


def _cloud(posterior: Posterior, rank: int, settings: DensitySettings) -> _Cloud:
    rows = np.flatnonzero(posterior.rank == rank)
    voxel = posterior.voxel[rows]
    mass = posterior.probability[rows].astype(np.float64) ** settings.mass_power
    depth, height, width = posterior.grid.shape
    return _Cloud(voxel, mass, row_starts(voxel, width, depth * height))


def _ideal_density(grid: Grid, radius_factor: float, rank: int, settings: DensitySettings) -> float:
    """Integral of phi^a times the Gaussian over space, in voxels: the density of a perfect, isolated label."""
    inverse = settings.mass_power / label_width_mm2(rank, radius_factor) + 0.5 / settings.bandwidth_mm**2
    return float((np.pi / inverse) ** 1.5 / np.prod(grid.spacing_mm))


def _density(
    cloud: _Cloud,
    points: Points,
    grid: Grid,
    radius_factor: float,
    rank: int,
    settings: DensitySettings,
) -> NDArray[np.float64]:
    found = density_at(cloud.voxel, cloud.mass, cloud.starts, *grid.axes_mm(), points, settings.bandwidth_mm)
    return found / _ideal_density(grid, radius_factor, rank, settings)


def _modes(posterior: Posterior, radius_factor: float, rank: int, settings: DensitySettings) -> Points:
    """Modes of one vertebra's density, the highest first: (n, 3) mm."""
    cloud, grid, bandwidth = _cloud(posterior, rank, settings), posterior.grid, settings.bandwidth_mm
    if len(cloud.mass) == 0:
        return np.empty((0, 3))
    index = np.stack(np.unravel_index(cloud.voxel, grid.shape), axis=1)
    low = index.min(axis=0)
    masses = np.zeros(index.max(axis=0) - low + 1)
    masses[tuple((index - low).T)] = cloud.mass
    peaks = smoothed_peaks(masses, bandwidth / grid.spacing_mm[0], 2 * settings.modes_per_vertebra)
    seeds = grid.to_world(peaks + low)
    modes = mean_shift(cloud.voxel, cloud.mass, cloud.starts, *grid.axes_mm(), seeds, bandwidth, 0.02, 50)
    density = _density(cloud, modes, grid, radius_factor, rank, settings)
    modes = modes[np.argsort(-density, kind="stable")]
    modes = modes[np.sort(density)[::-1] >= settings.smallest_density]
    return _merged(modes, settings.merge_mm)[: settings.modes_per_vertebra]


def _nearest_first(rank: int, reach: int) -> list[int]:
    """Order the vertebra itself and its neighbours by distance."""
    near = [k for k in range(rank - reach, rank + reach + 1) if 0 <= k < len(VERTEBRAE)]
    return sorted(near, key=lambda k: (abs(k - rank), k))


def _merged(points: Points, merge_mm: float) -> Points:
    """Keep each point unless an earlier kept one lies nearer than `merge_mm`."""
    kept: list[int] = []
    for i, point in enumerate(points):
        if all(((point - points[j]) ** 2).sum() >= merge_mm**2 for j in kept):
            kept.append(i)
    return points[kept]
