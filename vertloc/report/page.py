"""Views and marks -> the page as PNG: pictures, points, names that do not overlap, title and legend.

Only here is matplotlib used: its object-oriented part with the Agg canvas, which has no state that threads could share.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vertloc.evaluation.matching import Point
from vertloc.report.marks import SIGNS, TRUE_SIGN, Mark, Sign, spread
from vertloc.report.reformat import Plane, Reformat, SpineCurve, Window

WINDOW_HU = (-200.0, 800.0)
"""Intensities shown from black to white."""

_DPI = 100
_TITLE_PIXELS, _LEGEND_PIXELS, _GAP_PIXELS, _LEAST_WIDTH_PIXELS = 30, 24, 6, 640
_GREYS = 64  # more are not told apart, and make the file larger
_NAME_ASIDE_MM = 22.0  # from the column to the names
_NAME_PIXELS = 13.0  # between two names
_LETTER_PIXELS = 6.6
_QUIET = "#b8c4cc"


@dataclass(frozen=True, eq=False)
class View:
    """One of the two pictures of a scan, and where the column runs in it."""

    plane: Plane
    window: Window
    curve: SpineCurve
    picture: Reformat
    pixels_per_mm: float

    @property
    def size_pixels(self) -> tuple[int, int]:
        """Width and height on the page."""
        w, scale = self.window, self.pixels_per_mm
        return (round((w.right_mm - w.left_mm) * scale), round((w.top_mm - w.bottom_mm) * scale))

    def place(self, point: Point) -> tuple[float, float]:
        """Where a world point appears, mm of the view."""
        return (point[1] if self.plane == "sagittal" else point[0], point[2])


def page_png(views: Sequence[View], marks: Sequence[Mark], title: str, headline: str) -> bytes:
    """Lay out the views side by side, under the title and over the legend; PNG bytes."""
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
    _draw_title(figure, canvas, title, headline)
    _draw_legend(figure, canvas, marks)
    return _png(canvas)


def _draw_view(axes: Any, view: View, marks: Sequence[Mark]) -> None:
    from matplotlib.collections import LineCollection

    _draw_picture(axes, view)
    pairs = [mark for mark in marks if mark.has_truth and mark.is_found]
    lines = [(view.place(mark.true_mm), view.place(mark.found_mm)) for mark in pairs]
    axes.add_collection(LineCollection(lines, colors=[SIGNS[mark.status].colour for mark in pairs], linewidths=1.4))
    _draw_points(axes, view, marks)
    true_names = [(mark.label, mark.true_mm, _true_sign(mark).colour) for mark in marks if mark.has_truth]
    found_names = [(mark.text, mark.found_mm, SIGNS[mark.status].colour) for mark in marks if mark.is_found]
    _draw_names(axes, view, true_names, side=-1)
    _draw_names(axes, view, found_names, side=1)
    _draw_compass(axes, view)


def _draw_picture(axes: Any, view: View) -> None:
    from matplotlib import colormaps

    picture, window = view.picture, view.window
    rows, columns = picture.values_hu.shape
    left, top = picture.left_mm - picture.pixel_mm / 2, picture.top_mm + picture.pixel_mm / 2
    is_coarse = picture.pixel_mm * view.pixels_per_mm > 1.2
    axes.imshow(
        picture.values_hu,
        cmap=colormaps["gray"].resampled(_GREYS),
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        extent=(left, left + columns * picture.pixel_mm, top - rows * picture.pixel_mm, top),
        aspect="auto",
        interpolation="bicubic" if is_coarse else "nearest",
        interpolation_stage="data",
    )
    axes.set_axis_off()
    axes.set_xlim(window.left_mm, window.right_mm)
    axes.set_ylim(window.bottom_mm, window.top_mm)


def _draw_points(axes: Any, view: View, marks: Sequence[Mark]) -> None:
    """Draw rings for true and filled signs for predicted points; one artist a sign, as each costs a millisecond."""
    true, found = defaultdict(list), defaultdict(list)
    for mark in marks:
        if mark.has_truth:
            true[_true_sign(mark)].append(view.place(mark.true_mm))
        if mark.is_found:
            found[SIGNS[mark.status]].append(view.place(mark.found_mm))
    style: dict[str, Any] = {"linestyle": "none"}
    for sign, places in true.items():
        axes.plot(*zip(*places, strict=True), marker="o", ms=6.5, mfc="none", mec=sign.colour, mew=1.1, **style)
    for sign, places in found.items():
        axes.plot(
            *zip(*places, strict=True), marker=sign.marker, ms=5.5, mfc=sign.colour, mec="black", mew=0.6, **style
        )


def _true_sign(mark: Mark) -> Sign:
    return SIGNS["missed"] if mark.status == "missed" else TRUE_SIGN


def _draw_names(axes: Any, view: View, names: Sequence[tuple[str, Point, str]], side: int) -> None:
    """Write names (text, point, colour) beside the column with a thin line to their points; side -1 left, +1 right."""
    from matplotlib.collections import LineCollection

    window, mm = view.window, 1 / view.pixels_per_mm
    places = [view.place(point) for _, point, _ in names]
    heights = spread([z for _, z in places], _NAME_PIXELS * mm, window.bottom_mm + 18 * mm, window.top_mm - 24 * mm)
    column = view.curve.along(view.plane, heights)
    leaders = []
    for (text, _, colour), place, height, middle in zip(names, places, heights, column, strict=True):
        room = (_LETTER_PIXELS * len(text) + 4) * mm
        # Beside the column and the point itself, but with room for the name before the edge.
        beside = max(side * middle + _NAME_ASIDE_MM, side * place[0] + 10 * mm) * side
        beside = float(np.clip(beside, window.left_mm + room, window.right_mm - room))
        leaders.append((place, (beside, height)))
        anchor = "left" if side > 0 else "right"
        _write(axes, beside + side * 3 * mm, height, text, color=colour, ha=anchor, va="center_baseline", clip_on=True)
    colours = [colour for _, _, colour in names]
    axes.add_collection(LineCollection(leaders, colors=colours, linewidths=0.5, alpha=0.55))


def _draw_compass(axes: Any, view: View) -> None:
    """Write the directions into the corners and draw a scale bar."""
    left, right = ("A", "P") if view.plane == "sagittal" else ("R", "L")
    window, mm = view.window, 1 / view.pixels_per_mm
    top = window.top_mm - 5 * mm
    _write(axes, window.left_mm + 6 * mm, top, left, color=_QUIET, ha="left", va="top")
    _write(axes, (window.left_mm + window.right_mm) / 2, top, view.plane, color=_QUIET, ha="center", va="top")
    _write(axes, window.right_mm - 6 * mm, top, right, color=_QUIET, ha="right", va="top")
    bar_mm = 50.0 if window.right_mm - window.left_mm > 120 else 20.0
    x, y = window.left_mm + 8 * mm, window.bottom_mm + 8 * mm
    axes.plot([x, x + bar_mm], [y, y], "-", color=_QUIET, lw=2, solid_capstyle="butt")
    _write(axes, x + bar_mm + 4 * mm, y, f"{bar_mm / 10:g} cm", color=_QUIET, ha="left", va="center_baseline")


def _write(axes: Any, x_mm: float, y_mm: float, text: str, **style: Any) -> None:
    """Write small letters with a dark rim that keeps them legible on bone."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2.2, foreground="black")]
    axes.text(x_mm, y_mm, text, fontsize=8, path_effects=rim, parse_math=False, **style)


