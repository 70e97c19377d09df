"""What a user says of known levels -> their centroids, world frame: `T12=x,y,z`, a landmark file, a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertloc.centroids import Centroids, Frame
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.landmarks import FARTHEST_MM, vertebra_name
from vertloc.io.landmarks.registry import FORMATS, read_centroids

_POINT = re.compile(r"\s*([A-Za-z]{1,2}[0-9]{1,2})\s*=([^,]*),([^,]*),([^,]*)")
_GRACE_MM = 5.0


def known_levels(texts: Sequence[str], scan: str, grid: Grid, frame: Frame) -> Centroids:
    """Read the known levels of a scan, world frame.

    texts : `T12=x,y,z` in millimetres of `frame`; or a landmark file; or a folder with `<scan>` landmark files, where a
        scan without one has no known levels
    Raises LandmarkError for what is none of these, a level that is given twice, and points outside the image.
    """
    known: dict[str, tuple[float, float, float]] = {}
    for text in texts:
        for label, (x, y, z) in _one(text, scan, grid, frame):
            if label in known:
                raise LandmarkError(f"{text}: {label} is given twice")
            known[label] = (float(x), float(y), float(z))
    centroids = Centroids.from_points(known, "world")
    index = grid.to_index(centroids.points_mm)
    grace = _GRACE_MM / np.array(grid.spacing_mm[::-1]) + 0.5
    outside = ((index < -grace) | (index > np.array(grid.shape) - 1 + grace)).any(axis=1)
    if outside.any():
        label = centroids.labels[int(outside.argmax())]
        raise LandmarkError(f"{scan}: the known {label} lies outside the image; is it in the {frame} frame?")
    return centroids


def _one(text: str, scan: str, grid: Grid, frame: Frame) -> Centroids:
    match = _POINT.fullmatch(text)
    if match is not None:
        name = vertebra_name(match[1])
        if name is None:
            raise LandmarkError(f"{text}: expected a vertebra from C1 to S2, got {match[1]!r}")
        return Centroids.from_points({name: [_number(text, part) for part in match.groups()[1:]]}, frame).to_world(grid)
    path = Path(text)
    if path.is_dir():
        files = [path / f"{scan}{suffix}" for entry in FORMATS if entry.reader for suffix in entry.suffixes]
        path = next((file for file in files if file.is_file()), path)
        if path.is_dir():
            return Centroids((), np.empty((0, 3)), "world")
    if not path.is_file():
        raise LandmarkError(f"{text}: expected LEVEL=x,y,z, as in T12=10.5,20,30, or a file or folder of landmarks")
    return read_centroids(path, grid).to_world(grid)


def _number(text: str, part: str) -> float:
    try:
        value = float(part)
    except ValueError:
        value = float("nan")
    if not abs(value) <= FARTHEST_MM:
        raise LandmarkError(f"{text}: expected three numbers, got {part[:30]!r}")
    return value
