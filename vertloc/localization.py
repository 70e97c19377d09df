"""Scan + model -> labelled vertebra centroids, in the order of the data flow."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.io.images import ImageInMemory, StoredImage, as_scan
from vertloc.model import Model, load_model
from vertloc.stages.centre_votes import find_centres
from vertloc.stages.centroid_density import Candidates, find_candidates, name_centres
from vertloc.stages.certainty import Certainty, assess, in_view_of_flags, in_view_of_units, in_view_of_voxels
from vertloc.stages.known_levels import with_known
from vertloc.stages.naming import name_in_spine_frame, score_shifts
from vertloc.stages.posterior import classify
from vertloc.stages.preprocess import IsotropicVolume, preprocess
from vertloc.stages.shape_labelling import Labelling, label_chain
from vertloc.volume import Scan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Localization:
    """The vertebrae found in a scan, top to bottom; empty if there are none.

    local, world : the same labelled centroids in both frames
    confidence : (n,) float64 in 0..1, how sure it is that this vertebra is at this place under this name
    log_odds : (n,) float64, evidence for each vertebra at its centroid against a missing one; see `Candidates`
    candidates : everything the final chain was chosen from, world frame
    proposals : what dense classification alone proposed, world frame
    certainty : how sure the level of the whole chain is, and whether the scan is like those learnt from
    warnings : what is odd about the scan or the spine, one line each
    flags : what is unusual about the spine; see `Labelling`
    """

    local: Centroids
    world: Centroids
    confidence: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    candidates: Candidates
    proposals: Candidates
    certainty: Certainty = field(default_factory=Certainty)
    warnings: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the vertebrae found."""
        return self.world.labels


def localize(
    image: str | Path | StoredImage | ImageInMemory,
    model: Model | None = None,
    n_jobs: int = 1,
    grid: Grid | None = None,
    known: Centroids | None = None,
) -> Localization:
    """Find the vertebrae of a scan.

    image : a path, whose voxels are read a few slices at a time; a Volume, a SimpleITK image, a nibabel image, or an
        array (z, y, x) with its `grid`
    model : what `load_model` or `train` returned; None reads the packaged one, for many scans better once and outside
    known : vertebrae that a person knows, in either frame. Each keeps its name, at the place found within 12 mm of it
        or else at the point itself, and the others follow
    The result does not depend on `n_jobs`. Raises ImageError for an image that cannot be a CT scan, TypeError for what
    is no image, ModelError if no model is given and none is packaged.
    """
    model = load_model() if model is None else model
    scan = as_scan(image, grid)
    return localize_prepared(prepare(scan, model, n_jobs), scan.grid, model, n_jobs, known)


def prepare(scan: Scan, model: Model, n_jobs: int = 1) -> IsotropicVolume:
    """Read a scan and bring it to the isotropic grid that a model works on; the first half of `localize`."""
    small = preprocess(scan, model.preprocess, n_jobs)
    for warning in small.warnings[len(scan.warnings) :]:  # those of the header are logged by who reads it
        logger.warning("%s: %s", scan.name, warning)
    return small


def localize_prepared(
    small: IsotropicVolume, stored: Grid, model: Model, n_jobs: int = 1, known: Centroids | None = None
) -> Localization:
    """Find the vertebrae of a prepared scan; the second half of `localize`.

    stored : the grid of the scan's file, for the points in the local frame
    known : vertebrae that a person knows, in either frame. Raises ValueError if one of them is T13 or L6, or if no
        spine has them in these places
    """
    certain = Centroids((), np.empty((0, 3)), "world")
    if known is not None:
        certain = Centroids(known.labels, small.from_world(known.to_world(stored).points_mm), "world")
    proposals = with_known(propose(small, model, n_jobs), certain)
    # The frames of the spine are those of the 26 levels; only names that are final may be unusual ones.
    usual = replace(model.settings.chain, use_variants=False)
    first = label_chain(proposals, model.shape, usual, certain.labels)
    candidates, labelling, certainty = label_again(small, proposals, first, model, n_jobs, certain)
    certainty = in_view_of_voxels(certainty, stored.spacing_mm, model.settings.certainty)
    certainty = in_view_of_units(certainty, small.are_hounsfield_units)
    certainty = in_view_of_flags(certainty, labelling.flags)
    for flag in labelling.flags:
        logger.warning("an unusual spine: %s", flag)
    world = Centroids(labelling.centroids.labels, small.to_world(labelling.centroids.points_mm), "world")
    return Localization(
        local=world.to_local(stored),
        world=world,
        confidence=_confidence(labelling, certainty, certain.labels),
        log_odds=candidates.log_odds[labelling.candidate],
        candidates=replace(candidates, points_mm=small.to_world(candidates.points_mm)),
        proposals=replace(proposals, points_mm=small.to_world(proposals.points_mm)),
        certainty=certainty,
        warnings=(*small.warnings, *labelling.flags),
        flags=labelling.flags,
    )


