"""Sparse centroids -> a distribution over background and 26 vertebrae at any voxel (Glocker et al. 2013, section 2.1).

With phi_v(x) = exp(-|x - c_v|^2 / h_v) for every annotated vertebra v, vertebra v weighs phi_v, the background
1 - max_v phi_v, and the weights are normalised: between two vertebrae the label is honestly uncertain. h_v is chosen
so that phi_v falls to one half at the radius of the vertebra's body.

An image often ends inside a vertebra that nobody annotated. Its voxels look like a vertebra and must not be taught as
background: where the chain of annotated vertebrae goes on (past its ends, or in a gap), the missing centroids are
extrapolated, and samples near them lose their say as background in proportion to their phi.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.centroids import Centroids
from vertloc.geometry import Grid, Points
from vertloc.settings import CHECKED
from vertloc.vertebrae import BODY_DIAMETER_MM, RANK, VERTEBRAE

BACKGROUND = 0
N_CLASSES = len(VERTEBRAE) + 1
"""Class 0 is the background, class i + 1 the vertebra of rank i."""

RadiusFactor = Annotated[float, Field(ge=0.1, le=5)]
"""At how many body radii from its centroid a vertebra's label falls to one half."""


@checked(frozen=True, config=CHECKED)
class DenseLabelSettings:
    """How far a centroid's label reaches.

    radius_factor : a vertebra's label falls to one half at this many body radii from its centroid; 1: at the surface
    unannotated_levels : how many unannotated vertebrae past each end of the chain are kept out of the background
    """

    radius_factor: RadiusFactor = 1.0
    unannotated_levels: Annotated[int, Field(ge=0, le=5)] = 2


@dataclass(frozen=True, eq=False)
class DenseLabels:
    """Soft labels of n points.

    probability : (n, 27) float32, rows sum to 1
    weight : (n,) float32 in 0..1, how far the row can be trusted; below 1 near unannotated vertebrae
    """

    probability: NDArray[np.float32]
    weight: NDArray[np.float32]


def dense_labels(points_mm: Points, centroids: Centroids, settings: DenseLabelSettings) -> DenseLabels:
    """Label points by the annotated centroids.

    points_mm : (n, 3) float64, (x, y, z), in the frame of `centroids`
    Without centroids everything is background. Variants (T13, L6) label nothing; their voxels get no weight.
    """
    phi = np.zeros((len(points_mm), N_CLASSES), np.float32)
    for label, centroid in centroids:
        if label in RANK:
            phi[:, RANK[label] + 1] = _phi(points_mm, centroid, label, settings)
    strongest = phi.max(axis=1, initial=0.0)
    phi[:, BACKGROUND] = 1 - strongest
    hidden = np.zeros(len(points_mm), np.float32)
    for label, centroid in _unannotated(centroids, settings):
        np.maximum(hidden, _phi(points_mm, centroid, label, settings), out=hidden)
    weight = 1 - phi[:, BACKGROUND] * hidden
    return DenseLabels(phi / phi.sum(axis=1, keepdims=True), weight)


@dataclass(frozen=True, eq=False)
class BackgroundMap:
    """What `dense_labels` says about the background at every voxel of a grid.

    probability, weight : (z, y, x) float32, as in `DenseLabels`, but for rounding
    """

    probability: NDArray[np.float32]
    weight: NDArray[np.float32]


def background_map(grid: Grid, centroids: Centroids, settings: DenseLabelSettings, smallest: float) -> BackgroundMap:
    """Map the background of a whole grid, many times faster than `dense_labels` at all its voxels.

    A Gaussian is the product of three, one along each axis. phi below `smallest` counts as zero.
    """
    strongest, total, hidden = (np.zeros(grid.shape, np.float32) for _ in range(3))
    for label, centroid in centroids:
        if label in RANK:
            window, phi = _phi_window(grid, centroid, label, settings, smallest)
            np.maximum(strongest[window], phi, out=strongest[window])
            total[window] += phi
    for label, centroid in _unannotated(centroids, settings):
        window, phi = _phi_window(grid, centroid, label, settings, smallest)
        np.maximum(hidden[window], phi, out=hidden[window])
    background = 1 - strongest
    return BackgroundMap(background / (background + total), 1 - background * hidden)


def _phi_window(
    grid: Grid, centroid_mm: Points, label: str, settings: DenseLabelSettings, smallest: float
) -> tuple[tuple[slice, ...], NDArray[np.float32]]:
    """Return the part of a grid where phi is at least `smallest`, and phi there."""
    width = label_width_mm2(RANK[label], settings.radius_factor)
    centre = grid.to_index(centroid_mm)[0]
    spacing = np.array(grid.spacing_mm[::-1])
    reach = np.sqrt(width * -np.log(smallest)) / spacing
    low = np.clip(np.ceil(centre - reach), 0, grid.shape).astype(int)
    end = np.clip(np.floor(centre + reach) + 1, low, grid.shape).astype(int)
    z, y, x = (
        np.exp(-(((np.arange(a, b) - c) * s) ** 2) / width).astype(np.float32)
        for a, b, c, s in zip(low, end, centre, spacing, strict=True)
    )
    return tuple(map(slice, low, end)), z[:, None, None] * y[:, None] * x


def label_width_mm2(rank: int, radius_factor: float) -> float:
    """Return h_v, mm^2: phi falls to one half at `radius_factor` body radii."""
    return float((radius_factor * BODY_DIAMETER_MM[VERTEBRAE[rank]] / 2) ** 2 / np.log(2))


def _phi(points_mm: Points, centroid_mm: Points, label: str, settings: DenseLabelSettings) -> NDArray[np.float32]:
    squared = ((points_mm - centroid_mm) ** 2).sum(axis=1)
    width = label_width_mm2(RANK[label], settings.radius_factor)
    return np.asarray(np.exp(-squared / width), dtype=np.float32)


def expected_unannotated(centroids: Centroids, settings: DenseLabelSettings) -> Points:
    """Where vertebrae must be that nobody annotated: (n, 3) mm, in the frame of `centroids`."""
    return np.array([point for _, point in _unannotated(centroids, settings)], dtype=np.float64).reshape(-1, 3)


def _unannotated(centroids: Centroids, settings: DenseLabelSettings) -> list[tuple[str, Points]]:
    """List expected centroids of vertebrae that nobody annotated: variants, gaps, and the chain's continuation."""
    expected = [("L5" if label == "L6" else "T12", point) for label, point in centroids if label not in RANK]
    known = [(RANK[label], point) for label, point in centroids if label in RANK]
    for (upper, above), (lower, below) in pairwise(known):
        for rank in range(upper + 1, lower):
            share = (rank - upper) / (lower - upper)
            expected.append((VERTEBRAE[rank], above + share * (below - above)))
    if len(known) >= 2:
        expected += _continued(known[0], known[1], settings.unannotated_levels)
        expected += _continued(known[-1], known[-2], settings.unannotated_levels)
    return expected


def _continued(last: tuple[int, Points], before: tuple[int, Points], count: int) -> list[tuple[str, Points]]:
    """Continue a chain in a straight line past its last vertebra."""
    direction = 1 if last[0] > before[0] else -1
    step = (last[1] - before[1]) / abs(last[0] - before[0])
    ranks = [last[0] + direction * k for k in range(1, count + 1)]
    return [(VERTEBRAE[r], last[1] + abs(r - last[0]) * step) for r in ranks if 0 <= r < len(VERTEBRAE)]
