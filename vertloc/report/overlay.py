"""Scan + predicted (and true) centroids -> one PNG to check them by eye.

Left, a sagittal view that follows the spine sideways; right, a coronal one that follows it front to back. True points
and their names stand on the left of the column, predicted ones with their confidence on the right; a line joins the
two points of the same name.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vertloc.centroids import Centroids
from vertloc.evaluation.matching import Point, ScanScore, score_scan
from vertloc.io.atomic import write_bytes_atomically
from vertloc.report.marks import SIGNS, TRUE_SIGN, Mark, marks_of, spread
from vertloc.report.reformat import Plane, Reformat, SpineCurve, Window, reformat, spine_curve, world_bounds
from vertloc.volume import Volume

WINDOW_HU = (-200.0, 800.0)
"""Intensities shown from black to white."""

_DPI = 100
_MOST_PIXELS = (460, 1100)  # of a view: width, height
_MOST_PIXELS_PER_MM = 5.0
_TITLE_PIXELS, _LEGEND_PIXELS, _GAP_PIXELS, _LEAST_WIDTH_PIXELS = 30, 24, 6, 640
_AROUND_MM: dict[Plane, tuple[float, float]] = {"sagittal": (70.0, 75.0), "coronal": (72.0, 72.0)}
_GREYS = 64  # more are not told apart, and make the file larger
_BEYOND_MM = 70.0  # shown above and below the spine at most
_LEAST_MM = 70.0  # width and height of a view at least
_OUTSIDE_MM = 25.0  # how far outside the image a point is still shown
_NAME_ASIDE_MM = 22.0  # from the column to the names
_NAME_PIXELS = 13.0  # between two names


@dataclass(frozen=True, eq=False)
class _View:
    """One of the two pictures, and what is drawn on it."""

    plane: Plane
    window: Window
    curve: SpineCurve
    picture: Reformat
    pixels_per_mm: float

    @property
    def size_pixels(self) -> tuple[int, int]:
        """Width and height on the page."""
        w = self.window
        return (
            round((w.right_mm - w.left_mm) * self.pixels_per_mm),
            round((w.top_mm - w.bottom_mm) * self.pixels_per_mm),
        )

    def place(self, point: Point) -> tuple[float, float]:
        """Where a world point appears, mm of the view."""
        return (point[1] if self.plane == "sagittal" else point[0], point[2])


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
    write_bytes_atomically(Path(path), _page(views, marks, title, _headline(found, score)))


def _views(volume: Volume, curve: SpineCurve, marks: Sequence[Mark]) -> list[_View]:
    planes: tuple[Plane, ...] = ("sagittal", "coronal")
    windows = {plane: _window(volume, curve, plane, marks) for plane in planes}
    scale = min(
        _MOST_PIXELS_PER_MM,
        *(_MOST_PIXELS[0] / (w.right_mm - w.left_mm) for w in windows.values()),
        *(_MOST_PIXELS[1] / (w.top_mm - w.bottom_mm) for w in windows.values()),
    )
    # Sampling much finer than the voxels takes time and shows nothing.
    pixel_mm = max(1 / scale, min(volume.grid.spacing_mm) / 3)
    return [_View(p, w, curve, reformat(volume, curve, p, w, pixel_mm), scale) for p, w in windows.items()]


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
        margin = 5.0
        left, right = min(left, points[:, axis].min() - margin), max(right, points[:, axis].max() + margin)
        bottom, top = min(bottom, points[:, 2].min() - margin), max(top, points[:, 2].max() + margin)
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


def _page(views: Sequence[_View], marks: Sequence[Mark], title: str, headline: str) -> bytes:
    """Lay out the views under the title, over the legend; PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = [view.size_pixels for view in views]
    content = sum(width for width, _ in sizes) + _GAP_PIXELS * (len(views) - 1)
    width = max(_LEAST_WIDTH_PIXELS, content)
    height = max(h for _, h in sizes) + _TITLE_PIXELS + _LEGEND_PIXELS
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    left = (width - content) / 2
    for view, (w, h) in zip(views, sizes, strict=True):
        axes = figure.add_axes((left / width, _LEGEND_PIXELS / height, w / width, h / height))
        _draw_view(axes, view, marks)
        left += w + _GAP_PIXELS
    middle = 1 - _TITLE_PIXELS / 2 / height
    style: dict[str, Any] = {"va": "center_baseline", "color": "white", "parse_math": False}
    figure.text(8 / width, middle, title, fontsize=11, fontweight="bold", **style)
    figure.text(1 - 8 / width, middle, headline, fontsize=10, ha="right", **style)
    _draw_legend(figure, canvas, marks)
    return _png(canvas)


