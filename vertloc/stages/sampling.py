"""Training scans -> labelled sample voxels: the foreground densely, the background thinned out.

Which voxels are drawn depends on the scan's own random generator only, so the samples of a scan do not change with
the other scans or with the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.geometry import Points
from vertloc.stages.dense_labels import (
    BACKGROUND,
    N_CLASSES,
    DenseLabels,
    DenseLabelSettings,
    dense_labels,
    expected_unannotated,
)
from vertloc.stages.preprocess import IsotropicVolume


@dataclass(frozen=True)
class SamplingSettings:
    """Which voxels of a training scan are shown to a tree.

    foreground_per_scan, background_per_scan : at most this many voxels of each kind
    foreground_from : a voxel is foreground if its background probability is at most 1 minus this
    centres_per_scan, centre_reach_mm : at most this many voxels teach where the nearest centroid is, from this near
    balance : 0 keeps the frequencies of the vertebrae, 1 gives all vertebrae the same total weight
    background_weight : total weight of the background against that of all vertebrae together
    """

    foreground_per_scan: int = 3000
    background_per_scan: int = 1500
    foreground_from: float = 0.2
    centres_per_scan: int = 3000
    centre_reach_mm: float = 18.0
    balance: float = 0.7
    background_weight: float = 0.6

    def __post_init__(self) -> None:
        if self.foreground_per_scan < 1 or self.background_per_scan < 1:
            raise ValueError("foreground_per_scan and background_per_scan must be at least 1")
        if self.centres_per_scan < 1 or not 1 <= self.centre_reach_mm <= 100:
            raise ValueError("centres_per_scan must be at least 1 and centre_reach_mm lie within 1 and 100")
        if not 0 < self.foreground_from < 1:
            raise ValueError(f"foreground_from must lie between 0 and 1, got {self.foreground_from}")
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance must lie within 0 and 1, got {self.balance}")
        if not 0 < self.background_weight <= 100:
            raise ValueError(f"background_weight must lie within 0 and 100, got {self.background_weight}")


@dataclass(frozen=True, eq=False)
class TrainingScan:
    """One annotated scan, ready for training.

    centroids : in the world frame; patient : scans of one patient stay together when trees choose their scans
    """

    volume: IsotropicVolume
    centroids: Centroids
    patient: str
    name: str


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled voxels of one scan.

    index : (n, 3) int64, (z, y, x) voxel of the isotropic volume
    labels : their soft labels
    """

    index: NDArray[np.int64]
    labels: DenseLabels


def draw_samples(
    scan: TrainingScan, label_settings: DenseLabelSettings, settings: SamplingSettings, rng: np.random.Generator
) -> Samples:
    """Draw the sample voxels of a scan, in the order of the array."""
    shape = scan.volume.voxels.shape
    index = np.indices(shape).reshape(3, -1).T
    labels = dense_labels(scan.volume.grid.to_world(index), scan.centroids, label_settings)
    is_foreground = labels.probability[:, BACKGROUND] <= 1 - settings.foreground_from
    chosen = [
        _at_most(np.flatnonzero(is_foreground), settings.foreground_per_scan, rng),
        _at_most(np.flatnonzero(~is_foreground & (labels.weight > 0.05)), settings.background_per_scan, rng),
    ]
    rows = np.sort(np.concatenate(chosen))
    return Samples(index[rows].astype(np.int64), DenseLabels(labels.probability[rows], labels.weight[rows]))


@dataclass(frozen=True, eq=False)
class CentreSamples:
    """Voxels of one scan near its centroids.

    index : (n, 3) int64, (z, y, x) voxel; displacement_mm : (n, 3) float32, (x, y, z) from the voxel to the centroid
    """

    index: NDArray[np.int64]
    displacement_mm: NDArray[np.float32]


def draw_centre_samples(
    scan: TrainingScan, label_settings: DenseLabelSettings, settings: SamplingSettings, rng: np.random.Generator
) -> CentreSamples:
    """Draw voxels near annotated centroids, in the order of the array; none nearer to an unannotated vertebra."""
    index = np.indices(scan.volume.voxels.shape).reshape(3, -1).T
    points = scan.volume.grid.to_world(index)
    nearest, distance = _nearest(points, scan.centroids.points_mm)
    _, ghost_distance = _nearest(points, expected_unannotated(scan.centroids, label_settings))
    near = np.flatnonzero((distance <= settings.centre_reach_mm) & (distance < ghost_distance))
    rows = np.sort(_at_most(near, settings.centres_per_scan, rng))
    displacement = scan.centroids.points_mm[nearest[rows]] - points[rows]
    return CentreSamples(index[rows].astype(np.int64), displacement.astype(np.float32))


def _nearest(points_mm: Points, targets_mm: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Row of, and distance to, the nearest target of each point; an infinite distance without targets."""
    row, squared = np.zeros(len(points_mm), np.int64), np.full(len(points_mm), np.inf)
    for i, target in enumerate(targets_mm):
        to_target = ((points_mm - target) ** 2).sum(axis=1)
        row[to_target < squared] = i
        np.minimum(squared, to_target, out=squared)
    return row, np.sqrt(squared)


def class_weights(samples: Sequence[Samples], settings: SamplingSettings) -> NDArray[np.float64]:
    """Return (27,) weights that balance the classes over all samples; 0 for a class that does not occur."""
    mass = np.zeros(N_CLASSES)
    for part in samples:
        mass += (part.labels.probability * part.labels.weight[:, None]).sum(axis=0, dtype=np.float64)
    weights = np.zeros(N_CLASSES)
    seen = mass > 0
    weights[seen] = (mass[seen] / mass.sum()) ** -settings.balance
    vertebrae = (weights * mass)[BACKGROUND + 1 :].sum()
    if seen[BACKGROUND] and vertebrae > 0:
        weights[BACKGROUND] = settings.background_weight * vertebrae / mass[BACKGROUND]
    return weights


def _at_most(rows: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= n else rng.choice(rows, n, replace=False)
