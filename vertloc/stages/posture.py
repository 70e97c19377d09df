"""Training centroids -> how long and how inclined the links of a whole spine are, together.

A displacement alone says little about its level; a whole chain says much: links grow downwards, the neck and the
lumbar spine bend back and the chest bends forward. Three features describe a link: its log length, its inclination in
the sagittal and in the coronal plane. Over the 25 links of a spine each follows a multivariate Student t distribution,

    f ~ t_nu(m, K),   K_pq = g_p g_q (c^2 + s^2 exp(-(p - q)^2 / 2 l^2) + n^2 [p = q]) + j^2 T_pq

where c is common to the spine (the patient's size, the tilt of the bed), s varies smoothly along it (kyphosis,
lordosis, scoliosis), n is a link's own and j is the scatter of the points, which lengthens one link where it shortens
the next. Five numbers a feature suffice for the whole covariance, so it can be learnt from few spines, and any part of
a spine has its density in closed form. The t distribution (Lange, Little, Taylor 1989) lets one spine in a few be far
more crooked than the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log, pi
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.centroids import Centroids
from vertloc.geometry import Points
from vertloc.settings import CHECKED
from vertloc.vertebrae import RANK, VERTEBRAE

N_LINKS = len(VERTEBRAE) - 1
N_FEATURES = 3
_SMALLEST_COSINE = 0.1  # a link steeper than 84 degrees in the coronal plane has no density worth telling apart
_NUGGET = 1e-6
_CORONAL = 2
_ROUNDS = 3

TYPICAL_MM = np.array(
    [19, 18, 18, 17, 17, 18, 19, *np.linspace(20, 24, 6), *np.linspace(24.5, 31, 5), 32, 34, 35, 35, 35, 35, 30], float
)
"""Lengths of the links of an adult."""

# Sagittal inclinations of an adult who lies on the back (positive: backwards going down).
_TYPICAL_DEGREES = np.array(
    [-5, 4, 6, 9, 12, 18, 27, 31, 29, 25, 20, 15, 8, 0, -5, -8, -9, -12, -14, -15, -10, -2, 10, 33, 58], float
)
TYPICAL_LINKS_MM = TYPICAL_MM[:, None] * np.stack(
    [np.zeros(N_LINKS), np.sin(np.radians(_TYPICAL_DEGREES)), -np.cos(np.radians(_TYPICAL_DEGREES))], axis=1
)
"""The same as displacements (x, y, z) from each vertebra to the one below it."""

# Typical root mean square of a feature about its mean, and c, s, n, l, j where the data do not say otherwise.
_TYPICAL_DEVIATION = (0.12, 0.2, 0.12)
_TYPICAL_SHARES = np.log([0.06, 0.1, 0.1, 4.0, 1.5])
_LOWEST, _HIGHEST = np.array([-6, -6, -6, 0.3, -4]), np.array([1, 1, 1, 2.7, 1.5])

_RANKS = np.arange(N_LINKS)
_SQUARED_STEPS = (_RANKS[:, None] - _RANKS) ** 2.0
# Covariance of relative lengths, or of angles, when every point of the chain scatters by 1 mm.
_JITTER = np.diag(2 / TYPICAL_MM**2)
_JITTER[_RANKS[:-1], _RANKS[1:]] = _JITTER[_RANKS[1:], _RANKS[:-1]] = -1 / (TYPICAL_MM[:-1] * TYPICAL_MM[1:])


@checked(frozen=True, config=CHECKED)
class PostureSettings:
    """How the posture of whole spines is learnt.

    degrees_of_freedom : of the t distributions; the fewer, the less a crooked spine counts
    prior_spines : the typical posture of adults counts as much as this many spines
    smoothing_links : deviations of links are averaged over neighbours with a Gaussian this wide
    scatter_mm : points that are found scatter by so much more than annotated ones, along each axis
    """

    degrees_of_freedom: Annotated[float, Field(ge=1, le=1000)] = 8.0
    prior_spines: Annotated[float, Field(ge=0.01, le=1000)] = 0.5
    smoothing_links: Annotated[float, Field(ge=0.1, le=25)] = 1.5
    scatter_mm: Annotated[float, Field(ge=0, le=20)] = 1.5


@dataclass(frozen=True, eq=False)
class PostureModel:
    """The joint distribution of a spine's links.

    mean : (25, 3) float64: log length (mm), sagittal and coronal inclination (radians) below each vertebra but S2
    scale : (3, 25, 25) float64, scale matrix of each feature's t distribution
    degrees_of_freedom : of all three
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    degrees_of_freedom: float

    def log_density(self, points_mm: Points, spans: NDArray[np.float64]) -> float:
        """Log density of the displacements of a chain, per mm^3 each; the normal chain's is a sum over its links.

        points_mm : (m + 1, 3) world, top to bottom
        spans : (m, 25), how often each link of a normal spine is contained in each link of the chain: rows of the
            identity for neighbours, the sum of two over a gap
        """
        if len(spans) == 0:
            return 0.0
        found = link_features(points_mm)
        lengths = spans * np.exp(self.mean[:, 0])
        total = lengths.sum(axis=1)
        share = lengths / total[:, None]
        expected = share @ self.mean
        expected[:, 0] = np.log(total)
        # From features back to displacements: d^3x = r^3 cos(coronal) dlog(r) d(sagittal) d(coronal).
        density = -3 * found[:, 0].sum() - np.log(np.maximum(np.cos(found[:, 2]), _SMALLEST_COSINE)).sum()
        scale = share @ self.scale @ share.T + _NUGGET * np.eye(len(share))
        # Two links that look like the same one of a normal spine, around T13 or L6, still have lengths of their own.
        twice = (spans @ spans.T > 0).sum(axis=1) > 1
        scale += np.einsum("kii->ki", scale)[:, :, None] * np.diag(twice)
        return float(density + _log_t((found - expected).T, scale, self.degrees_of_freedom).sum())


