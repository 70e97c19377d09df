"""Training scans -> views of their annotated centroids in the spine's frame, to teach the naming discriminant.

A view is a scan as another hospital would have cropped and scanned it (see `scan_views`), mirrored or not, with frames
as imperfect as found ones are. Its samples lie scattered around the centroids, as found centres do; others lie between
and beside the vertebrae and teach what is no centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Points
from vertloc.settings import CHECKED
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingScan, TrainingView, generators
from vertloc.stages.scan_views import ScanView, ScanViewSettings, draw_scan_view
from vertloc.stages.shape_model import ShapeModel
from vertloc.stages.spine_frame import rotation, spine_frames
from vertloc.vertebrae import RANK
from vertloc.workers import run_pieces

_MIRROR = np.diag([-1.0, 1.0, 1.0])
_TRIES_PER_NEGATIVE = 30


@checked(frozen=True, config=CHECKED)
class NamingSampleSettings:
    """What the naming discriminant is taught with.

    views_per_scan : the first is the scan as it is, the others are changed
    changes : how
    samples_per_vertebra : samples around each centroid in a view
    scatter_mm : their standard deviation, about the error of a found centre
    negatives_per_view : samples that are no centre, to learn to refuse
    negative_from_mm : these keep this distance from every centroid; nearer is not wrong enough
    negative_near_mm : two thirds of them lie this near to one: discs, halfway to the next body
    tilt_degrees : standard deviation of the error of the spine's direction
    scale_deviation : standard deviation of the error of the patient's size, as a share
    """

    views_per_scan: Annotated[int, Field(ge=1, le=100)] = 12
    changes: ScanViewSettings = field(default_factory=ScanViewSettings)
    samples_per_vertebra: Annotated[int, Field(ge=1, le=1000)] = 4
    scatter_mm: Annotated[float, Field(ge=0, le=20)] = 2.0
    negatives_per_view: Annotated[int, Field(ge=0, le=1000)] = 14
    negative_from_mm: Annotated[float, Field(ge=0, le=100)] = 6.0
    negative_near_mm: Annotated[float, Field(ge=0, le=100)] = 16.0
    tilt_degrees: Annotated[float, Field(ge=0, le=45)] = 4.0
    scale_deviation: Annotated[float, Field(ge=0, le=0.5)] = 0.05

    def __post_init__(self) -> None:
        if not self.negative_from_mm <= self.negative_near_mm:
            found = f"negative_from_mm {self.negative_from_mm}, negative_near_mm {self.negative_near_mm}"
            raise ValueError(f"negative_from_mm <= negative_near_mm must hold, got {found}")


@dataclass(frozen=True, eq=False)
class NamingView:
    """Samples of one view of a scan.

    index : (n, 3) int64, (z, y, x) voxel of `volume`; classes : (n,) uint8, 0 background, rank + 1 a vertebra
    frame : (n,) int64, row of `frames`; frames : (k, 3, 3) from the spine's frame to the world
    displacement_mm : (n, 3) float64, to the sample's centroid in the spine's frame; 0 for the background
    """

    volume: IsotropicVolume
    index: NDArray[np.int64]
    classes: NDArray[np.uint8]
    frame: NDArray[np.int64]
    frames: NDArray[np.float64]
    displacement_mm: NDArray[np.float64]


def naming_views(
    scans: Sequence[TrainingScan],
    shape: ShapeModel,
    settings: NamingSampleSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
) -> list[TrainingView]:
    """Draw what teaches the naming discriminant; targets are (n, 27), 1 for a sample's class."""
    rngs = generators(seed, len(scans))
    drawn = run_pieces(lambda i: draw_naming_views(scans[i], shape, settings, rngs[i]), len(scans), n_threads)
    mass = np.eye(N_CLASSES, dtype=np.float32)
    return [
        TrainingView(
            view.volume, scan.patient, view.index, mass[view.classes], view.frame, view.frames, view.displacement_mm
        )
        for scan, views in zip(scans, drawn, strict=True)
        for view in views
    ]


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
    views = []
    at = scan.volume.grid.to_index(points)
    inside = np.asarray(((at >= 0) & (at <= np.array(scan.volume.voxels.shape) - 1)).all(axis=1))
    for k in range(settings.views_per_scan):
        drawn = draw_scan_view(scan.volume, points, settings.changes, rng) if k else ScanView(scan.volume, inside)
        views.append(_view(drawn, points, ranks, frames, settings, rng))
    return views


def _view(
    drawn: ScanView,
    points_mm: Points,
    ranks: NDArray[np.int64],
    frames: NDArray[np.float64],
    settings: NamingSampleSettings,
    rng: np.random.Generator,
) -> NamingView:
    """Draw the samples of one view: those of the (k, 3) centroids that it shows, and others."""
    tilt, bend = np.radians(rng.normal(0, settings.tilt_degrees, 2))
    error = np.exp(rng.normal(0, settings.scale_deviation)) * rotation(tilt, bend)
    mirror = _MIRROR if rng.random() < 0.5 else np.eye(3)
    volume = drawn.volume
    at = volume.grid.to_index(points_mm)
    shown = np.flatnonzero(drawn.is_shown)
    n_own = settings.samples_per_vertebra
    scatter = rng.normal(0, settings.scatter_mm / volume.spacing_mm, (len(shown), n_own, 3))
    positive = (at[shown, None] + scatter).reshape(-1, 3)
    negative, nearest = _negatives(volume, at, settings, rng)
    classes = np.concatenate([np.repeat(ranks[shown] + 1, n_own), np.full(len(negative), BACKGROUND)])
    frame = np.concatenate([np.repeat(shown, n_own), nearest])
    index = np.rint(np.concatenate([positive, negative])).astype(np.int64)
    inside = ((index >= 0) & (index < volume.voxels.shape)).all(axis=1)
    index, classes, frame = index[inside], classes[inside].astype(np.uint8), frame[inside]
    seen = error @ frames @ mirror
    to_centroid = points_mm[frame] - volume.grid.to_world(index.astype(np.float64))
    displacement = np.einsum("nij,nj->ni", np.linalg.inv(seen)[frame], to_centroid)
    displacement[classes == BACKGROUND] = 0
    return NamingView(volume, index, classes, frame, seen, displacement)


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