def _draw_view(axes: Any, view: _View, marks: Sequence[Mark]) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    picture, window = view.picture, view.window
    rows, columns = picture.values_hu.shape
    left, top = picture.left_mm - picture.pixel_mm / 2, picture.top_mm + picture.pixel_mm / 2
    extent = (left, left + columns * picture.pixel_mm, top - rows * picture.pixel_mm, top)
    is_coarse = picture.pixel_mm * view.pixels_per_mm > 1.2
    axes.imshow(
        picture.values_hu,
        cmap=colormaps["gray"].resampled(_GREYS),
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        extent=extent,
        aspect="auto",
        interpolation="bicubic" if is_coarse else "nearest",
        interpolation_stage="data",
    )
    axes.set_axis_off()
    axes.set_xlim(window.left_mm, window.right_mm)
    axes.set_ylim(window.bottom_mm, window.top_mm)
    pairs = [mark for mark in marks if mark.has_truth and mark.is_found]
    lines = [(view.place(mark.true_mm), view.place(mark.found_mm)) for mark in pairs]
    axes.add_collection(LineCollection(lines, colors=[SIGNS[mark.status].colour for mark in pairs], linewidths=1.4))
    for mark in marks:
        sign = SIGNS[mark.status]
        if mark.has_truth:
            colour = sign.colour if mark.status == "missed" else TRUE_SIGN.colour
            axes.plot(*view.place(mark.true_mm), "o", ms=6.5, mfc="none", mec=colour, mew=1.1)
        if mark.is_found:
            axes.plot(*view.place(mark.found_mm), sign.marker, ms=5.5, mfc=sign.colour, mec="black", mew=0.6)
    true_names = [(mark.label, mark.true_mm, _true_colour(mark)) for mark in marks if mark.has_truth]
    found_names = [(mark.text, mark.found_mm, SIGNS[mark.status].colour) for mark in marks if mark.is_found]
    _draw_names(axes, view, true_names, side=-1)
    _draw_names(axes, view, found_names, side=1)
    _draw_compass(axes, view)


def _true_colour(mark: Mark) -> str:
    return SIGNS["missed"].colour if mark.status == "missed" else TRUE_SIGN.colour


def _draw_names(axes: Any, view: _View, names: Sequence[tuple[str, Point, str]], side: int) -> None:
    """Write names beside the column, with a thin line to their points; side -1 left, +1 right."""
    window, mm = view.window, 1 / view.pixels_per_mm
    places = [view.place(point) for _, point, _ in names]
    heights = spread([z for _, z in places], _NAME_PIXELS * mm, window.bottom_mm + 18 * mm, window.top_mm - 24 * mm)
    column = view.curve.along(view.plane, heights)
    for (text, _, colour), place, height, middle in zip(names, places, heights, column, strict=True):
        room = (6.6 * len(text) + 4) * mm
        beside = middle + side * _NAME_ASIDE_MM
        # Beyond the point itself, but with room for the name before the edge.
        beside = max(beside, place[0] + 10 * mm) if side > 0 else min(beside, place[0] - 10 * mm)
        beside = float(np.clip(beside, window.left_mm + room, window.right_mm - room))
        axes.plot([place[0], beside], [place[1], height], "-", color=colour, lw=0.5, alpha=0.55)
        axes.text(
            beside + side * 3 * mm,
            height,
            text,
            color=colour,
            fontsize=8,
            ha="left" if side > 0 else "right",
            va="center_baseline",
            path_effects=_outline(),
            clip_on=True,
        )


def _draw_compass(axes: Any, view: _View) -> None:
    """Write the directions into the corners and draw a scale bar."""
    left, right = ("A", "P") if view.plane == "sagittal" else ("R", "L")
    style: dict[str, Any] = {
        "transform": axes.transAxes,
        "color": "#b8c4cc",
        "fontsize": 9,
        "va": "top",
        "path_effects": _outline(),
    }
    width, height = view.size_pixels
    axes.text(6 / width, 1 - 5 / height, left, ha="left", **style)
    axes.text(1 - 6 / width, 1 - 5 / height, right, ha="right", **style)
    axes.text(0.5, 1 - 5 / height, view.plane, ha="center", **{**style, "fontsize": 8})
    bar_mm = 50.0 if width / view.pixels_per_mm > 120 else 20.0
    x, y = view.window.left_mm + 8 / view.pixels_per_mm, view.window.bottom_mm + 8 / view.pixels_per_mm
    axes.plot([x, x + bar_mm], [y, y], "-", color="#b8c4cc", lw=2, solid_capstyle="butt")
    axes.text(
        x + bar_mm + 4 / view.pixels_per_mm,
        y,
        f"{bar_mm / 10:g} cm",
        color="#b8c4cc",
        fontsize=8,
        va="center",
        path_effects=_outline(),
    )


def _outline() -> list[Any]:
    """Give letters a dark rim that keeps them legible on bone."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="black")]


def _draw_legend(figure: Any, canvas: Any, marks: Sequence[Mark]) -> None:
    """Explain the signs that occur, in one line at the bottom."""
    width, height = figure.bbox.width, figure.bbox.height
    shown = {mark.status for mark in marks}
    signs = [TRUE_SIGN] if any(mark.has_truth for mark in marks) else []
    signs += [sign for status, sign in SIGNS.items() if status in shown]
    x = 8.0
    for sign in signs:
        text = figure.text(
            x / width,
            _LEGEND_PIXELS / 2 / height,
            f"{sign.glyph} {sign.meaning}",
            color=sign.colour,
            fontsize=8,
            va="center_baseline",
        )
        x += text.get_window_extent(canvas.get_renderer()).width + 16


def _png(canvas: Any) -> bytes:
    from PIL import Image

    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=False, compress_level=6)
    return data.getvalue()
