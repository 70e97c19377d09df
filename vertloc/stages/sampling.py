"""Training scans -> labelled sample voxels: the foreground densely, the background thinned out.

Which voxels are drawn depends on the scan's own random generator only, so the samples of a scan do not change with
the other scans or with the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.annotation_check import annotation_problem
from vertloc.centroids import Centroids
from vertloc.geometry import Grid, Points
from vertloc.settings import CHECKED, Share
from vertloc.stages.dense_labels import (
    BACKGROUND,
    N_CLASSES,
    DenseLabels,
    DenseLabelSettings,
    background_map,
    dense_labels,
    expected_unannotated,
)
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.workers import run_pieces


@checked(frozen=True, config=CHECKED)
class SamplingSettings:
    """Which voxels of a training scan are shown to a tree.

    foreground_per_scan : at most this many voxels; 3000 are about all there are at 3 mm in a cropped scan
    background_per_scan : at most this many voxels; thinned out, since most of a scan is background
    foreground_from : a voxel counts as foreground from this probability of any vertebra
    balance : 0 keeps the frequencies of the vertebrae, 1 makes rare ones (C1, S2) count as much as all others
    background_weight : total weight of the background against that of all vertebrae together; lower finds more
    """

    foreground_per_scan: Annotated[int, Field(ge=1, le=100_000_000)] = 3000
    background_per_scan: Annotated[int, Field(ge=1, le=100_000_000)] = 1500
    foreground_from: Annotated[float, Field(gt=0, lt=1)] = 0.2
    balance: Share = 0.7
    background_weight: Annotated[float, Field(gt=0, le=100)] = 0.6


@checked(frozen=True, config=CHECKED)
class CentreSampleSettings:
    """Which voxels of a training scan teach where the nearest centroid is.

    per_scan : at most this many voxels
    reach_mm : none is farther from its centroid than this: about the radius of a lumbar body
    """

    per_scan: Annotated[int, Field(ge=1, le=100_000_000)] = 3000
    reach_mm: Annotated[float, Field(ge=1, le=100)] = 18.0


@dataclass(frozen=True, eq=False)
class TrainingScan:
    """One annotated scan, ready for training.

    centroids : in the frame of the volume's grid, which is the world frame if the scan is not tilted
    patient : scans of one patient stay together when trees choose their scans

    Raises ValueError for centroids in the local frame, or that cannot belong to the volume.
    """

    volume: IsotropicVolume
    centroids: Centroids
    patient: str
    name: str

    def __post_init__(self) -> None:
        if self.centroids.frame != "world":
            raise ValueError(f"{self.name}: centroids must be in the world frame, got {self.centroids.frame}")
        if problem := annotation_problem(self.centroids, self.volume.grid):
            raise ValueError(f"{self.name}: its annotation does not fit the volume: {problem}")


@dataclass(frozen=True, eq=False)
class TrainingView:
    """Sample voxels of one view of a training scan, and what is to be answered there.

    A view is the scan itself, or a part or another version of it.
    index : (n, 3) int64, (z, y, x) voxel of `volume`
    targets : (n, K) float32, class masses or displacements; see `tree_growing`
    frame : (n,) int64, row of `frames`; frames : (k, 3, 3) for `FeaturePool.transformed`; without them features are
        measured in the patient's frame
    displacement_mm : (n, 3) to the centroid of each sample's vertebra, in the sample's frame; None: not told
    """

    volume: IsotropicVolume
    patient: str
    index: NDArray[np.int64]
    targets: NDArray[np.float32]
    frame: NDArray[np.int64] | None = None
    frames: NDArray[np.float64] | None = None
    displacement_mm: NDArray[np.float64] | None = None


def classification_views(
    scans: Sequence[TrainingScan],
    labels: DenseLabelSettings,
    settings: SamplingSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
) -> list[TrainingView]:
    """Draw what teaches the classification forest; targets are (n, 27) class masses, balanced over all scans."""
    rngs = generators(seed, len(scans))
    samples = run_pieces(lambda i: draw_samples(scans[i], labels, settings, rngs[i]), len(scans), n_threads)
    weights = class_weights(samples, settings).astype(np.float32)
    return [
        TrainingView(
            scan.volume, scan.patient, own.index, own.labels.probability * own.labels.weight[:, None] * weights
        )
        for scan, own in zip(scans, samples, strict=True)
    ]


def centre_views(
    scans: Sequence[TrainingScan],
    labels: DenseLabelSettings,
    settings: CentreSampleSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
) -> list[TrainingView]:
    """Draw what teaches the centre forest; targets are (n, 3) displacements, mm."""
    rngs = generators(seed, len(scans))
    samples = run_pieces(lambda i: draw_centre_samples(scans[i], labels, settings, rngs[i]), len(scans), n_threads)
    return [
        TrainingView(scan.volume, scan.patient, own.index, own.displacement_mm)
        for scan, own in zip(scans, samples, strict=True)
    ]


def generators(seed: np.random.SeedSequence, n: int) -> list[np.random.Generator]:
    """One generator a scan. A scan's samples do not depend on the other scans."""
    return [
        np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, i))) for i in range(n)
    ]


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
    grid = scan.volume.grid
    # Twenty-six vertebrae of less than this together are no foreground yet.
    smallest = settings.foreground_from / 40
    background = background_map(grid, scan.centroids, label_settings, smallest)
    is_foreground = (background.probability <= 1 - settings.foreground_from).ravel()
    is_trusted = (background.weight > 0.05).ravel()
    chosen = [
        _at_most(np.flatnonzero(is_foreground), settings.foreground_per_scan, rng),
        _at_most(np.flatnonzero(~is_foreground & is_trusted), settings.background_per_scan, rng),
    ]
    index = np.stack(np.unravel_index(np.sort(np.concatenate(chosen)), grid.shape), axis=1)
    return Samples(index.astype(np.int64), dense_labels(grid.to_world(index), scan.centroids, label_settings))


