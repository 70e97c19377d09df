"""A chain of centroids -> at each of them, the spine's own frame: its direction and its patient's size.

Seen from the spine, a tall patient's neck looks like a short one's, and a stooped one like an upright one. Directions
come from the neighbours in the chain, the size from the lengths of its links against those of the shape model.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Points
from vertloc.stages.shape_model import ShapeModel

_LARGEST_TILT = 1.0  # radians; a steeper chain is more likely wrong than real
_LARGEST_BEND = 0.6
_SCALES = (0.8, 1.25)


def spine_frames(points_mm: Points, ranks: NDArray[np.int64], shape: ShapeModel) -> NDArray[np.float64]:
    """Return for each member of a chain the matrix from millimetres in the spine's frame to world millimetres.

    points_mm : (n, 3) world, top to bottom; ranks : (n,) rising, or alike for a variant and the vertebra above it
    returns : (n, 3, 3) rotation times scale; the identity for a chain of one
    """
    n = len(points_mm)
    if n < 2:
        return np.tile(np.eye(3), (n, 1, 1))
    lengths = np.linalg.norm(np.diff(points_mm, axis=0), axis=1)
    typical = np.array([np.linalg.norm(shape.mean_mm[a:b].sum(axis=0)) for a, b in pairwise(ranks)])
    is_known = typical > 0  # nothing is typical of a variant's length
    scale = float(np.clip(np.median(lengths[is_known] / typical[is_known]), *_SCALES)) if is_known.any() else 1.0
    first, last = np.maximum(np.arange(n) - 2, 0), np.minimum(np.arange(n) + 2, n - 1)
    down = points_mm[last] - points_mm[first]
    # `rotation` tilts first: what it then turns left is the length of the other two components.
    across = np.copysign(np.hypot(down[:, 0], down[:, 2]), -down[:, 2])
    tilt = np.clip(np.arctan2(down[:, 1], across), -_LARGEST_TILT, _LARGEST_TILT)
    bend = np.clip(np.arctan2(down[:, 0], -down[:, 2]), -_LARGEST_BEND, _LARGEST_BEND)
    return scale * np.stack([rotation(t, b) for t, b in zip(tilt, bend, strict=True)])


def rotation(tilt: float, bend: float) -> NDArray[np.float64]:
    """Return the rotation that makes (0, 0, -1), down the spine, lean back by `tilt` and left by `bend` (radians)."""
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_y = np.array([[np.cos(bend), 0, -np.sin(bend)], [0, 1, 0], [np.sin(bend), 0, np.cos(bend)]])
    return np.asarray(about_y @ about_x, dtype=np.float64)


def nearest_frames(points_mm: Points, chain_mm: Points, frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each point the frame of the chain member nearest to it: (n, 3, 3). The chain must not be empty."""
    squared = ((points_mm[:, None] - chain_mm[None]) ** 2).sum(axis=2)
    return np.asarray(frames[squared.argmin(axis=1)], dtype=np.float64)
