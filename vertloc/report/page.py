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
from numpy.typing import NDArray

from vertloc.evaluation.matching import Point
from vertloc.report.letters import Letters, outlines
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


@dataclass(frozen=True, eq=False)
class _Panel:
    """A view at its place on the page; pixels of the page count from its lower left corner."""

    figure: Any
    view: View
    left: int
    bottom: int

    def pixel(self, place: tuple[float, float]) -> tuple[float, float]:
        """Turn mm of the view into pixels of the page."""
        window, (width, height) = self.view.window, self.view.size_pixels
        x = self.left + (place[0] - window.left_mm) / (window.right_mm - window.left_mm) * width
        return (x, self.bottom + (place[1] - window.bottom_mm) / (window.top_mm - window.bottom_mm) * height)

    def add(self, artist: Any) -> None:
        """Draw an artist, whose coordinates are pixels, inside the panel."""
        from matplotlib.transforms import Bbox

        artist.set_clip_box(Bbox.from_bounds(self.left, self.bottom, *self.view.size_pixels))
        self.figure.add_artist(artist)

    def add_lines(self, lines: Sequence[Any], colours: Sequence[str], **style: Any) -> None:
        """Draw lines between places, each with its colour."""
        from matplotlib.collections import LineCollection
        from matplotlib.transforms import IdentityTransform

        pixels = [[self.pixel(place) for place in line] for line in lines]
        self.add(LineCollection(pixels, colors=colours, transform=IdentityTransform(), **style))

    def add_points(self, places: Sequence[tuple[float, float]], **style: Any) -> None:
        """Draw places, joined or marked in one style."""
        from matplotlib.lines import Line2D
        from matplotlib.transforms import IdentityTransform

        self.add(Line2D(*zip(*map(self.pixel, places), strict=True), transform=IdentityTransform(), **style))


