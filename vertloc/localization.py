"""Scan + model -> labelled vertebra centroids, in the order of the data flow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.io.images import ImageInMemory, as_volume
from vertloc.model import Model
from vertloc.stages.centre_votes import find_centres
from vertloc.stages.centroid_density import Candidates, find_candidates, name_centres
from vertloc.stages.naming import name_in_spine_frame
from vertloc.stages.posterior import classify
from vertloc.stages.preprocess import IsotropicVolume, preprocess
from vertloc.stages.shape_labelling import Labelling, label_chain
from vertloc.volume import Volume


@dataclass(frozen=True, eq=False)
class Localization:
    """The vertebrae found in a scan, top to bottom; empty if there are none.

    local, world : the same labelled centroids in both frames
    confidence : (n,) float64 in 0..1, how sure it is that this vertebra is at this place under this name
    log_odds : (n,) float64, evidence for each vertebra at its centroid against a missing one; see `Candidates`
    candidates : everything the final chain was chosen from, world frame
    proposals : what dense classification alone proposed, world frame
    """

    local: Centroids
    world: Centroids
    confidence: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    candidates: Candidates
    proposals: Candidates

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the vertebrae found."""
        return self.world.labels


def localize(
    image: str | Path | ImageInMemory, model: Model, n_jobs: int = 1, grid: Grid | None = None
) -> Localization:
    """Find the vertebrae of a scan.

    image : a path, a Volume, a SimpleITK image, a nibabel image, or an array (z, y, x) with its `grid`
    The result does not depend on `n_jobs`. Raises ImageError for an image that cannot be a CT scan, TypeError for what
    is no image.
    """
    volume = as_volume(image, grid)
    small = preprocess(volume, model.preprocess, n_jobs)
    proposals = propose(small, model, n_jobs)
    first = label_chain(proposals, model.shape, model.settings.chain)
    candidates, labelling = label_again(small, proposals, first, model)
    return _localization(volume, proposals, candidates, labelling)


def propose(volume: IsotropicVolume, model: Model, n_jobs: int = 1) -> Candidates:
    """Find candidate centroids in a preprocessed scan: the voted centres, or the modes of the class densities."""
    settings, radius_factor = model.settings, model.label_radius_factor
    posterior = classify(volume, model.classifier, settings.posterior, n_jobs)
    if model.centre_forest is None:
        return find_candidates(posterior, radius_factor, settings.density, n_jobs)
    centres = find_centres(volume, posterior, model.centre_forest, settings.votes, n_jobs)
    return name_centres(centres, posterior, radius_factor, settings.density)


def label_again(
    volume: IsotropicVolume, proposals: Candidates, first: Labelling, model: Model
) -> tuple[Candidates, Labelling]:
    """Name the proposed places again, in the frame of the spine that the first chain found, and choose anew."""
    if model.naming_forest is None or len(first.centroids) == 0:
        return proposals, first
    candidates = name_in_spine_frame(
        volume, proposals.places_mm, first, model.naming_forest, model.shape, model.settings.naming
    )
    return candidates, label_chain(candidates, model.shape, model.settings.chain)


def _localization(volume: Volume, proposals: Candidates, candidates: Candidates, labelling: Labelling) -> Localization:
    world = labelling.centroids
    return Localization(
        local=world.to_local(volume.grid),
        world=world,
        confidence=labelling.confidence,
        log_odds=candidates.log_odds[labelling.candidate],
        candidates=candidates,
        proposals=proposals,
    )
