"""Sparse posterior -> a few candidate centroids per vertebra, by the modes of a Gaussian density.

The density of vertebra v at x is sum_i p_v(x_i)^a exp(-|x - x_i|^2 / 2 s^2), divided by what the ideal dense label of
v alone would give at its own centroid, so that 1 means: as much evidence as a perfect classifier would leave. Modes
are found by a Gaussian filter on the grid, and polished by mean shift on the voxels themselves.

When a classifier is off by one level, the mode of v lies where its neighbour's does. So every vertebra may also take
the modes of the vertebrae next to it, at its own density there: the shape step then compares all shifts on equal terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vertloc.geometry import Points
from vertloc.kernels.density import density_at, mean_shift
from vertloc.kernels.votes import class_densities
from vertloc.stages.centre_votes import Centres
from vertloc.stages.dense_labels import DenseLabelSettings, label_width_mm2
from vertloc.stages.posterior import Posterior
from vertloc.vertebrae import VERTEBRAE


@dataclass(frozen=True)
class DensitySettings:
    """How modes are sought.

    bandwidth_mm : s, the standard deviation of the Gaussian
    mass_power : a, above 1 trusts the sure voxels more
    modes_per_vertebra : at most this many modes of each vertebra's own density
    smallest_density : modes below this density (1 = ideal) are dropped
    neighbours : candidates are also taken from the modes of this many vertebrae above and below
    merge_mm : candidates nearer to each other are one
    height_power : how much the height of a voted centre counts
    """

    bandwidth_mm: float = 5.0
    mass_power: float = 1.0
    modes_per_vertebra: int = 5
    smallest_density: float = 0.002
    neighbours: int = 2
    merge_mm: float = 5.0
    height_power: float = 0.5

    def __post_init__(self) -> None:
        for name, low, high in (
            ("bandwidth_mm", 0.5, 50),
            ("mass_power", 0.1, 10),
            ("modes_per_vertebra", 1, 100),
            ("smallest_density", 0, 1),
            ("neighbours", 0, 25),
            ("merge_mm", 0, 50),
            ("height_power", 0, 10),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie within {low} and {high}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Possible centroids of all vertebrae, ordered by rank, then falling density.

    rank : (n,) int64, 0 = C1 ... 25 = S2
    points_mm : (n, 3) float64, world
    density : (n,) float64, evidence for this vertebra here; 1 = ideal
    """

    rank: NDArray[np.int64]
    points_mm: Points
    density: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def places_mm(self) -> Points:
        """(m, 3) the different points, in a fixed order: each is a candidate of several vertebrae."""
        return np.unique(self.points_mm, axis=0)


def name_centres(
    centres: Centres, posterior: Posterior, labels: DenseLabelSettings, settings: DensitySettings
) -> Candidates:
    """Let every centre be a candidate of every vertebra that has some density there.

    The density is multiplied by the centre's height to the power `height_power`.
    """
    index = np.stack(np.unravel_index(posterior.voxel, posterior.grid.shape), axis=1)
    mass = posterior.probability.astype(np.float64) ** settings.mass_power
    found = class_densities(
        posterior.grid.to_world(index), posterior.rank, mass, centres.points_mm, settings.bandwidth_mm, len(VERTEBRAE)
    )
    ideal = [_ideal_density(posterior, labels, rank, settings) for rank in range(len(VERTEBRAE))]
    density = found / np.array(ideal) * (centres.height**settings.height_power)[:, None]
    rank, centre = np.nonzero(max(settings.smallest_density, 1e-9) <= density.T)
    order = np.lexsort((-density[centre, rank], rank))
    rank, centre = rank[order], centre[order]
    return Candidates(rank.astype(np.int64), centres.points_mm[centre], density[centre, rank])


def find_candidates(posterior: Posterior, labels: DenseLabelSettings, settings: DensitySettings) -> Candidates:
    """Find the candidates of all vertebrae; empty if nothing looks like a vertebra."""
    clouds = [_cloud(posterior, rank, settings) for rank in range(len(VERTEBRAE))]
    modes = [_modes(cloud, posterior, labels, rank, settings) for rank, cloud in enumerate(clouds)]
    ranks, points, densities = [], [], []
    for rank, cloud in enumerate(clouds):
        near = [modes[k] for k in _nearest_first(rank, settings.neighbours)]
        pool = _merged(np.concatenate(near), settings.merge_mm)
        density = _density(cloud, pool, posterior, labels, rank, settings)
        order = np.argsort(-density, kind="stable")
        order = order[density[order] >= settings.smallest_density]
        ranks.append(np.full(len(order), rank, np.int64))
        points.append(pool[order])
        densities.append(density[order])
    return Candidates(np.concatenate(ranks), np.concatenate(points), np.concatenate(densities))


@dataclass(frozen=True, eq=False)
class _Cloud:
    """The voxels of one vertebra: grid indices (m, 3), world points (m, 3) mm, and masses (m,)."""

    index: NDArray[np.int64]
    points_mm: Points
    mass: NDArray[np.float64]


def _cloud(posterior: Posterior, rank: int, settings: DensitySettings) -> _Cloud:
    rows = np.flatnonzero(posterior.rank == rank)
    index = np.stack(np.unravel_index(posterior.voxel[rows], posterior.grid.shape), axis=1)
    mass = posterior.probability[rows].astype(np.float64) ** settings.mass_power
    return _Cloud(index, posterior.grid.to_world(index), mass)


def _ideal_density(posterior: Posterior, labels: DenseLabelSettings, rank: int, settings: DensitySettings) -> float:
    """Integral of phi^a times the Gaussian over space, in voxels: the density of a perfect, isolated label."""
    inverse = settings.mass_power / label_width_mm2(rank, labels) + 0.5 / settings.bandwidth_mm**2
    return float((np.pi / inverse) ** 1.5 / np.prod(posterior.grid.spacing_mm))


def _density(
    cloud: _Cloud,
    points: Points,
    posterior: Posterior,
    labels: DenseLabelSettings,
    rank: int,
    settings: DensitySettings,
) -> NDArray[np.float64]:
    found = density_at(cloud.points_mm, cloud.mass, points, settings.bandwidth_mm)
    return found / _ideal_density(posterior, labels, rank, settings)


def _modes(
    cloud: _Cloud, posterior: Posterior, labels: DenseLabelSettings, rank: int, settings: DensitySettings
) -> Points:
    """Modes of one vertebra's density, the highest first: (n, 3) mm."""
    if len(cloud.mass) == 0:
        return np.empty((0, 3))
    low = cloud.index.min(axis=0)
    grid = np.zeros(cloud.index.max(axis=0) - low + 1)
    grid[tuple((cloud.index - low).T)] = cloud.mass
    sigma = settings.bandwidth_mm / posterior.grid.spacing_mm[0]
    smooth = ndimage.gaussian_filter(grid, sigma, mode="constant", truncate=3.0)
    peaks = np.argwhere((smooth == ndimage.maximum_filter(smooth, 3, mode="constant")) & (smooth > 0))
    peaks = peaks[np.argsort(-smooth[tuple(peaks.T)], kind="stable")][: 2 * settings.modes_per_vertebra]
    seeds = posterior.grid.to_world(peaks + low)
    modes = mean_shift(cloud.points_mm, cloud.mass, seeds, settings.bandwidth_mm, 0.02, 50)
    density = _density(cloud, modes, posterior, labels, rank, settings)
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