@dataclass(frozen=True, eq=False)
class CentreSamples:
    """Voxels of one scan near its centroids.

    index : (n, 3) int64, (z, y, x) voxel; displacement_mm : (n, 3) float32, (x, y, z) from the voxel to the centroid
    """

    index: NDArray[np.int64]
    displacement_mm: NDArray[np.float32]


def draw_centre_samples(
    scan: TrainingScan, label_settings: DenseLabelSettings, settings: CentreSampleSettings, rng: np.random.Generator
) -> CentreSamples:
    """Draw voxels near annotated centroids, in the order of the array; none nearer to an unannotated vertebra."""
    grid = scan.volume.grid
    index = _around(grid, scan.centroids.points_mm, settings.reach_mm)
    points = grid.to_world(index)
    nearest, distance = _nearest(points, scan.centroids.points_mm)
    _, hidden_distance = _nearest(points, expected_unannotated(scan.centroids, label_settings))
    near = np.flatnonzero((distance <= settings.reach_mm) & (distance < hidden_distance))
    rows = np.sort(_at_most(near, settings.per_scan, rng))
    displacement = scan.centroids.points_mm[nearest[rows]] - points[rows]
    return CentreSamples(index[rows], displacement.astype(np.float32))


def _around(grid: Grid, points_mm: Points, reach_mm: float) -> NDArray[np.int64]:
    """Voxels in cubes around points, in the order of the array: (n, 3) int64; among them all within reach."""
    is_around = np.zeros(grid.shape, bool)
    for centre in grid.to_index(points_mm):
        low = np.clip(np.floor(centre - reach_mm / grid.spacing_mm[0]), 0, None).astype(int)
        high = np.clip(np.ceil(centre + reach_mm / grid.spacing_mm[0]), -1, None).astype(int)
        is_around[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    return np.argwhere(is_around)


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
