"""Centres + a first chain -> named candidates again, this time seen from the spine.

The classification forest names voxels wherever they are, in the patient's frame. Once a chain is found, place,
direction and size of the spine are known, and the question becomes easier: which vertebra is centred *here*, on a spine
that runs *this* way, in a patient of *this* size? A linear discriminant answers it (see `discriminant`). It is learnt
at annotated centroids, from features whose offsets and sizes are measured in the spine's frame, and has a class for
centres that are none. It also tells how far a place has missed its centroid, and places are corrected before they are
named again.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Points
from vertloc.settings import CHECKED, Share
from vertloc.stages.centroid_density import Candidates, log_odds
from vertloc.stages.context_features import fill_feature_columns, make_integral_image
from vertloc.stages.dense_labels import BACKGROUND
from vertloc.stages.discriminant import LinearDiscriminant
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.shape_labelling import Labelling
from vertloc.stages.shape_model import ShapeModel
from vertloc.stages.spine_frame import nearest_frames, spine_frames
from vertloc.vertebrae import VERTEBRAE
from vertloc.workers import run_pieces

_FARTHEST_MM = 6.0  # about the largest error of a found place: three standard deviations of the samples' scatter


@checked(frozen=True, config=CHECKED)
class NamingSettings:
    """How the discriminant's answers become candidates.

    score_weight : what a unit of a score counts: features of one scan err together
    smallest_probability : a centre is no candidate for a vertebra less probable than this
    reference_probability : a candidate of this probability is worth as much as a missing vertebra: its log odds are 0
    passes : how often the places are named, each time in the frame of the chain found before
    correction : share of the way to where its centroid is expected that a place is moved between two passes
    """

    score_weight: Annotated[float, Field(gt=0, le=10)] = 0.12
    smallest_probability: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.0001
    reference_probability: Annotated[float, Field(ge=1e-6, le=1)] = 0.003
    passes: Annotated[int, Field(ge=1, le=5)] = 2
    correction: Share = 0.6


def name_in_spine_frame(
    volume: IsotropicVolume,
    places_mm: Points,
    first: Labelling,
    discriminant: LinearDiscriminant,
    shape: ShapeModel,
    settings: NamingSettings,
    n_threads: int = 1,
) -> tuple[Candidates, Points]:
    """Let every place be a candidate of every vertebra that the discriminant finds possible there.

    places_mm : (n, 3) world, where a vertebra may be centred; first : the chain found before, not empty
    returns : the candidates, and (n, 3) the places corrected, world
    """
    frames = _frames(places_mm, first, shape)
    columns = _columns(volume, places_mm, frames, discriminant, n_threads)
    scores = discriminant.scores(columns)
    likeliest = scores[:, BACKGROUND + 1 :].argmax(axis=1) + BACKGROUND + 1
    missed_mm = np.einsum("nij,nj->ni", frames, discriminant.displacements_mm(columns, likeliest))
    corrected_mm = _corrected(volume, places_mm, missed_mm, settings.correction)
    probability = _softmax(settings.score_weight * scores)
    vertebrae = probability[:, BACKGROUND + 1 :]
    rank, place = np.nonzero(settings.smallest_probability <= vertebrae.T)
    order = np.lexsort((-vertebrae[place, rank], rank))
    rank, place = rank[order], place[order]
    odds = log_odds(vertebrae[place, rank], settings.reference_probability)
    return Candidates(rank.astype(np.int64), places_mm[place], odds), corrected_mm


def score_shifts(
    volume: IsotropicVolume,
    chain: Labelling,
    discriminant: LinearDiscriminant,
    shape: ShapeModel,
    largest_shift: int,
    n_threads: int = 1,
) -> dict[int, NDArray[np.float64]]:
    """Score every class at each member of a chain, once for every shift of its names.

    largest_shift : levels up and down; a shift past an end of the spine is left out
    returns : by shift, (n, 27) scores in the frame that the spine has if its names are so much lower. Its size is that
        of a smaller patient then, so that every shift is seen as it sees itself
    """
    points_mm, ranks = chain.centroids.points_mm, chain.ranks
    if len(ranks) == 0:
        return {}
    reach = range(-largest_shift, largest_shift + 1)
    shifts = [s for s in reach if ranks[0] + s >= 0 and ranks[-1] + s < len(VERTEBRAE)]
    frames = np.concatenate([spine_frames(points_mm, ranks + s, shape) for s in shifts])
    columns = _columns(volume, np.tile(points_mm, (len(shifts), 1)), frames, discriminant, n_threads)
    scores = discriminant.scores(columns)
    return dict(zip(shifts, scores.reshape(len(shifts), len(ranks), -1), strict=True))


def _frames(places_mm: Points, chain: Labelling, shape: ShapeModel) -> NDArray[np.float64]:
    """Give each place the frame of the nearest member of a chain: (n, 3, 3)."""
    chain_mm = chain.centroids.points_mm
    return nearest_frames(places_mm, chain_mm, spine_frames(chain_mm, chain.ranks, shape))


def _corrected(volume: IsotropicVolume, places_mm: Points, missed_mm: Points, share: float) -> Points:
    """Move places, (n, 3), a share of the way to where their centroids lie from their voxels, and never far."""
    if share == 0 or not missed_mm.any():
        return places_mm
    way = volume.grid.to_world(_voxels(volume, places_mm).astype(np.float64)) + missed_mm - places_mm
    length = np.linalg.norm(way, axis=1, keepdims=True)
    return np.asarray(places_mm + share * way * np.minimum(1, _FARTHEST_MM / np.maximum(length, _FARTHEST_MM)))


def _voxels(volume: IsotropicVolume, places_mm: Points) -> NDArray[np.int64]:
    """Nearest voxels of places: (n, 3), (z, y, x)."""
    index = np.rint(volume.grid.to_index(places_mm)).astype(np.int64)
    return np.clip(index, 0, np.array(volume.voxels.shape) - 1)


def _columns(
    volume: IsotropicVolume,
    places_mm: Points,
    frames: NDArray[np.float64],
    discriminant: LinearDiscriminant,
    n_threads: int,
) -> NDArray[np.int16]:
    """Features at each place's voxel, in the place's own frame: (F, n)."""
    index = _voxels(volume, places_mm)
    z_first = int(index[:, 0].min(initial=volume.voxels.shape[0] - 1))
    z_last = int(index[:, 0].max(initial=z_first))
    image = make_integral_image(volume, discriminant.pool.rule, z_first, z_last - z_first + 1)
    positions = image.positions(*index.T)
    columns = np.empty((len(discriminant.pool), len(index)), np.int16)
    # Places with the nearest member of the chain in common share its frame, and the boxes turned into it.
    different, which = np.unique(frames.reshape(-1, 9), axis=0, return_inverse=True)

    def fill(k: int) -> None:
        here = np.flatnonzero(which == k)
        own = np.empty((len(columns), len(here)), np.int16)
        frame = different[k].reshape(3, 3)
        fill_feature_columns(image, positions[here], discriminant.pool, volume.spacing_mm, own, frame)
        columns[:, here] = own

    run_pieces(fill, len(different), n_threads)
    return columns


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n, K) from log odds."""
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