def link_features(points_mm: Points) -> NDArray[np.float64]:
    """Return log length (mm), sagittal and coronal inclination (radians) of the links of a chain: (n - 1, 3).

    points_mm : (n, 3) world, top to bottom, no two the same. A link straight down the bed has inclinations of 0.
    """
    step = np.diff(points_mm, axis=0)
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-3)
    sagittal = np.arctan2(step[:, 1], -step[:, 2])
    coronal = np.arcsin(np.clip(step[:, 0] / length, -1, 1))
    return np.stack([np.log(length), sagittal, coronal], axis=1)


def learn_posture(centroids: Sequence[Centroids], settings: PostureSettings) -> PostureModel:
    """Learn the posture of annotated spines (world frame); no scan at all gives the prior."""
    features = np.array([_features_by_link(scan) for scan in centroids]).reshape(-1, N_LINKS, N_FEATURES)
    features = features[np.isfinite(features).any(axis=(1, 2))]
    mean = np.stack([np.log(TYPICAL_MM), np.radians(_TYPICAL_DEGREES), np.zeros(N_LINKS)], axis=1)
    scale = np.empty((N_FEATURES, N_LINKS, N_LINKS))
    for k in range(N_FEATURES):
        mean[:, k], scale[k] = _fitted(features[..., k], mean[:, k].copy(), k, settings)
        scale[k] += settings.scatter_mm**2 * _JITTER
    # Rounded, so that the last bits of a machine's BLAS do not show in a model.
    return PostureModel(np.round(mean, 6), np.round(scale, 9), settings.degrees_of_freedom)


def _features_by_link(scan: Centroids) -> NDArray[np.float64]:
    """(25, 3) features of the links that join neighbours; NaN for the others."""
    features = np.full((N_LINKS, N_FEATURES), np.nan)
    found = link_features(scan.points_mm) if len(scan) > 1 else np.empty((0, N_FEATURES))
    for upper, lower, row in zip(scan.labels, scan.labels[1:], found, strict=False):
        if upper in RANK and lower in RANK and RANK[lower] == RANK[upper] + 1:
            features[RANK[upper]] = row
    return features


