"""Scan + predicted (and true) centroids -> one PNG to check them by eye.

Left, a sagittal view that follows the spine sideways; right, a coronal one that follows it front to back. True points
and their names stand on the left of the column, predicted ones with their confidence on the right; a line joins the
two points of the same name.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vertloc.centroids import Centroids
from vertloc.errors import OutputError
from vertloc.evaluation.matching import Point, ScanScore, score_scan
from vertloc.io.atomic import write_bytes_atomically
from vertloc.report.marks import SIGNS, TRUE_SIGN, Mark, Sign, marks_of
from vertloc.report.reformat import spine_curve
from vertloc.report.views import View, beside_the_column, curved_views
from vertloc.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW_HU = (-200.0, 800.0)
"""Intensities shown from black to white."""

_MOST_PIXELS = (460, 1100)  # of a view: width, height
_MOST_PIXELS_PER_MM = 5.0
_DPI = 100
_HEAD_INCHES, _FOOT_INCHES, _GAP_INCHES, _LEAST_INCHES = 0.34, 0.28, 0.06, 6.4
_POINTS = 8.0  # size of the letters
_LINE_INCHES, _LETTER_INCHES = 0.13, 0.068
_MOST_LETTERS = 44  # of the title
_QUIET = "#b8c4cc"


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
    figure = overlay_figure(volume, predicted, truth, title, confidence)
    data = io.BytesIO()
    # Packing harder takes twice the time and saves a fifth.
    figure.savefig(data, format="png", facecolor="black", pil_kwargs={"compress_level": 1})
    write_bytes_atomically(Path(path), data.getvalue())


def overlay_figure(
    volume: Volume,
    predicted: Centroids,
    truth: Centroids | None = None,
    title: str = "",
    confidence: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the centroids of one scan as a matplotlib figure of two axes, sagittal and coronal, in world mm.

    Arguments as of `draw_overlay`. The figure is on its own canvas: pyplot does not know it.
    """
    found = predicted.to_world(volume.grid)
    true = truth.to_world(volume.grid) if truth is not None else None
    score = score_scan(volume.name, true, found) if true is not None else None
    marks = marks_of(found, score, confidence or {})
    # Where the spine is known, wild predictions must not bend the view.
    curve = spine_curve(true.points_mm if true is not None and len(true) else found.points_mm, volume.grid)
    points = np.array([p for m in marks for p in m.points]).reshape(-1, 3)
    views = curved_views(volume, curve, points, _MOST_PIXELS, _MOST_PIXELS_PER_MM)
    return _figure(views, marks, title or volume.name, _headline(found, score))


def check_can_draw() -> None:
    """Raise OutputError if matplotlib, an optional part of the installation, is not there."""
    if find_spec("matplotlib") is None:
        raise OutputError("pictures need matplotlib; install it with: pip install 'vertloc[plots]'")


def _figure(views: tuple[View, View], marks: Sequence[Mark], title: str, headline: str) -> Figure:
    from matplotlib.figure import Figure

    windows = [view.window for view in views]
    widths_mm = [w.right_mm - w.left_mm for w in windows]
    height_mm = windows[0].top_mm - windows[0].bottom_mm
    pixels_per_mm = min(_MOST_PIXELS_PER_MM, _MOST_PIXELS[0] / max(widths_mm), _MOST_PIXELS[1] / height_mm)
    inches_per_mm = pixels_per_mm / _DPI
    content = sum(widths_mm) * inches_per_mm + _GAP_INCHES
    width, height = max(_LEAST_INCHES, content), height_mm * inches_per_mm + _HEAD_INCHES + _FOOT_INCHES
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="black")
    side = (width - content) / 2 / width
    axes = figure.subplots(
        ncols=2,
        width_ratios=widths_mm,
        gridspec_kw={
            "left": side,
            "right": 1 - side,
            "bottom": _FOOT_INCHES / height,
            "top": 1 - _HEAD_INCHES / height,
            "wspace": _GAP_INCHES / (content - _GAP_INCHES) * 2,
        },
    )
    for ax, view in zip(axes, views, strict=True):
        _draw_view(ax, view, marks, inches_per_mm)
    style: dict[str, Any] = {"color": "white", "va": "center", "parse_math": False}
    middle = 1 - _HEAD_INCHES / 2 / height
    figure.text(0.08 / width, middle, _shortened(title), fontsize=11, fontweight="bold", **style)
    figure.text(1 - 0.08 / width, middle, headline, fontsize=10, ha="right", **style)
    _draw_legend(figure, marks)
    return figure


