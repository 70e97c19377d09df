"""A named chain + the discriminant's scores -> how sure its level is, and whether the scan is like those learnt from.

Names are wrong in two ways: the whole chain is shifted by a level, or the scan is none that the model can know. For the
first, every shift s of the chain competes with the others. The members of one chain err together, so their evidence
counts as that of one, the mean over the chain:

    log P(s) = a mean_i score_i(rank_i + s) + b mean_i log N(displacement_i; pair of rank_i + s) + const,

each with scores in the frame of its own names: in that of the chosen ones a patient's size speaks for these. a and b
make P a probability on patients left out. For the second, a member's features have a distance from the mean of
their class (see `LinearDiscriminant.distances`): that of scans like those learnt from scatters about the number of
classes, that of a knee or of an MR image is many times larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.settings import CHECKED
from vertloc.stages.discriminant import LinearDiscriminant
from vertloc.stages.shape_labelling import Labelling
from vertloc.stages.shape_model import ShapeModel
from vertloc.vertebrae import VERTEBRAE

_FOREIGN_UNITS = 0.3  # likeness left to them: below one half, so that no name is likelier right than wrong
_LEAST_LINK = -60.0  # log density; a shift is no worse for being quite impossible


@checked(frozen=True, config=CHECKED)
class CertaintySettings:
    """How sure a chain's level is said to be.

    largest_shift : levels up and down that compete with the chain as it is named
    score_weight : a above, what the mean score counts; fitted on patients left out
    link_weight : b above, what the mean log density of a link counts; likewise
    usual_distance : squared distance of a scan's features from their classes at which it is half as likely to be of the
        kind that was learnt from; None: what was usual for patients held out in training, times `distance_slack`
    distance_slack : which patients are held out is luck, and so is what was usual for them
    distance_width : over which that likeness falls
    thickest_mm : voxels of the stored scan up to this edge are like those learnt from; at twice that, nothing is
    sure_from : a scan is sure from this probability of its level, times its likeness
    """

    largest_shift: Annotated[int, Field(ge=1, le=5)] = 3
    score_weight: Annotated[float, Field(ge=0, le=100)] = 0.19
    link_weight: Annotated[float, Field(ge=0, le=100)] = 3.7
    usual_distance: Annotated[float, Field(gt=0, le=1e6)] | None = None
    distance_slack: Annotated[float, Field(gt=0, le=100)] = 1.4
    distance_width: Annotated[float, Field(gt=0, le=1e6)] = 5.0
    thickest_mm: Annotated[float, Field(gt=0, le=1000)] = 10.0
    sure_from: Annotated[float, Field(ge=0, le=1)] = 0.9


@dataclass(frozen=True)
class Certainty:
    """How sure the level of a whole chain is.

    shift_probability : of the chain as it is named, 0, and of every name being that many levels too high up: at 1, L1
        is really L2. Shifts past an end of the spine are left out; empty where nothing can be said
    distance : median squared distance of the members' features from their classes
    likeness : 0 to 1, how like the training scans this one is
    notes : why it is not, where more can be said than that
    is_sure : whether the names can be relied upon
    """

    shift_probability: dict[int, float] = field(default_factory=dict)
    distance: float = 0.0
    likeness: float = 1.0
    notes: tuple[str, ...] = ()
    is_sure: bool = True

    @property
    def level(self) -> float:
        """Probability that the names are right, 0 to 1."""
        return self.shift_probability.get(0, 1.0) * self.likeness

    @property
    def likeliest_shift(self) -> int:
        """By how many levels the names are most probably too high; 0 where nothing can be said."""
        return max(self.shift_probability, key=lambda s: (self.shift_probability[s], -abs(s)), default=0)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the names cannot be relied upon, in words; empty if they can, or if there are none."""
        if self.is_sure:
            return ()
        if not self.shift_probability:
            return self.notes
        said = list(self.notes)
        if self.likeness < 0.5 and not said:
            said.append("unlike the scans that the model was trained on")
        others = sorted(((p, s) for s, p in self.shift_probability.items() if s != 0 and p >= 0.05), reverse=True)
        for probability, shift in others:
            levels = "one level" if abs(shift) == 1 else f"{abs(shift)} levels"
            said.append(f"all {levels} {'lower' if shift > 0 else 'higher'}: {probability:.0%}")
        if not said and self.likeness < self.shift_probability.get(0, 1.0):
            said.append("not quite like the scans that the model was trained on")
        return tuple(said) or ("the level is uncertain",)