def page_png(views: Sequence[View], marks: Sequence[Mark], title: str, headline: str) -> bytes:
    """Lay out the views side by side, under the title and over the legend; PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = [view.size_pixels for view in views]
    content = sum(width for width, _ in sizes) + _GAP_PIXELS * (len(views) - 1)
    width = max(_LEAST_WIDTH_PIXELS, content)
    height = max(h for _, h in sizes) + _TITLE_PIXELS + _LEGEND_PIXELS
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, frameon=False)
    canvas: Any = FigureCanvasAgg(figure)
    pixels = _black_page(canvas)
    left = (width - content) // 2
    for view, (w, h) in zip(views, sizes, strict=True):
        bottom = len(pixels) - _LEGEND_PIXELS
        pixels[bottom - h : bottom, left : left + w] = _grey_picture(view)
        _draw_view(_Panel(figure, view, left, _LEGEND_PIXELS), marks)
        left += w + _GAP_PIXELS
    _draw_title(figure, canvas, title, headline)
    _draw_legend(figure, canvas, marks)
    figure.draw(canvas.get_renderer())
    return _png(pixels)


def _black_page(canvas: Any) -> NDArray[np.uint8]:
    """Return the canvas itself as (height, width, 3), black; what is put there is what artists are drawn over."""
    rgba = np.asarray(canvas.get_renderer().buffer_rgba())
    rgba[...] = (0, 0, 0, 255)
    return rgba[..., :3]


def _draw_view(panel: _Panel, marks: Sequence[Mark]) -> None:
    """Draw with artists that know pixels only: axes, which scale and tick, would take longer than all else."""
    view = panel.view
    pairs = [mark for mark in marks if mark.has_truth and mark.is_found]
    lines = [(view.place(mark.true_mm), view.place(mark.found_mm)) for mark in pairs]
    panel.add_lines(lines, [SIGNS[mark.status].colour for mark in pairs], linewidths=1.4)
    _draw_points(panel, marks)
    true_names = [(mark.label, mark.true_mm, _true_sign(mark).colour) for mark in marks if mark.has_truth]
    found_names = [(mark.text, mark.found_mm, SIGNS[mark.status].colour) for mark in marks if mark.is_found]
    letters = [*_draw_leaders(panel, true_names, -1), *_draw_leaders(panel, found_names, 1), *_draw_compass(panel)]
    for artist in outlines(letters, _DPI / 72):
        panel.add(artist)


def _grey_picture(view: View) -> NDArray[np.uint8]:
    """Interpolate the picture to the pixels of the page: (height, width, 1)."""
    from PIL import Image

    picture, window = view.picture, view.window
    left, top = picture.left_mm - picture.pixel_mm / 2, picture.top_mm + picture.pixel_mm / 2
    # The picture may end a part of its pixel before the window does.
    image = Image.fromarray(np.pad(picture.values_hu, ((0, 1), (0, 1)), "edge"))
    sides_mm = (window.left_mm - left, top - window.top_mm, window.right_mm - left, top - window.bottom_mm)
    box = [min(max(mm / picture.pixel_mm, 0.0), n) for mm, n in zip(sides_mm, image.size * 2, strict=True)]
    values = np.asarray(image.resize(view.size_pixels, Image.Resampling.BICUBIC, tuple(box)))  # type: ignore[arg-type]
    step = _GREYS / (WINDOW_HU[1] - WINDOW_HU[0])
    grey = np.clip((values - WINDOW_HU[0]) * step, 0, _GREYS - 1).astype(np.uint8)
    levels = np.linspace(0, 255, _GREYS).astype(np.uint8)
    return levels[grey][..., None]


def _draw_points(panel: _Panel, marks: Sequence[Mark]) -> None:
    """Draw rings for true and filled signs for predicted points; one artist a sign, as each costs a millisecond."""
    true, found = defaultdict(list), defaultdict(list)
    for mark in marks:
        if mark.has_truth:
            true[_true_sign(mark)].append(panel.view.place(mark.true_mm))
        if mark.is_found:
            found[SIGNS[mark.status]].append(panel.view.place(mark.found_mm))
    style: dict[str, Any] = {"linestyle": "none"}
    for sign, places in true.items():
        panel.add_points(places, marker="o", ms=6.5, mfc="none", mec=sign.colour, mew=1.1, **style)
    for sign, places in found.items():
        panel.add_points(places, marker=sign.marker, ms=5.5, mfc=sign.colour, mec="black", mew=0.6, **style)


def _true_sign(mark: Mark) -> Sign:
    return SIGNS["missed"] if mark.status == "missed" else TRUE_SIGN


def _draw_leaders(panel: _Panel, names: Sequence[tuple[str, Point, str]], side: int) -> list[Letters]:
    """Draw thin lines from points to the places of their names (text, point, colour) beside the column; side -1 left.

    returns : the names, still to be drawn
    """
    view, window, mm = panel.view, panel.view.window, 1 / panel.view.pixels_per_mm
    places = [view.place(point) for _, point, _ in names]
    heights = spread([z for _, z in places], _NAME_PIXELS * mm, window.bottom_mm + 18 * mm, window.top_mm - 24 * mm)
    column = view.curve.along(view.plane, heights)
    leaders, letters = [], []
    for (text, _, colour), place, height, middle in zip(names, places, heights, column, strict=True):
        room = (_LETTER_PIXELS * len(text) + 4) * mm
        # Beside the column and the point itself, but with room for the name before the edge.
        beside = max(side * middle + _NAME_ASIDE_MM, side * place[0] + 10 * mm) * side
        beside = float(np.clip(beside, window.left_mm + room, window.right_mm - room))
        leaders.append((place, (beside, height)))
        x, y = panel.pixel((beside, height))
        letters.append(Letters(text, x + 3 * side, y, colour, "right" if side > 0 else "left"))
    panel.add_lines(leaders, [colour for _, _, colour in names], linewidths=0.5, alpha=0.55)
    return letters


def _draw_compass(panel: _Panel) -> list[Letters]:
    """Draw a scale bar; returns its length and the directions in the corners as letters still to be drawn."""
    left, right = ("A", "P") if panel.view.plane == "sagittal" else ("R", "L")
    window, mm = panel.view.window, 1 / panel.view.pixels_per_mm
    bar_mm = 50.0 if window.right_mm - window.left_mm > 120 else 20.0
    begin, z = window.left_mm + 8 * mm, window.bottom_mm + 8 * mm
    panel.add_points([(begin, z), (begin + bar_mm, z)], color=_QUIET, lw=2, solid_capstyle="butt")
    width, height = panel.view.size_pixels
    top = panel.bottom + height - 5
    end, bar_y = panel.pixel((begin + bar_mm, z))
    return [
        Letters(left, panel.left + 6, top, _QUIET, "right", "top"),
        Letters(panel.view.plane, panel.left + width / 2, top, _QUIET, "middle", "top"),
        Letters(right, panel.left + width - 6, top, _QUIET, "left", "top"),
        Letters(f"{bar_mm / 10:g} cm", end + 4, bar_y, _QUIET),
    ]


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


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    # Packing harder takes twice the time and saves a fifth.
    Image.fromarray(pixels).save(data, "PNG", compress_level=1)
    return data.getvalue()
