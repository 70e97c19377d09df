"""Training centroids -> what a spine looks like: displacements between neighbours, posture, and where chains end.

The displacement between neighbouring vertebrae is a Gaussian per pair; `posture` says more, of whole chains.

Few training sets hold every pair often. Means and covariances of a pair are therefore blended with those of the pairs
next to it, scaled to its typical length, and with a broad prior of adult anatomy; with no pair at all, the prior alone
remains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import fsum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.centroids import Centroids
from vertloc.settings import CHECKED, Share
from vertloc.stages.chain_ends import learn_chain_ends
from vertloc.stages.posture import TYPICAL_LINKS_MM, TYPICAL_MM, PostureModel, PostureSettings, learn_posture
from vertloc.vertebrae import RANK, VERTEBRAE

N_PAIRS = len(VERTEBRAE) - 1

# How far displacements of one pair scatter between patients, as a share of the pair's length (x, y, z).
_PRIOR_SPREAD = np.array([0.22, 0.35, 0.18])


@checked(frozen=True, config=CHECKED)
class ShapeModelSettings:
    """How strongly pairs are blended.

    neighbour_share : a neighbouring pair counts as much as this share of the pair's own samples
    prior_pairs : the prior of adult anatomy, which decides where there is no data, counts as much as this many samples
    smallest_deviation_mm : standard deviations are at least about this large: annotations are not more precise
    even_ends : chains begin and end at every vertebra alike in this many scans beside those that are there
    posture : lengths and inclinations along whole spines
    """

    neighbour_share: Share = 0.3
    prior_pairs: Annotated[float, Field(ge=0.1, le=1000)] = 3.0
    smallest_deviation_mm: Annotated[float, Field(ge=0.1, le=50)] = 2.0
    even_ends: Annotated[float, Field(ge=0.1, le=100_000)] = 13.0
    posture: PostureSettings = field(default_factory=PostureSettings)


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Displacements from each vertebra to the one below it, world LPS, and what is known of whole chains.

    mean_mm : (25, 3) float64; covariance_mm2 : (25, 3, 3) float64
    posture : of whole chains
    log_ends : (2, 26) float64, how often chains begin and end at a vertebra, as log ratio to even frequencies
    """

    mean_mm: NDArray[np.float64]
    covariance_mm2: NDArray[np.float64]
    posture: PostureModel
    log_ends: NDArray[np.float64]

    def log_densities(self, spans: NDArray[np.float64]) -> list[LogDensity]:
        """Return for each of several links the log density of its displacements (..., 3), per mm^3.

        spans : (k, 25), how often each pair is contained in a link; ones from one rank to before another for a gap
        Over a gap, the pairs in between add up, with their deviations fully correlated: neighbours bend alike.
        """
        covariances = np.tensordot(spans, self.covariance_mm2, 1) * spans.sum(axis=1)[:, None, None]
        constants = -0.5 * np.linalg.slogdet(2 * np.pi * covariances)[1]
        gaussians = zip(spans @ self.mean_mm, np.linalg.inv(covariances), constants, strict=True)
        return [partial(_log_gaussian, *gaussian) for gaussian in gaussians]


LogDensity = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _log_gaussian(
    mean: NDArray[np.float64], inverse: NDArray[np.float64], constant: float, at: NDArray[np.float64]
) -> NDArray[np.float64]:
    residual = at - mean
    return np.asarray(constant - 0.5 * ((residual @ inverse) * residual).sum(axis=-1))


def learn_shape_model(centroids: Sequence[Centroids], settings: ShapeModelSettings) -> ShapeModel:
    """Learn displacements, posture and ends from annotated scans (world frame); no scan at all gives the prior."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in range(N_PAIRS)]
    for scan in centroids:
        for (upper, above), (lower, below) in zip(list(scan), list(scan)[1:], strict=False):
            if upper in RANK and lower in RANK and RANK[lower] == RANK[upper] + 1:
                found[RANK[upper]].append(below - above)
    mean, covariance = np.zeros((N_PAIRS, 3)), np.zeros((N_PAIRS, 3, 3))
    for pair in range(N_PAIRS):
        mean[pair], covariance[pair] = _blended(pair, found, settings)
    posture = learn_posture(centroids, settings.posture)
    return ShapeModel(mean, covariance, posture, learn_chain_ends(centroids, settings.even_ends))


def _blended(
    pair: int, found: list[list[NDArray[np.float64]]], settings: ShapeModelSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and covariance of a pair: its own samples, its neighbours' scaled to its length, the prior."""
    length = TYPICAL_MM[pair]
    rows, weights = [], []
    for other in range(N_PAIRS):
        distance = abs(other - pair)
        share = settings.neighbour_share**distance
        if distance > 3 or share == 0 or not found[other]:
            continue
        rows.append(np.array(found[other]) * (length / TYPICAL_MM[other]))
        weights.append(np.full(len(found[other]), share))
    prior_mean = TYPICAL_LINKS_MM[pair]
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