def _draw_title(figure: Any, canvas: Any, title: str, headline: str) -> None:
    """Write the title left and the headline right; a title too long for its room loses its middle."""
    width, height = figure.bbox.width, figure.bbox.height
    middle = 1 - _TITLE_PIXELS / 2 / height
    style: dict[str, Any] = {"va": "center_baseline", "color": "white", "parse_math": False}
    right = figure.text(1 - 8 / width, middle, headline, fontsize=10, ha="right", **style)
    left = figure.text(8 / width, middle, title, fontsize=11, fontweight="bold", **style)
    room = width - 36 - right.get_window_extent(canvas.get_renderer()).width
    taken = left.get_window_extent(canvas.get_renderer()).width
    if taken > room:
        half = max(2, int(len(title) * room / taken) // 2 - 1)
        left.set_text(f"{title[:half]}…{title[-half:]}")


def _draw_legend(figure: Any, canvas: Any, marks: Sequence[Mark]) -> None:
    """Explain the signs that occur, in one line at the bottom."""
    width, height = figure.bbox.width, figure.bbox.height
    shown = {mark.status for mark in marks}
    signs = [TRUE_SIGN] if any(mark.has_truth and mark.is_found for mark in marks) else []
    signs += [sign for status, sign in SIGNS.items() if status in shown]
    x, y = 8.0, _LEGEND_PIXELS / 2 / height
    for sign in signs:
        words = f"{sign.glyph} {sign.meaning}"
        text = figure.text(x / width, y, words, color=sign.colour, fontsize=8, va="center_baseline")
        x += text.get_window_extent(canvas.get_renderer()).width + 16


def _png(canvas: Any) -> bytes:
    from PIL import Image

    canvas.draw()
    data = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(data, "PNG")
    return data.getvalue()