def propose(volume: IsotropicVolume, model: Model, n_jobs: int = 1) -> Candidates:
    """Find candidate centroids in a preprocessed scan: the voted centres, or the modes of the class densities."""
    settings, radius_factor = model.settings, model.label_radius_factor
    posterior = classify(volume, model.classifier, settings.posterior, n_jobs)
    if model.centre_forest is None:
        return find_candidates(posterior, radius_factor, settings.density, n_jobs)
    centres = find_centres(volume, posterior, model.centre_forest, settings.votes, n_jobs)
    return name_centres(centres, posterior, radius_factor, settings.density)


def label_again(
    volume: IsotropicVolume,
    proposals: Candidates,
    first: Labelling,
    model: Model,
    n_jobs: int = 1,
    known: Centroids | None = None,
) -> tuple[Candidates, Labelling, Certainty]:
    """Name the proposed places again, in the frame of the spine that the first chain found, and choose anew.

    known : vertebrae that are certain, in the frame of the volume; with one of them, so is the level. Whether the scan
        is like those learnt from is another question
    Also tells how sure the names are; without a discriminant nothing is known of that.
    """
    if model.discriminant is None or len(first.centroids) == 0:
        return proposals, first, Certainty(likeness=float(len(first.centroids) > 0), is_sure=len(first.centroids) > 0)
    candidates, chain = _named(volume, proposals, first, model, n_jobs, known)
    if known is not None and known.labels:
        return candidates, chain, _certainty_of_known(volume, chain, model, n_jobs)
    largest_shift = model.settings.certainty.largest_shift
    certainty = _certainty(volume, chain, model, n_jobs, largest_shift)
    if certainty.likeliest_shift != 0 and not chain.flags:
        # The frames speak for the names that they are made of: let the likelier names have theirs.
        shifted = chain.renamed(certainty.likeliest_shift)
        candidates, chain = _named(volume, proposals, shifted, model, n_jobs, known)
        certainty = _certainty(volume, chain, model, n_jobs, largest_shift)
    return candidates, chain, certainty


def _named(
    volume: IsotropicVolume,
    proposals: Candidates,
    chain: Labelling,
    model: Model,
    n_jobs: int,
    known: Centroids | None,
) -> tuple[Candidates, Labelling]:
    """Name the proposed places in the frame of a chain, and in that of the chain found so, as often as is set.

    In between, places are moved to where the discriminant expects their centroids; those that a person set stay.
    """
    assert model.discriminant is not None
    settings, candidates, places_mm = model.settings, proposals, proposals.places_mm
    labels, certain_mm = ((), np.empty((0, 3))) if known is None else (known.labels, known.points_mm)
    for k in range(settings.naming.passes):
        if len(chain.centroids) == 0:
            break
        candidates, corrected_mm = name_in_spine_frame(
            volume, places_mm, chain, model.discriminant, model.shape, settings.naming, n_jobs
        )
        is_certain = (places_mm[:, None] == certain_mm).all(axis=2).any(axis=1)
        places_mm = np.where(is_certain[:, None], places_mm, corrected_mm)
        if known is not None:
            candidates = with_known(candidates, known)
        is_last = k == settings.naming.passes - 1
        how = replace(settings.chain, use_variants=settings.chain.use_variants and is_last)
        chain = label_chain(candidates, model.shape, how, labels)
    return candidates, chain


def _certainty(volume: IsotropicVolume, chain: Labelling, model: Model, n_jobs: int, largest_shift: int) -> Certainty:
    """Tell how sure a chain is, where shifts of up to so many levels compete with it."""
    assert model.discriminant is not None
    scores = score_shifts(volume, chain, model.discriminant, model.shape, largest_shift, n_jobs)
    return assess(chain, scores, model.discriminant, model.shape, model.settings.certainty)


def _certainty_of_known(volume: IsotropicVolume, chain: Labelling, model: Model, n_jobs: int) -> Certainty:
    """Take a person's level as sure; how like those learnt from the scan is, the names that it looks like tell."""
    shift = _certainty(volume, chain, model, n_jobs, model.settings.certainty.largest_shift).likeliest_shift
    looks_like = chain if shift == 0 or chain.flags else chain.renamed(shift)
    return _certainty(volume, looks_like, model, n_jobs, largest_shift=0)


def _confidence(labelling: Labelling, certainty: Certainty, known: tuple[str, ...]) -> NDArray[np.float64]:
    """No vertebra is surer than the level of them all, but for those that a person named."""
    is_known = np.array([label in known for label in labelling.centroids.labels], dtype=bool)
    return np.where(is_known, labelling.confidence, np.minimum(labelling.confidence, certainty.level))
