"""Candidates + levels that a person knows -> candidates among which these levels are certain.

A known level is a hard constraint: its vertebra is nowhere else, its place is no other vertebra's, and its evidence
outweighs whatever a chain could win by passing it by. The exact inference over chains then does the rest.
"""

from __future__ import annotations

import numpy as np

from vertloc.centroids import Centroids
from vertloc.geometry import Points
from vertloc.stages.centroid_density import Candidates
from vertloc.vertebrae import RANK

_REACH_MM = 12.0  # a click this near to a place means that place
_CERTAIN = 200.0  # log odds


def with_known(candidates: Candidates, known: Centroids) -> Candidates:
    """Make the known levels certain.

    known : in the frame of the candidates; a point within 12 mm of a place that was found means that place
    Raises ValueError for a level that no candidate can have: T13, L6.
    """
    strange = [label for label in known.labels if label not in RANK]
    if strange:
        raise ValueError(f"{strange[0]} cannot be given as known; expected one of C1 to S2")
    rank, points, odds = candidates.rank, candidates.points_mm, candidates.log_odds
    for label, point in known:
        place = _place(point, candidates.places_mm)
        kept = (rank != RANK[label]) & (np.linalg.norm(points - place, axis=1) > _REACH_MM)
        rank = np.append(rank[kept], np.int64(RANK[label]))
        points = np.concatenate([points[kept], place[None]])
        odds = np.append(odds[kept], _CERTAIN)
    order = np.lexsort((-odds, rank))
    return Candidates(rank[order], points[order], odds[order])


def _place(point: Points, places_mm: Points) -> Points:
    """Return the found place that a point means; the point itself where none is near."""
    if not len(places_mm):
        return point
    distance = np.linalg.norm(places_mm - point, axis=1)
    nearest = int(distance.argmin())
    place: Points = places_mm[nearest] if distance[nearest] <= _REACH_MM else point
    return place
