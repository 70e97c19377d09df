"""Training scans -> views of their annotated centroids in the spine's frame, to teach the naming forest.

A view is a scan as a user might have cropped it, mirrored or not, with frames as imperfect as found ones are. Its
samples lie scattered around the centroids, as found centres do; others lie between and beside the vertebrae and teach
what is no centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Grid, Points
from vertloc.settings import CHECKED, Share
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingScan, TrainingView, generators
from vertloc.stages.shape_model import ShapeModel
from vertloc.stages.spine_frame import rotation, spine_frames
from vertloc.vertebrae import RANK
from vertloc.workers import run_pieces

_MIRROR = np.diag([-1.0, 1.0, 1.0])
_TRIES_PER_NEGATIVE = 30


@checked(frozen=True, config=CHECKED)
class NamingSampleSettings:
    """What the naming forest is taught with.

    views_per_scan : the first is the whole scan, the others are cropped from above and below
    samples_per_vertebra : samples around each centroid in a view
    scatter_mm : their standard deviation, about the error of a found centre
    negatives_per_view : samples that are no centre, to learn to refuse
    negative_from_mm : these keep this distance from every centroid; nearer is not wrong enough
    negative_near_mm : two thirds of them lie this near to one: discs, halfway to the next body
    tilt_degrees : standard deviation of the error of the spine's direction
    scale_deviation : standard deviation of the error of the patient's size, as a share
    balance : 0 keeps the frequencies of the vertebrae in the training scans, 1 gives all the same weight
    """

    views_per_scan: Annotated[int, Field(ge=1, le=100)] = 3
    samples_per_vertebra: Annotated[int, Field(ge=1, le=1000)] = 8
    scatter_mm: Annotated[float, Field(ge=0, le=20)] = 2.0
    negatives_per_view: Annotated[int, Field(ge=0, le=1000)] = 21
    negative_from_mm: Annotated[float, Field(ge=0, le=100)] = 6.0
    negative_near_mm: Annotated[float, Field(ge=0, le=100)] = 16.0
    tilt_degrees: Annotated[float, Field(ge=0, le=45)] = 4.0
    scale_deviation: Annotated[float, Field(ge=0, le=0.5)] = 0.04
    balance: Share = 0.5

    def __post_init__(self) -> None:
        if not self.negative_from_mm <= self.negative_near_mm:
            found = f"negative_from_mm {self.negative_from_mm}, negative_near_mm {self.negative_near_mm}"
            raise ValueError(f"negative_from_mm <= negative_near_mm must hold, got {found}")


@dataclass(frozen=True, eq=False)
class NamingView:
    """Samples of one view of a scan.

    index : (n, 3) int64, (z, y, x) voxel of `volume`; classes : (n,) uint8, 0 background, rank + 1 a vertebra
    frame : (n,) int64, row of `frames`; frames : (k, 3, 3) from the spine's frame to the world
    """

    volume: IsotropicVolume
    index: NDArray[np.int64]
    classes: NDArray[np.uint8]
    frame: NDArray[np.int64]
    frames: NDArray[np.float64]


def naming_views(
    scans: Sequence[TrainingScan],
    shape: ShapeModel,
    settings: NamingSampleSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
) -> list[TrainingView]:
    """Draw what teaches the naming forest; targets are (n, 27) class masses, balanced over all views."""
    rngs = generators(seed, len(scans))
    drawn = run_pieces(lambda i: draw_naming_views(scans[i], shape, settings, rngs[i]), len(scans), n_threads)
    classes = [view.classes for views in drawn for view in views]
    weights = _class_weights(np.concatenate([np.empty(0, np.uint8), *classes]), settings.balance)
    mass = np.eye(N_CLASSES, dtype=np.float32) * weights
    return [
        TrainingView(view.volume, scan.patient, view.index, mass[view.classes], view.frame, view.frames)
        for scan, views in zip(scans, drawn, strict=True)
        for view in views
    ]


def _class_weights(classes: NDArray[np.uint8], balance: float) -> NDArray[np.float32]:
    """Weight of each class: its frequency to the power of minus `balance`."""
    share = np.bincount(classes, minlength=N_CLASSES) / max(len(classes), 1)
    weights = np.zeros(N_CLASSES)
    weights[share > 0] = share[share > 0] ** -balance
    return weights.astype(np.float32)


def draw_naming_views(
    scan: TrainingScan, shape: ShapeModel, settings: NamingSampleSettings, rng: np.random.Generator
) -> list[NamingView]:
    """Draw the views of a scan; none if no vertebra of the 26 is annotated."""
    known = [(RANK[label], point) for label, point in scan.centroids if label in RANK]
    if not known:
        return []
    ranks = np.array([rank for rank, _ in known], np.int64)
    points = np.stack([point for _, point in known])
    frames = spine_frames(points, ranks, shape)
    at = scan.volume.grid.to_index(points)
    views = []
    for view in range(settings.views_per_scan):
        volume, below = scan.volume, 0
        if view > 0 and len(ranks) > 3:
            volume, below = _cropped(scan.volume, at[:, 0], rng)
        views.append(_view(volume, below, at, ranks, frames, settings, rng))
    return views


def _cropped(
    volume: IsotropicVolume, centre_z: NDArray[np.float64], rng: np.random.Generator
) -> tuple[IsotropicVolume, int]:
    """Keep the slices around 3 to 10 successive vertebrae; also return the first slice that is kept."""
    z = np.sort(centre_z)
    n = int(rng.integers(3, min(10, len(z)) + 1))
    lowest = int(rng.integers(0, len(z) - n + 1))
    margins = rng.uniform(6.0, 30.0, 2) / volume.spacing_mm
    first = int(np.clip(z[lowest] - margins[0], 0, volume.voxels.shape[0] - 1))
    end = int(np.clip(z[lowest + n - 1] + margins[1] + 1, first + 1, volume.voxels.shape[0]))
    voxels = np.ascontiguousarray(volume.voxels[first:end])
    return IsotropicVolume(voxels, Grid(voxels.shape, volume.grid.spacing_mm)), first


def _view(
    volume: IsotropicVolume,
    below: int,
    at: Points,
    ranks: NDArray[np.int64],
    frames: NDArray[np.float64],
    settings: NamingSampleSettings,
    rng: np.random.Generator,
) -> NamingView:
    """Draw the samples of one view.

    below : slices cut off below; at : (k, 3) centroids as continuous indices of the whole scan
    """
    tilt, bend = np.radians(rng.normal(0, settings.tilt_degrees, 2))
    error = np.exp(rng.normal(0, settings.scale_deviation)) * rotation(tilt, bend)
    mirror = _MIRROR if rng.random() < 0.5 else np.eye(3)
    scatter = rng.normal(0, settings.scatter_mm / volume.spacing_mm, (len(at), settings.samples_per_vertebra, 3))
    positive = (at[:, None] + scatter).reshape(-1, 3) - (below, 0, 0)
    negative, nearest = _negatives(volume, at - (below, 0, 0), settings, rng)
    n_own = settings.samples_per_vertebra
    classes = np.concatenate([np.repeat(ranks + 1, n_own), np.full(len(negative), BACKGROUND)])
    frame = np.concatenate([np.repeat(np.arange(len(at)), n_own), nearest])
    index = np.rint(np.concatenate([positive, negative])).astype(np.int64)
    inside = ((index >= 0) & (index < volume.voxels.shape)).all(axis=1)
    return NamingView(volume, index[inside], classes[inside].astype(np.uint8), frame[inside], error @ frames @ mirror)


def _negatives(
    volume: IsotropicVolume, at: Points, settings: NamingSampleSettings, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw voxels away from every centroid: indices, and the row of the centroid nearest to each."""
    tries = rng.integers(0, volume.voxels.shape, (settings.negatives_per_view * _TRIES_PER_NEGATIVE, 3))
    distance = np.linalg.norm(tries[:, None] - at[None], axis=2) * volume.spacing_mm
    nearest, distance = distance.argmin(axis=1), distance.min(axis=1)
    is_near = (distance >= settings.negative_from_mm) & (distance < settings.negative_near_mm)
    n_near = -(-settings.negatives_per_view * 2 // 3)
    near = np.flatnonzero(is_near)[:n_near]
    far = np.flatnonzero(distance >= settings.negative_near_mm)[: settings.negatives_per_view - n_near]
    rows = np.concatenate([near, far])
    return tries[rows].astype(np.float64), nearest[rows]
