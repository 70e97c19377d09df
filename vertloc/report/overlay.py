"""Scan + predicted (and true) centroids -> one PNG to check them by eye.

Left, a sagittal view that follows the spine sideways; right, a coronal one that follows it front to back. True points
and their names stand on the left of the column, predicted ones with their confidence on the right; a line joins the
two points of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from vertloc.centroids import Centroids
from vertloc.errors import OutputError
from vertloc.evaluation.matching import Point, ScanScore, score_scan
from vertloc.io.atomic import write_bytes_atomically
from vertloc.report.marks import Mark, marks_of
from vertloc.report.page import View, page_png
from vertloc.report.reformat import Plane, SpineCurve, Window, reformat, spine_curve, world_bounds
from vertloc.volume import Volume

_MOST_PIXELS = (460, 1100)  # of a view: width, height
_MOST_PIXELS_PER_MM = 5.0
_AROUND_MM: dict[Plane, tuple[float, float]] = {"sagittal": (70.0, 75.0), "coronal": (72.0, 72.0)}
_BEYOND_MM = 70.0  # shown above and below the spine at most
_LEAST_MM = 70.0  # width and height of a view at least
_OUTSIDE_MM = 25.0  # how far outside the image a point is still shown
_MARGIN_MM = 5.0  # between a point and the edge of the view


def draw_overlay(
    volume: Volume,
    predicted: Centroids,
    truth: Centroids | None,
    path: Path | str,
    title: str = "",
    confidence: Mapping[str, float] | None = None,
) -> None:
    """Draw the centroids of one scan and write the picture to `path` as PNG.

    predicted, truth : in either frame; either may be empty; None where nothing is annotated
    title : the name of the scan; defaults to that of the volume
    confidence : by label, 0..1, shown beside the name
    Safe to call from several threads. Raises OSError if the file cannot be written.
    """
    title = title or volume.name
    found = predicted.to_world(volume.grid)
    true = truth.to_world(volume.grid) if truth is not None else None
    score = score_scan(title, true, found) if true is not None else None
    marks = marks_of(found, score, confidence or {})
    # Where the spine is known, wild predictions must not bend the view.
    curve = spine_curve(true.points_mm if true is not None and len(true) else found.points_mm, volume.grid)
    views = _views(volume, curve, marks)
    write_bytes_atomically(Path(path), page_png(views, marks, title, _headline(found, score)))


def check_can_draw() -> None:
    """Raise OutputError if matplotlib, an optional part of the installation, is not there."""
    if find_spec("matplotlib") is None:
        raise OutputError("pictures need matplotlib; install it with: pip install 'vertloc[plots]'")


def _views(volume: Volume, curve: SpineCurve, marks: Sequence[Mark]) -> list[View]:
    planes: tuple[Plane, ...] = ("sagittal", "coronal")
    windows = {plane: _window(volume, curve, plane, marks) for plane in planes}
    scale = min(
        _MOST_PIXELS_PER_MM,
        *(_MOST_PIXELS[0] / (w.right_mm - w.left_mm) for w in windows.values()),
        *(_MOST_PIXELS[1] / (w.top_mm - w.bottom_mm) for w in windows.values()),
    )
    # Sampling much finer than the voxels takes time and shows nothing.
    pixel_mm = max(1 / scale, min(volume.grid.spacing_mm) / 3)
    return [View(p, w, curve, reformat(volume, curve, p, w, pixel_mm), scale) for p, w in windows.items()]


def _window(volume: Volume, curve: SpineCurve, plane: Plane, marks: Sequence[Mark]) -> Window:
    """Choose what to show: the image, as far as it is not far from the spine, and the points a little outside it."""
    low, high = world_bounds(volume.grid)
    axis = 1 if plane == "sagittal" else 0
    points = np.array([p for m in marks for p, is_there in _points(m) if is_there]).reshape(-1, 3)
    points = points[np.all((points > low - _OUTSIDE_MM) & (points < high + _OUTSIDE_MM), axis=1)]
    bottom, top = low[2], high[2]
    if len(points):
        bottom = max(bottom, points[:, 2].min() - _BEYOND_MM)
        top = min(top, points[:, 2].max() + _BEYOND_MM)
    column = curve.along(plane, np.linspace(bottom, top, 50))
    left = max(low[axis], column.min() - _AROUND_MM[plane][0])
    right = min(high[axis], column.max() + _AROUND_MM[plane][1])
    if len(points):
        left, right = min(left, points[:, axis].min() - _MARGIN_MM), max(right, points[:, axis].max() + _MARGIN_MM)
        bottom, top = min(bottom, points[:, 2].min() - _MARGIN_MM), max(top, points[:, 2].max() + _MARGIN_MM)
    left, right = _at_least(left, right)
    bottom, top = _at_least(bottom, top)
    return Window(left, right, bottom, top)


def _at_least(low: float, high: float) -> tuple[float, float]:
    missing = max(0.0, _LEAST_MM - (high - low)) / 2
    return (float(low - missing), float(high + missing))


def _points(mark: Mark) -> tuple[tuple[Point, bool], ...]:
    return ((mark.true_mm, mark.has_truth), (mark.found_mm, mark.is_found))


def _headline(found: Centroids, score: ScanScore | None) -> str:
    if score is None:
        return f"{len(found)} predicted"
    parts = [f"identified {score.n_identified}/{score.n}"]
    if len(score.errors_mm):
        parts.append(f"mean error {score.errors_mm.mean():.1f} mm")
    if score.shift:
        parts.append(f"most labels shifted by {score.shift:+d}")
    return " · ".join(parts)
