"""Candidates + levels that a person knows -> candidates among which these levels are certain.

A known level is a hard constraint: its vertebra is nowhere else, its place is no other vertebra's, and its evidence
outweighs whatever a chain could win by passing it by. What the forests believe of the other names may be off by whole
levels then; that there are vertebrae is still right. So every place may have every name, nearly as probable as its best
one, and the exact inference over chains names them by where they lie to the known ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.errors import KnownLevelError
from vertloc.geometry import Points
from vertloc.stages.centroid_density import Candidates
from vertloc.vertebrae import RANK

_REACH_MM = 12.0  # a click this near to a place means that place
_CERTAIN = 200.0  # log odds
_OTHER_NAME = 2.0  # log odds that a place has less under any name than under its best


def with_known(candidates: Candidates, known: Centroids) -> Candidates:
    """Make the known levels certain.

    known : in the frame of the candidates; a point within 12 mm of a place that was found means that place
    Raises KnownLevelError, a ValueError, for a level that no candidate can have: T13, L6.
    """
    strange = [label for label in known.labels if label not in RANK]
    if strange:
        raise KnownLevelError(f"{strange[0]} cannot be given as known; expected one of C1 to S2")
    if not len(known):
        return candidates
    rank, points, odds = _any_name(candidates)
    for label, point in known:
        place = _place(point, candidates.places_mm)
        kept = (rank != RANK[label]) & (np.linalg.norm(points - place, axis=1) > _REACH_MM)
        rank = np.append(rank[kept], np.int64(RANK[label]))
        points = np.concatenate([points[kept], place[None]])
        odds = np.append(odds[kept], _CERTAIN)
    order = np.lexsort((-odds, rank))
    return Candidates(rank[order], points[order], odds[order])


def _any_name(candidates: Candidates) -> tuple[NDArray[np.int64], Points, NDArray[np.float64]]:
    """Let every place have every name; returns ranks, points and log odds."""
    places, row = np.unique(candidates.points_mm, axis=0, return_inverse=True)
    odds = np.full((len(places), len(RANK)), -np.inf)
    np.maximum.at(odds, (row.ravel(), candidates.rank), candidates.log_odds)
    odds = np.maximum(odds, odds.max(axis=1, keepdims=True, initial=-np.inf) - _OTHER_NAME)
    place, rank = np.indices(odds.shape).reshape(2, -1)
    return rank.astype(np.int64), places[place], odds.ravel()


def _place(point: Points, places_mm: Points) -> Points:
    """Return the found place that a point means; the point itself where none is near."""
    if not len(places_mm):
        return point
    distance = np.linalg.norm(places_mm - point, axis=1)
    nearest = int(distance.argmin())
    place: Points = places_mm[nearest] if distance[nearest] <= _REACH_MM else point
    return place
