"""Centres + a first chain -> named candidates again, this time seen from the spine.

The first forest names voxels wherever they are, in the patient's frame. Once a chain is found, place, direction and
size of the spine are known, and the question becomes easier: which vertebra is centred *here*, on a spine that runs
*this* way, in a patient of *this* size? A third forest answers it. It is trained at annotated centroids, with features
whose offsets and sizes are measured in the spine's frame, and has a class for centres that are none.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Points
from vertloc.settings import CHECKED
from vertloc.stages.centroid_density import Candidates, log_odds
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.forest import FlatForest, bind_forest
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.shape_labelling import Labelling
from vertloc.stages.shape_model import ShapeModel
from vertloc.stages.spine_frame import nearest_frames, spine_frames

# A centre is named by the mean answer at its voxel and the six around it.
_AROUND = np.array([(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], np.int64)


@checked(frozen=True, config=CHECKED)
class NamingSettings:
    """How the naming forest's answers become candidates.

    smallest_probability : a centre is no candidate for a vertebra less probable than this
    reference_probability : a candidate of this probability is worth as much as a missing vertebra: its log odds are 0
    """

    smallest_probability: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.001
    reference_probability: Annotated[float, Field(ge=1e-6, le=1)] = 0.01


def name_in_spine_frame(
    volume: IsotropicVolume,
    places_mm: Points,
    first: Labelling,
    forest: FlatForest,
    shape: ShapeModel,
    settings: NamingSettings,
) -> Candidates:
    """Let every place be a candidate of every vertebra that the forest finds possible there.

    places_mm : (n, 3) world, where a vertebra may be centred; first : the chain found before, not empty
    """
    chain_mm = first.centroids.points_mm
    frames = nearest_frames(places_mm, chain_mm, spine_frames(chain_mm, first.ranks, shape))
    index = np.rint(volume.grid.to_index(places_mm)).astype(np.int64)
    around = np.clip(index[:, None] + _AROUND, 0, np.array(volume.voxels.shape) - 1)
    z_first = int(around[..., 0].min(initial=volume.voxels.shape[0] - 1))
    z_last = int(around[..., 0].max(initial=z_first))
    voxels = np.ravel_multi_index(tuple(np.moveaxis(around, -1, 0)), volume.voxels.shape)
    bound = bind_forest(forest, volume, z_first, z_last - z_first + 1)
    probability = np.empty((len(index), N_CLASSES))
    # Places with the nearest member of the chain in common share its frame, and the boxes turned into it.
    different, which = np.unique(frames.reshape(-1, 9), axis=0, return_inverse=True)
    for k, frame in enumerate(different.reshape(-1, 3, 3)):
        here = np.flatnonzero(which == k)
        sums = bound.turned(frame).sums(bound.positions(voxels[here].reshape(-1)))
        sums = sums.reshape(len(here), len(_AROUND), N_CLASSES)
        probability[here] = sums.mean(axis=1, dtype=np.float64) / (forest.n_trees * forest.unit)
    vertebrae = probability[:, BACKGROUND + 1 :]
    rank, place = np.nonzero(settings.smallest_probability <= vertebrae.T)
    order = np.lexsort((-vertebrae[place, rank], rank))
    rank, place = rank[order], place[order]
    odds = log_odds(vertebrae[place, rank], settings.reference_probability)
    return Candidates(rank.astype(np.int64), places_mm[place], odds)
