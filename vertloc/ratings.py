"""Ratings that a reader saved from a report page -> results whose levels are put right.

The file is `{"kind": "vertloc ratings", "version": 1, "ratings": [{"scan", "rating", "shift"}, ...]}`: a rating is
"right", "wrong" or "unsure", and the shift of a wrong one the number of levels by which its names are too low (+, as T2
for T1) or too high (-); 0 where they are wrong in another way, which needs a look by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertloc.errors import LandmarkError
from vertloc.io.landmarks.registry import read_centroids
from vertloc.relabelling import relabel_file
from vertloc.report.runs import read_run
from vertloc.vertebrae import RANK, VERTEBRAE

KIND = "vertloc ratings"
_VERSION = 1
_RATINGS = ("right", "wrong", "unsure")
_LARGEST_SHIFT = len(VERTEBRAE) - 1


@dataclass(frozen=True)
class Rating:
    """What a reader thinks of a scan.

    rating : "right", "wrong" or "unsure"
    shift : levels by which the names are too low (+) or too high (-); 0 unless the rating is "wrong"
    """

    scan: str
    rating: str
    shift: int = 0


def read_ratings(path: Path) -> tuple[Rating, ...]:
    """Read a file of ratings. Raises LandmarkError naming file, entry, what was found and what was wanted."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LandmarkError(f"{path}: is no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != KIND or not isinstance(document.get("ratings"), list):
        raise LandmarkError(f"{path}: expected ratings saved from a report ({KIND!r})")
    if document.get("version") != _VERSION:
        raise LandmarkError(f"{path}: version: expected {_VERSION}, got {document.get('version')!r}")
    return tuple(_rating(f"{path}: rating {i}", entry) for i, entry in enumerate(document["ratings"], 1))


def _rating(where: str, entry: Any) -> Rating:
    if not isinstance(entry, dict):
        raise LandmarkError(f"{where}: expected an object, got {type(entry).__name__}")
    scan, rating, shift = entry.get("scan"), entry.get("rating"), entry.get("shift", 0)
    if not isinstance(scan, str) or not scan:
        raise LandmarkError(f"{where}: scan: expected a name, got {scan!r}")
    if rating not in _RATINGS:
        raise LandmarkError(f"{where}: rating: expected {', '.join(_RATINGS)}, got {rating!r}")
    if isinstance(shift, bool) or not isinstance(shift, int) or abs(shift) > _LARGEST_SHIFT:
        raise LandmarkError(f"{where}: shift: expected a whole number of levels, got {shift!r}")
    return Rating(scan, rating, shift if rating == "wrong" else 0)


def apply_ratings(folder: Path, ratings: Sequence[Rating]) -> list[str]:
    """Shift the names of the results that were rated wrong by a number of levels; one line for each that was not right.

    folder : results of `predict` or `study`; the original of each file stays beside it
    Raises LandmarkError for a rated scan without a result, before any file is changed.
    """
    files = {scan.name: scan.landmarks for scan in read_run(folder).scans}
    wrong = [rating for rating in ratings if rating.shift]
    missing = [rating.scan for rating in wrong if files.get(rating.scan) is None]
    if missing:
        raise LandmarkError(f"{folder}: no landmarks of the rated scans {', '.join(missing)}")
    lines = []
    for rating in ratings:
        path = files.get(rating.scan)
        if rating.shift and path is not None:
            changed = relabel_file(path, [_anchor(path, rating.shift)])
            lines.append(f"{path}: {', '.join(changed.centroids.labels)}")
        elif rating.rating != "right":
            lines.append(f"{rating.scan}: rated {rating.rating}; left as it is")
    return lines


def _anchor(path: Path, shift: int) -> str:
    """Name one point for `relabel_file` that keeps a name when all move by `-shift` levels."""
    for row, label in enumerate(read_centroids(path).labels):
        rank = RANK.get(label, -1) - shift
        if label in RANK and 0 <= rank < len(VERTEBRAE):
            return f"{row + 1}={VERTEBRAE[rank]}"
    raise LandmarkError(f"{path}: no name would be left after a shift by {-shift:+d} levels")
