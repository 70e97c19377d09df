"""Training centroids -> the displacement between neighbouring vertebrae: a Gaussian per pair.

Few training sets hold every pair often. Means and covariances of a pair are therefore blended with those of the pairs
next to it, scaled to its typical length, and with a broad prior of adult anatomy; with no pair at all, the prior alone
remains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.centroids import Centroids
from vertloc.settings import CHECKED, Share
from vertloc.vertebrae import RANK, VERTEBRAE

N_PAIRS = len(VERTEBRAE) - 1

# Typical distances between the bodies' centres of an adult, C1-C2 to S1-S2, mm; they only set the scale of the prior.
_TYPICAL_MM = np.array(
    [19, 18, 18, 17, 17, 18, 19, *np.linspace(20, 24, 6), *np.linspace(24.5, 31, 5), 32, 34, 35, 35, 35, 35, 30], float
)
# How far displacements of one pair scatter between patients, as a share of the pair's length (x, y, z).
_PRIOR_SPREAD = np.array([0.22, 0.35, 0.18])


@checked(frozen=True, config=CHECKED)
class ShapeModelSettings:
    """How strongly pairs are blended.

    neighbour_share : a neighbouring pair counts as much as this share of the pair's own samples
    prior_pairs : the prior of adult anatomy, which decides where there is no data, counts as much as this many samples
    smallest_deviation_mm : standard deviations are at least about this large: annotations are not more precise
    """

    neighbour_share: Share = 0.3
    prior_pairs: Annotated[float, Field(ge=0.1, le=1000)] = 3.0
    smallest_deviation_mm: Annotated[float, Field(ge=0.1, le=50)] = 2.0


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Displacements from each vertebra to the one below it, world LPS.

    mean_mm : (25, 3) float64; covariance_mm2 : (25, 3, 3) float64
    """

    mean_mm: NDArray[np.float64]
    covariance_mm2: NDArray[np.float64]

    def log_density(self, displacement_mm: NDArray[np.float64], upper: int, lower: int) -> NDArray[np.float64]:
        """Log density of displacements (..., 3) from rank `upper` to rank `lower`, per mm^3.

        Over a gap, the pairs in between add up, with their deviations fully correlated: neighbours bend alike.
        """
        mean = self.mean_mm[upper:lower].sum(axis=0)
        covariance = self.covariance_mm2[upper:lower].mean(axis=0) * (lower - upper) ** 2
        residual = displacement_mm - mean
        squared = np.einsum("...i,ij,...j->...", residual, np.linalg.inv(covariance), residual)
        return np.asarray(-0.5 * (squared + np.linalg.slogdet(2 * np.pi * covariance)[1]))


def learn_shape_model(centroids: Sequence[Centroids], settings: ShapeModelSettings) -> ShapeModel:
    """Learn displacements from annotated scans (world frame); no scan at all gives the prior."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in range(N_PAIRS)]
    for scan in centroids:
        for (upper, above), (lower, below) in zip(list(scan), list(scan)[1:], strict=False):
            if upper in RANK and lower in RANK and RANK[lower] == RANK[upper] + 1:
                found[RANK[upper]].append(below - above)
    mean, covariance = np.zeros((N_PAIRS, 3)), np.zeros((N_PAIRS, 3, 3))
    for pair in range(N_PAIRS):
        mean[pair], covariance[pair] = _blended(pair, found, settings)
    return ShapeModel(mean, covariance)


def _blended(
    pair: int, found: list[list[NDArray[np.float64]]], settings: ShapeModelSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and covariance of a pair: its own samples, its neighbours' scaled to its length, the prior."""
    length = _TYPICAL_MM[pair]
    rows, weights = [], []
    for other in range(N_PAIRS):
        distance = abs(other - pair)
        share = settings.neighbour_share**distance
        if distance > 3 or share == 0 or not found[other]:
            continue
        rows.append(np.array(found[other]) * (length / _TYPICAL_MM[other]))
        weights.append(np.full(len(found[other]), share))
    prior_mean = np.array([0.0, 0.0, -length])
    prior_covariance = np.diag((_PRIOR_SPREAD * length) ** 2)
    samples = np.concatenate([*rows, prior_mean[None]])
    weight = np.concatenate([*weights, [settings.prior_pairs]])
    part = weight / fsum(weight)
    mean = _exact_sums(part[:, None] * samples)
    residual = samples - mean
    products = part[:, None, None] * residual[:, :, None] * residual[:, None, :]
    covariance = _exact_sums(products.reshape(-1, 9)).reshape(3, 3) + part[-1] * prior_covariance
    return mean, covariance + settings.smallest_deviation_mm**2 * np.eye(3)


def _exact_sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum (n, K) over n, rounded once: other sums depend on the order that a machine's vector units and BLAS add in."""
    return np.array([fsum(column) for column in rows.T])
