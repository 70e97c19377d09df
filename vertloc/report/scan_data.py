"""One scan of a run -> what the report page loads when the scan is opened, as JSON that the page's script understands.

Two curved views with their points and the places of names, in millimetres from the upper left corner; the levels with
confidence and alternatives; and a mosaic of slices for the viewer.
"""

from __future__ import annotations

import base64
import io
import math
from typing import Any, Literal

import numpy as np

from vertloc.centroids import Centroids
from vertloc.evaluation.matching import Point
from vertloc.io.images import read_image
from vertloc.io.landmarks.registry import read_centroids
from vertloc.report.marks import Mark, marks_of
from vertloc.report.mosaic import RANGE_HU, Mosaic, make_mosaic
from vertloc.report.overlay import WINDOW_HU
from vertloc.report.reformat import spine_curve
from vertloc.report.runs import RunScan
from vertloc.report.views import View, beside_the_column, curved_views
from vertloc.vertebrae import anatomical_order
from vertloc.volume import Volume

_MOST_PIXELS = (480, 1000)
_MOST_PIXELS_PER_MM = 4.0
_QUALITY = 70
_LEAST_LETTERS_MM = 5.0
_LINES_OF_A_VIEW = 72  # letters grow with the view, so that they can be read when it is shown as a whole
_WIDTH_OF_A_LETTER = 0.62  # of its height

EMPTY = Centroids((), np.empty((0, 3)))


def scan_data(scan: RunScan) -> dict[str, Any]:
    """Read a scan and its points and prepare what the page shows.

    Raises ImageError or LandmarkError for files that cannot be read.
    """
    volume = read_image(scan.image)
    found = _found(scan, volume)
    marks = _world_marks(scan, found, volume)
    points = np.array([p for mark in marks for p in mark.points]).reshape(-1, 3)
    true = np.array([mark.true_mm for mark in marks if mark.has_truth]).reshape(-1, 3)
    curve = spine_curve(true if len(true) else points, volume.grid)
    views = curved_views(volume, curve, points, _MOST_PIXELS, _MOST_PIXELS_PER_MM)
    return {
        "levels": [_level(scan, mark) for mark in marks],
        "views": [_view(view, marks) for view in views],
        "volume": _volume(make_mosaic(volume, true if len(true) else points)),
        "stored": _stored(volume),
    }


def _found(scan: RunScan, volume: Volume) -> Centroids:
    """Return the points of a result, world frame."""
    if scan.landmarks is None:
        return Centroids.from_points(dict(scan.world_mm), "world")
    return read_centroids(scan.landmarks, volume.grid).to_world(volume.grid)


def _world_marks(scan: RunScan, found: Centroids, volume: Volume) -> tuple[Mark, ...]:
    """Decide what to show, in the world frame; scores are in the frame of their files."""
    if scan.score is None:
        return marks_of(found, None, scan.confidence)

    def world(point: Point) -> Point:
        if math.isnan(point[0]) or scan.frame == "world":
            return point
        x, y, z = volume.grid.local_to_world(point)[0]
        return (float(x), float(y), float(z))

    marks = sorted(marks_of(found, scan.score, scan.confidence), key=lambda mark: anatomical_order(mark.label))
    return tuple(Mark(m.label, m.status, world(m.true_mm), world(m.found_mm), m.text) for m in marks)


def _level(scan: RunScan, mark: Mark) -> dict[str, Any]:
    score = {v.label: v for v in scan.score.vertebrae}.get(mark.label) if scan.score else None
    return {
        "label": mark.label,
        "status": mark.status,
        "confidence": scan.confidence.get(mark.label),
        "alternatives": [[name, round(p, 4)] for name, p in scan.alternatives.get(mark.label, ())][:3],
        "error": round(score.error_mm, 2) if score and not score.is_missed else None,
        "nearest": score.nearest if score and score.nearest != mark.label else "",
        "found": _rounded(mark.found_mm),
        "true": _rounded(mark.true_mm),
    }


def _rounded(point: Point) -> list[float] | None:
    return None if math.isnan(point[0]) else [round(v, 2) for v in point]


def _view(view: View, marks: tuple[Mark, ...]) -> dict[str, Any]:
    left, right, bottom, top = view.picture.extent_mm
    letters_mm = max(_LEAST_LETTERS_MM, (top - bottom) / _LINES_OF_A_VIEW)
    return {
        "plane": view.plane,
        "sides": view.sides,
        "size": [round(right - left, 3), round(top - bottom, 3)],
        "letters": round(letters_mm, 2),
        "image": _data_uri(_grey_webp(view)),
        "found": _named(view, [m for m in marks if m.is_found], "found", letters_mm),
        "true": _named(view, [m for m in marks if m.has_truth], "true", letters_mm),
    }


def _named(view: View, marks: list[Mark], which: Literal["found", "true"], letters_mm: float) -> list[dict[str, Any]]:
    """Points and the places of their names, both as [right, down] mm; true ones on the left."""
    left, _, _, top = view.picture.extent_mm
    points = [mark.found_mm if which == "found" else mark.true_mm for mark in marks]
    texts = [mark.text if which == "found" else mark.label for mark in marks]
    # The page adds a cross to wrong names.
    lengths = [len(text) + 2 * (mark.status == "wrong") for mark, text in zip(marks, texts, strict=True)]
    widths = [_WIDTH_OF_A_LETTER * letters_mm * length + 2 for length in lengths]
    places = beside_the_column(view, points, 1 if which == "found" else -1, 1.25 * letters_mm, widths)

    def shown(place: tuple[float, float]) -> list[float]:
        return [round(place[0] - left, 2), round(top - place[1], 2)]

    return [
        {"label": mark.label, "text": text, "at": shown(view.place(point)), "name": shown(place)}
        for mark, text, point, place in zip(marks, texts, points, places, strict=True)
    ]


def _grey_webp(view: View) -> bytes:
    from PIL import Image

    low, high = WINDOW_HU
    grey = np.clip((view.picture.values_hu - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(grey).save(data, "WEBP", quality=_QUALITY, method=4)
    return data.getvalue()


def _volume(mosaic: Mosaic) -> dict[str, Any]:
    return {
        "image": _data_uri(mosaic.image),
        "columns": mosaic.columns,
        "shape": mosaic.shape,
        "spacing": round(mosaic.spacing_mm, 5),
        "first": [round(v, 4) for v in mosaic.first_mm],
        "range": RANGE_HU,
    }


def _stored(volume: Volume) -> dict[str, Any]:
    """Say what the file holds, for the reader's information."""
    return {
        "voxels": list(volume.grid.shape[::-1]),
        "spacing": [round(s, 3) for s in volume.grid.spacing_mm],
        "tilt": round(volume.grid.tilt_degrees, 1),
    }


def _data_uri(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