def _draw_view(ax: Axes, view: View, marks: Sequence[Mark], inches_per_mm: float) -> None:
    window = view.window
    ax.imshow(
        view.picture.values_hu,
        extent=view.picture.extent_mm,
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        interpolation="bilinear",
        aspect="auto",
    )
    ax.set(xlim=(window.left_mm, window.right_mm), ylim=(window.bottom_mm, window.top_mm), xticks=[], yticks=[])
    ax.set_axis_off()
    _draw_points(ax, view, marks)
    true_names = [(mark.label, mark.true_mm, _true_sign(mark).colour) for mark in marks if mark.has_truth]
    found_names = [(mark.text, mark.found_mm, SIGNS[mark.status].colour) for mark in marks if mark.is_found]
    _draw_names(ax, view, true_names, -1, inches_per_mm)
    _draw_names(ax, view, found_names, 1, inches_per_mm)
    _draw_compass(ax, view)


def _draw_points(ax: Axes, view: View, marks: Sequence[Mark]) -> None:
    """Draw rings for true and filled signs for predicted points, joined by a line."""
    for mark in marks:
        sign, true, found = SIGNS[mark.status], view.place(mark.true_mm), view.place(mark.found_mm)
        if mark.has_truth and mark.is_found:
            ax.plot(*zip(true, found, strict=True), color=sign.colour, lw=1.4)
        if mark.has_truth:
            ax.plot(*true, "o", ms=6.5, mfc="none", mec=_true_sign(mark).colour, mew=1.1)
        if mark.is_found:
            ax.plot(*found, sign.marker, ms=5.5, mfc=sign.colour, mec="black", mew=0.6)


def _true_sign(mark: Mark) -> Sign:
    return SIGNS["missed"] if mark.status == "missed" else TRUE_SIGN


def _draw_names(
    ax: Axes, view: View, names: Sequence[tuple[str, Point, str]], side: Literal[-1, 1], inches_per_mm: float
) -> None:
    """Write names (text, point, colour) beside the column, each with a thin line to its point; side -1 left."""
    from matplotlib.patheffects import withStroke

    rim = [withStroke(linewidth=2.2, foreground="black")]  # keeps letters legible on bone
    points = [point for _, point, _ in names]
    widths_mm = [(_LETTER_INCHES * len(text) + 0.04) / inches_per_mm for text, _, _ in names]
    places = beside_the_column(view, points, side, _LINE_INCHES / inches_per_mm, widths_mm)
    for (text, point, colour), place in zip(names, places, strict=True):
        ax.plot(*zip(view.place(point), place, strict=True), color=colour, lw=0.5, alpha=0.55, zorder=1.5)
        style: dict[str, Any] = {"ha": "left" if side > 0 else "right", "va": "center", "path_effects": rim}
        ax.text(place[0] + 0.02 * side / inches_per_mm, place[1], text, color=colour, fontsize=_POINTS, **style)


def _draw_compass(ax: Axes, view: View) -> None:
    """Draw a scale bar, the name of the plane, and the patient's directions in the corners."""
    from matplotlib.font_manager import FontProperties
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    bar_mm = 50.0 if view.window.right_mm - view.window.left_mm > 120 else 20.0
    font = FontProperties(size=_POINTS)
    bar = AnchoredSizeBar(
        ax.transData, bar_mm, f"{bar_mm / 10:g} cm", "lower left", color=_QUIET, frameon=False, fontproperties=font
    )
    ax.add_artist(bar)
    for text, x, side in ((view.sides[0], 0.02, "left"), (view.plane, 0.5, "center"), (view.sides[1], 0.98, "right")):
        ax.text(x, 0.995, text, transform=ax.transAxes, ha=side, va="top", color=_QUIET, fontsize=_POINTS)


def _draw_legend(figure: Figure, marks: Sequence[Mark]) -> None:
    """Explain the signs that occur, in one line at the bottom."""
    from matplotlib.lines import Line2D

    shown = {mark.status for mark in marks}
    hollow = [TRUE_SIGN] if any(mark.has_truth and mark.is_found for mark in marks) else []
    signs = [*hollow, *(sign for status, sign in SIGNS.items() if status in shown)]
    handles = [
        Line2D([], [], ls="none", marker=s.marker, mfc="none" if s.is_hollow else s.colour, mec=s.colour, ms=5.5)
        for s in signs
    ]
    figure.legend(
        handles,
        [sign.meaning for sign in signs],
        loc="lower left",
        ncols=max(1, len(signs)),
        frameon=False,
        fontsize=_POINTS,
        labelcolor=[sign.colour for sign in signs],
        handletextpad=0.0,
        columnspacing=1.0,
        borderpad=0.0,
        borderaxespad=0.4,
    )


def _shortened(title: str) -> str:
    """Leave out the middle of a name that is too long for its line."""
    half = _MOST_LETTERS // 2
    return title if len(title) <= _MOST_LETTERS else f"{title[:half]}…{title[-half:]}"


def _headline(found: Centroids, score: ScanScore | None) -> str:
    if score is None:
        return f"{len(found)} predicted"
    parts = [f"identified {score.n_identified}/{score.n}"]
    if len(score.errors_mm):
        parts.append(f"mean error {score.errors_mm.mean():.1f} mm")
    if score.shift:
        parts.append(f"most labels shifted by {score.shift:+d}")
    return " · ".join(parts)