def _fitted(
    rows: NDArray[np.float64], typical: NDArray[np.float64], feature: int, settings: PostureSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and scale matrix of one feature: weighted means, smoothed deviations and the five shares in turn.

    rows : (n, 25), NaN where a link is not known
    """
    from scipy.optimize import minimize  # applying a model does not need it

    mean, profile, shares = typical, np.ones(N_LINKS), _TYPICAL_SHARES
    doubt = np.zeros((N_LINKS, N_LINKS))
    freedom = settings.degrees_of_freedom
    for _ in range(_ROUNDS if len(rows) else 0):
        scale = _scale(shares, profile)
        # Spines lean left as often as right: the coronal mean stays 0.
        if feature != _CORONAL:
            mean, doubt = _weighted_mean(rows, mean, scale, typical, settings)
        residuals = rows - mean
        profile = _profile(residuals, feature, settings.smoothing_links)
        arguments = (residuals, profile, freedom)
        bounds = list(zip(_LOWEST, _HIGHEST, strict=True))
        found = minimize(_cost, shares, arguments, "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": 20})
        shares = np.round(found.x, 3)
    # Where few links were seen, their mean may be off, too.
    return mean, _scale(shares, profile) + doubt


def _scale(shares: NDArray[np.float64], profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """K of the module's equation."""
    common, smooth, own, width, jitter = np.exp(shares)
    alike = np.exp(-_SQUARED_STEPS / (2 * width**2))
    inner = common**2 + smooth**2 * alike + own**2 * np.eye(N_LINKS)
    return np.asarray(np.outer(profile, profile) * inner + jitter**2 * _JITTER + _NUGGET * np.eye(N_LINKS))


def _inverses(
    rows: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Inverses of the known parts of `scale`, 0 elsewhere: (m, 25, 25) and log determinants, and which a row has."""
    known, which = np.unique(np.isfinite(rows), axis=0, return_inverse=True)
    both = known[:, :, None] & known[:, None, :]
    # An unknown link stands apart with variance 1: it adds nothing to the determinant.
    parts = np.where(both, scale, np.eye(N_LINKS))
    return np.where(both, np.linalg.inv(parts), 0.0), np.linalg.slogdet(parts)[1], which.reshape(-1)


def _weighted_mean(
    rows: NDArray[np.float64],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    typical: NDArray[np.float64],
    settings: PostureSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Generalised least squares over spines of which only parts are known, and the typical spine: mean, covariance.

    A spine counts less, the less likely it is under the last `mean`.
    """
    inverse, _, which = _inverses(rows, scale)
    values, n = np.nan_to_num(rows), np.isfinite(rows).sum(axis=1)
    residual = np.nan_to_num(rows - mean)
    squared = np.einsum("ni,nij,nj->n", residual, inverse[which], residual)
    weight = (settings.degrees_of_freedom + n) / (settings.degrees_of_freedom + squared)
    prior = settings.prior_spines * np.linalg.inv(scale)
    precision = prior + np.einsum("n,nij->ij", weight, inverse[which])
    pull = prior @ typical + np.einsum("n,nij,nj->i", weight, inverse[which], values)
    covariance = np.linalg.inv(precision)
    return covariance @ pull, covariance


def _profile(residuals: NDArray[np.float64], feature: int, smoothing_links: float) -> NDArray[np.float64]:
    """Deviation of each link relative to the others, averaged over its neighbours and a typical one."""
    near = np.exp(-_SQUARED_STEPS / (2 * smoothing_links**2))
    n = near @ np.isfinite(residuals).sum(axis=0)
    squares = near @ np.nansum(residuals**2, axis=0)
    variance = (squares + 4 * _TYPICAL_DEVIATION[feature] ** 2) / (n + 4)
    return np.asarray(np.sqrt(variance / variance.mean()))


def _cost(
    shares: NDArray[np.float64], residuals: NDArray[np.float64], profile: NDArray[np.float64], freedom: float
) -> tuple[float, NDArray[np.float64]]:
    """Negative log posterior of the five shares, whose logarithms scatter by 1 about the typical, and its gradient."""
    inverse, determinant, which = _inverses(residuals, _scale(shares, profile))
    values, n = np.nan_to_num(residuals), np.isfinite(residuals).sum(axis=1)
    pull = np.einsum("nij,nj->ni", inverse[which], values)
    squared = (values * pull).sum(axis=1)
    cost = 0.5 * float((determinant[which] + (freedom + n) * np.log1p(squared / freedom)).sum())
    weight = (freedom + n) / (freedom + squared)
    slope = 0.5 * (np.tensordot(np.bincount(which, minlength=len(inverse)), inverse, 1) - (weight * pull.T) @ pull)
    common, smooth, own, width, jitter = np.exp(shares)
    alike = np.exp(-_SQUARED_STEPS / (2 * width**2))
    outer = np.outer(profile, profile)
    derivatives = (
        2 * common**2 * outer,
        2 * smooth**2 * outer * alike,
        2 * own**2 * np.diag(profile**2),
        smooth**2 * outer * alike * _SQUARED_STEPS / width**2,
        2 * jitter**2 * _JITTER,
    )
    gradient = np.array([(slope * derivative).sum() for derivative in derivatives])
    away = shares - _TYPICAL_SHARES
    return cost + 0.5 * float(away @ away), gradient + away


def _log_t(residual: NDArray[np.float64], scale: NDArray[np.float64], freedom: float) -> NDArray[np.float64]:
    """Log densities of multivariate t distributions: (k,) of (k, m) residuals and (k, m, m) scale matrices."""
    n = residual.shape[1]
    root = np.linalg.cholesky(scale)
    squared = (np.linalg.solve(root, residual[..., None])[..., 0] ** 2).sum(axis=1)
    determinant = np.log(np.einsum("kii->ki", root)).sum(axis=1)
    constant = lgamma((freedom + n) / 2) - lgamma(freedom / 2) - n / 2 * log(freedom * pi)
    return np.asarray(constant - determinant - (freedom + n) / 2 * np.log1p(squared / freedom))
