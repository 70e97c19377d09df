"""Small names on a picture -> outlines of their letters, all drawn at once.

A matplotlib `Text` of its own for each of the fifty names takes most of a page's time. Here the outlines of a name are
looked up once and moved to their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_POINTS = 8.0
_RIM_POINTS = 2.2  # a dark rim keeps letters legible on bone


@dataclass(frozen=True)
class Letters:
    """A short text at a pixel of the page, y upwards.

    side : where the text lies, seen from x; level : its vertical middle, or its top, is at y
    """

    text: str
    x: float
    y: float
    colour: str
    side: Literal["left", "middle", "right"] = "right"
    level: Literal["middle", "top"] = "middle"


def outlines(texts: Sequence[Letters], pixels_per_point: float) -> tuple[Any, Any]:
    """Make two artists of all texts: the rims of the letters, and the letters."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path
    from matplotlib.transforms import IdentityTransform

    paths = []
    for letters in texts:
        vertices, codes, width, ascent = _outline(letters.text)
        vertices, width, ascent = vertices * pixels_per_point, width * pixels_per_point, ascent * pixels_per_point
        aside = {"left": width, "middle": width / 2, "right": 0.0}[letters.side]
        down = {"middle": ascent / 2, "top": ascent}[letters.level]
        paths.append(Path(vertices + np.array([letters.x - aside, letters.y - down]), codes))
    style: dict[str, Any] = {"transform": IdentityTransform(), "zorder": 3}
    rims = PathCollection(paths, facecolors="none", edgecolors="black", linewidths=_RIM_POINTS, **style)
    return rims, PathCollection(paths, facecolors=[letters.colour for letters in texts], linewidths=0.0, **style)


@lru_cache(maxsize=1000)
def _outline(text: str) -> tuple[NDArray[np.float64], NDArray[np.uint8], float, float]:
    """Vertices and codes of the outlines of a text at the origin, its width, and the height of tall letters; points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=_POINTS)
    vertices, codes = text_to_path.get_text_path(font, text)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    _, height, descent = text_to_path.get_text_width_height_descent("lp", font, False)
    scale = _POINTS / text_to_path.FONT_SCALE
    outline = np.asarray(vertices, dtype=np.float64).reshape(-1, 2) * scale
    return outline, np.asarray(codes, dtype=np.uint8), float(width), float(height - descent)
