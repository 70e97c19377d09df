"""Scan + points to show -> a curved sagittal and a curved coronal view, and places for the names beside the column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vertloc.evaluation.matching import Point
from vertloc.geometry import Points
from vertloc.report.reformat import Plane, Reformat, SpineCurve, Window, reformat, world_bounds
from vertloc.volume import Volume

PLANES: tuple[Plane, ...] = ("sagittal", "coronal")

_AROUND_MM: dict[Plane, tuple[float, float]] = {"sagittal": (70.0, 75.0), "coronal": (72.0, 72.0)}
_BEYOND_MM = 70.0  # shown above and below the spine at most
_LEAST_MM = 70.0  # width and height of a view at least
_OUTSIDE_MM = 25.0  # how far outside the image a point is still shown
_MARGIN_MM = 5.0  # between a point and the edge of the view
_NAME_ASIDE_MM = 22.0  # from the column to the names
_POINT_ASIDE_MM = 5.0  # from a point to its name at least


@dataclass(frozen=True, eq=False)
class View:
    """One of the two pictures of a scan.

    window : what it shows; curve : where the column runs in it; picture : its intensities
    """

    window: Window
    curve: SpineCurve
    picture: Reformat

    @property
    def plane(self) -> Plane:
        """Sagittal or coronal."""
        return self.picture.plane

    @property
    def sides(self) -> tuple[str, str]:
        """Letters of what lies left and right in the picture: A and P, or R and L of the patient."""
        return ("A", "P") if self.plane == "sagittal" else ("R", "L")

    def place(self, point: Point) -> tuple[float, float]:
        """Where a world point appears, mm of the view: rightwards and upwards."""
        return (point[1] if self.plane == "sagittal" else point[0], point[2])


def curved_views(
    volume: Volume, curve: SpineCurve, points_mm: Points, most_pixels: tuple[int, int], most_per_mm: float
) -> tuple[View, View]:
    """Cut the sagittal and the coronal view of a scan, at one scale.

    points_mm : (n, 3) world, what must be seen; those far outside the scan are left out
    most_pixels : width and height of a view at most; most_per_mm : pixels per mm at most
    """
    windows = {plane: _window(volume, curve, plane, points_mm) for plane in PLANES}
    scale = min(
        most_per_mm,
        *(most_pixels[0] / (w.right_mm - w.left_mm) for w in windows.values()),
        *(most_pixels[1] / (w.top_mm - w.bottom_mm) for w in windows.values()),
    )
    # Sampling much finer than the voxels takes time and shows nothing.
    pixel_mm = max(1 / scale, min(volume.grid.spacing_mm) / 3)
    sagittal, coronal = (View(w, curve, reformat(volume, curve, p, w, pixel_mm)) for p, w in windows.items())
    return sagittal, coronal


def beside_the_column(
    view: View, points: Sequence[Point], side: Literal[-1, 1], line_mm: float, widths_mm: Sequence[float]
) -> list[tuple[float, float]]:
    """Find places for the names of points where they do not overlap: left (-1) or right (1) of the column.

    line_mm : height of a line of text; widths_mm : of the names
    returns : mm of the view; of a name on the left the middle of its right edge, on the right of its left edge
    """
    if not points:
        return []
    window = view.window
    places = [view.place(point) for point in points]
    heights = spread([z for _, z in places], line_mm, window.bottom_mm + 1.4 * line_mm, window.top_mm - 1.8 * line_mm)
    column = view.curve.along(view.plane, heights)
    found = []
    for place, height, middle, width in zip(places, heights, column, widths_mm, strict=True):
        # Beside the column and the point itself, but with room for the name before the edge.
        aside = side * max(side * middle + _NAME_ASIDE_MM, side * place[0] + _POINT_ASIDE_MM)
        found.append((float(np.clip(aside, window.left_mm + width, window.right_mm - width)), float(height)))
    return found


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Move positions apart to at least `gap`, in least squares as little as possible, within low..high.

    wanted : n positions, any order; the order is kept
    returns : (n,) float64; closer than `gap` only where low..high cannot hold them all
    """
    from scipy.optimize import isotonic_regression

    if not len(wanted):
        return np.empty(0)
    order = np.argsort(wanted, kind="stable")
    gap = min(gap, max(0.0, high - low) / max(1, len(wanted) - 1))
    steps = gap * np.arange(len(wanted))
    # With y_i = p_i - i gap, "p at least gap apart" reads "y does not decrease".
    fitted = isotonic_regression(np.asarray(wanted, dtype=np.float64)[order] - steps).x
    placed = np.empty(len(wanted))
    placed[order] = np.clip(fitted, low, max(low, high - steps[-1])) + steps
    return placed


def _window(volume: Volume, curve: SpineCurve, plane: Plane, points_mm: Points) -> Window:
    """Choose what to show: the image, as far as it is not far from the spine, and the points a little outside it."""
    low, high = world_bounds(volume.grid)
    axis = 1 if plane == "sagittal" else 0
    points = points_mm[np.all((points_mm > low - _OUTSIDE_MM) & (points_mm < high + _OUTSIDE_MM), axis=1)]
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
