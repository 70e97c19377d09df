"""Landmarks + a level that a person knows -> the same points with that name, and the rest shifted along the chain.

The commonest error of any labelling is a whole chain off by one: one right name puts all the others right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks, vertebra_name
from vertloc.io.landmarks.registry import FORMATS, is_landmark_file, landmark_scan_name, read_landmarks, write_landmarks
from vertloc.vertebrae import VARIANTS, VERTEBRAE, anatomical_order

_POINT = re.compile(r"\s*([A-Za-z]{0,2}[0-9]{1,2})\s*=\s*([A-Za-z]{1,2}[0-9]{1,2})\s*")
_ORIGINAL_SUFFIX = ".original"


def parse_points(texts: Sequence[str], labels: Sequence[str]) -> dict[int, str]:
    """Read `4=L5` (the fourth point from the top) or `L4=L5` (the point that is called L4 now).

    labels : the present names, top to bottom
    returns : new name by row, from 0. Raises LandmarkError for what names no point or no vertebra.
    """
    wanted: dict[int, str] = {}
    for text in texts:
        match = _POINT.fullmatch(text)
        name = vertebra_name(match[2]) if match else None
        if match is None or name is None:
            raise LandmarkError(f"expected a point and its level, as in 4=L5 or L4=L5, got {text[:60]!r}")
        row = int(match[1]) - 1 if match[1].isdecimal() else _row_of(match[1], labels)
        if not 0 <= row < len(labels):
            raise LandmarkError(f"{text}: there are {len(labels)} points, {', '.join(labels)}; the topmost is point 1")
        if wanted.get(row, name) != name:
            raise LandmarkError(f"{text}: point {row + 1} cannot be {wanted[row]} as well")
        wanted[row] = name
    return wanted


def relabel(landmarks: Landmarks, points: Mapping[int, str]) -> Landmarks:
    """Give points their known names and shift all others along with the nearest of them.

    points : name by row, top to bottom from 0
    Gaps in the chain stay gaps. Points whose names would lie beyond C1 or S2 are left out, and a warning says so. All
    names are marked as set by a person; the confidences are dropped, as they were of the old names.
    Raises LandmarkError for no point, or names that do not follow each other down the spine.
    """
    old = landmarks.centroids.labels
    if not points or not all(0 <= row < len(old) for row in points):
        raise LandmarkError(f"expected points among the {len(old)} that there are, got {sorted(points) or 'none'}")
    places = [_ladder(old).index(label) for label in old]
    ladder = _ladder(points.values())
    new: list[str | None] = []
    for row in range(len(old)):
        anchor = min(points, key=lambda known: (abs(known - row), known))
        at = ladder.index(points[anchor]) + places[row] - places[anchor]
        new.append(ladder[at] if 0 <= at < len(ladder) else None)
    kept = [row for row, name in enumerate(new) if name is not None]
    names = [name for name in new if name is not None]
    order = [anatomical_order(name) for name in names]
    if any(above >= below for above, below in pairwise(order)):
        raise LandmarkError(f"the levels contradict each other: they would name the points {', '.join(names)}")
    left_out = [old[row] for row, name in enumerate(new) if name is None]
    warnings = [f"left out, as there is no name for it any more: the former {label}" for label in left_out]
    centroids = Centroids(tuple(names), landmarks.centroids.points_mm[kept], landmarks.centroids.frame)
    edit = {"points": {str(row + 1): name for row, name in sorted(points.items())}, "labels_before": list(old)}
    return replace(
        landmarks,
        centroids=centroids,
        confidence={},
        alternatives=(),
        warnings=(*landmarks.warnings, *warnings),
        edited=tuple(names),
        provenance={**landmarks.provenance, "relabelled": [*landmarks.provenance.get("relabelled", ()), edit]},
    )


def relabel_file(
    path: Path, texts: Sequence[str], out: Path | None = None, image: ImageReference | None = None
) -> Landmarks:
    """Relabel a result in its file; the original is kept beside it as `<name>.original`, the first one for good.

    texts : points and levels, as for `parse_points`
    out : write there instead, in its own format, and leave `path` as it is
    image : the scan, for formats that count its voxels
    Raises LandmarkError.
    """
    image = image or ImageReference()
    landmarks = read_landmarks(path, image.grid)
    try:
        changed = relabel(landmarks, parse_points(texts, landmarks.centroids.labels))
    except LandmarkError as error:
        raise LandmarkError(f"{path}: {error}") from None
    original = path.with_name(path.name + _ORIGINAL_SUFFIX)
    if out is None and not original.exists():
        write_bytes_atomically(original, path.read_bytes())
    write_landmarks(out or path, changed, image)
    return changed


def other_results(path: Path) -> list[Path]:
    """List the files beside a result that hold the same scan's points in other formats, and keep their names."""
    scan = landmark_scan_name(path)
    names = dict.fromkeys(f"{scan}{suffix}" for known in FORMATS if known.formatter for suffix in known.suffixes)
    others = [path.with_name(name) for name in names if name != path.name]
    return [other for other in others if other.is_file() and is_landmark_file(other)]


def _ladder(names: Iterable[str]) -> list[str]:
    """Return all levels from top to bottom, with the variants that occur among `names`."""
    occurring = set(names) & set(VARIANTS)
    return sorted((*VERTEBRAE, *occurring), key=anatomical_order)


def _row_of(text: str, labels: Sequence[str]) -> int:
    name = vertebra_name(text)
    if name not in labels:
        raise LandmarkError(f"{text}: no point is called so; there are {', '.join(labels)}")
    return labels.index(name)