def assess(
    labelling: Labelling,
    scores: Mapping[int, NDArray[np.float64]],
    discriminant: LinearDiscriminant,
    shape: ShapeModel,
    settings: CertaintySettings,
) -> Certainty:
    """Tell how sure the level of a chain is.

    scores : for every shift that competes, (n, 27) of the members, from `score_shifts`
    An empty chain is not sure.
    """
    if len(labelling.centroids) == 0:
        return Certainty(likeness=0.0, is_sure=False)
    probability = _shift_probability(labelling, scores, shape, settings)
    own = discriminant.distances(scores[0])[np.arange(len(labelling.ranks)), labelling.ranks + 1]
    distance = float(np.median(own))
    limit = settings.usual_distance or settings.distance_slack * discriminant.usual_distance
    likeness = float(1 / (1 + np.exp(np.clip((distance - limit) / settings.distance_width, -50, 50))))
    level = probability.get(0, 1.0) * likeness
    return Certainty(probability, distance, likeness, is_sure=level >= settings.sure_from)


def in_view_of_voxels(
    certainty: Certainty, spacing_mm: tuple[float, float, float], settings: CertaintySettings
) -> Certainty:
    """Lower the certainty of a scan whose stored voxels are coarser than any that was learnt from.

    spacing_mm : (x, y, z)
    A body is averaged with its neighbours there: what is found may look like a spine and be none.
    """
    thickest = max(spacing_mm)
    if thickest <= settings.thickest_mm or not certainty.shift_probability:
        return certainty
    likeness = certainty.likeness * max(0.0, 2 - thickest / settings.thickest_mm)
    note = f"voxels of {thickest:.4g} mm: above {settings.thickest_mm:.4g} mm scans are unlike those learnt from"
    level = certainty.shift_probability.get(0, 1.0) * likeness
    return replace(certainty, likeness=likeness, notes=(*certainty.notes, note), is_sure=level >= settings.sure_from)


def in_view_of_units(certainty: Certainty, are_hounsfield: bool) -> Certainty:
    """Lower the certainty of a scan whose intensities are none that a CT scanner measures."""
    if are_hounsfield or not certainty.shift_probability:
        return certainty
    note = "intensities that are no Hounsfield units"
    likeness = _FOREIGN_UNITS * certainty.likeness
    return replace(certainty, likeness=likeness, notes=(*certainty.notes, note), is_sure=False)


def in_view_of_flags(certainty: Certainty, flags: tuple[str, ...]) -> Certainty:
    """Let nobody rely on a spine with a vertebra more or less than usual before a person has looked.

    flags : what is unusual about the spine, in words
    """
    return replace(certainty, notes=(*certainty.notes, *flags), is_sure=False) if flags else certainty


def _shift_probability(
    labelling: Labelling, scores: Mapping[int, NDArray[np.float64]], shape: ShapeModel, settings: CertaintySettings
) -> dict[int, float]:
    ranks, points, shifts = labelling.ranks, labelling.centroids.points_mm, list(scores)
    rows = np.arange(len(ranks))
    member = np.array([scores[s][rows, ranks + s + 1].mean() for s in shifts])
    link = np.zeros(len(shifts))
    # A variant has the rank of the vertebra above it: no pair of levels to compare that step with.
    down = np.diff(ranks) > 0
    if down.any():
        steps, above, below = np.diff(points, axis=0)[down], ranks[:-1][down], ranks[1:][down]
        pairs = np.arange(len(VERTEBRAE) - 1)
        for i, s in enumerate(shifts):
            spans = ((above[:, None] + s <= pairs) & (pairs < below[:, None] + s)).astype(float)
            link[i] = sum(float(density(step)) for density, step in zip(shape.log_densities(spans), steps, strict=True))
        link = np.maximum(link - link.max(), _LEAST_LINK) / len(ranks)
    logarithm = settings.score_weight * member + settings.link_weight * link
    odds = np.exp(logarithm - logarithm.max())
    return {s: float(p) for s, p in zip(shifts, odds / odds.sum(), strict=True)}
