"""Centroids + the grid of their image -> what is wrong between them: another frame, another unit, upside down.

Each may look fine on its own. A scan whose points lie elsewhere would teach a model nothing, or something wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vertloc.centroids import Centroids
from vertloc.geometry import Grid, Points
from vertloc.vertebrae import RANK

GRACE_MM = 5.0
"""Points may lie this far outside the outermost voxels' faces; annotations of real scans lie up to 0.75 mm out."""

_CLEARLY_REVERSED_MM = 15.0

# Mean distances of neighbours in 242 scans of the Microsoft database, mm, C1 to C2 first.
_NEIGHBOUR_MM = (
    *(19.7, 18.0, 17.6, 17.0, 16.8, 17.4, 19.4),
    *(20.7, 21.2, 21.1, 21.6, 21.7, 22.4, 23.3, 24.5, 26.1, 27.6, 29.7, 32.1),
    *(34.0, 35.3, 35.6, 35.5, 35.9, 29.4),
)


def annotation_problem(centroids: Centroids, grid: Grid) -> str:
    """Say how the centroids contradict the image of the stored grid `grid`; "" if they do not.

    Found are points more than `GRACE_MM` outside the image, a spine that runs upside down, and neighbours at distances
    that no spine has. The answer names the likely cause where another reading of the numbers would fit.
    """
    if not len(centroids):
        return ""
    world = centroids.to_world(grid)
    return _outside(centroids, world, grid) or _reversed(world) or _wrong_size(centroids, world, grid)


def _outside(centroids: Centroids, world: Centroids, grid: Grid) -> str:
    beyond_mm = _beyond_mm(world.points_mm, grid)
    n = int((beyond_mm > GRACE_MM).sum())
    if not n:
        return ""
    worst = int(beyond_mm.argmax())
    which = f"its only point, {world.labels[0]}," if len(world) == 1 else f"{n} of its {len(world)} points"
    farthest = "" if len(world) == 1 else f" ({world.labels[worst]} is the farthest)"
    verb = "lies" if n == 1 else "lie"
    return f"{which} {verb} up to {beyond_mm[worst]:.0f} mm outside the image{farthest}{_cause(centroids, grid)}"


def _beyond_mm(world_mm: Points, grid: Grid) -> Points:
    """(n,) distance of points from the box of the voxels' faces along its farthest axis, mm; 0 inside."""
    index = grid.to_index(world_mm)
    beyond = np.maximum(np.maximum(-0.5 - index, index - (np.array(grid.shape) - 0.5)), 0.0)
    return np.asarray((beyond * np.array(grid.spacing_mm[::-1])).max(axis=1))


def _cause(centroids: Centroids, grid: Grid) -> str:
    """Find another reading of the numbers with which all points lie inside the image."""
    numbers, is_local = centroids.points_mm, centroids.frame == "local"
    other = "world LPS mm" if is_local else "index times spacing"
    to_world: Callable[[Points], Points] = grid.local_to_world if is_local else (lambda points: points)
    readings: list[tuple[str, Points]] = [
        (f"they would lie inside if they were {other}", numbers if is_local else grid.local_to_world(numbers)),
        ("they would lie inside if they were voxel indices", grid.to_world(numbers[:, ::-1])),
        ("they would lie inside if they were RAS mm, not LPS", numbers * np.array([-1.0, -1.0, 1.0])),
        ("they would lie inside if they were micrometres", to_world(numbers / 1000)),
        ("they would lie inside if they were centimetres", to_world(numbers * 10)),
    ]
    for words, world_mm in readings:
        reading = Centroids(centroids.labels, world_mm, "world")
        is_inside = (_beyond_mm(world_mm, grid) <= GRACE_MM).all()
        if is_inside and not _reversed(reading) and not _size(reading) < 0.3 and not _size(reading) > 2.5:
            return f"; {words}"
    return "; its frame, its unit or its image is another one"


def _reversed(world: Centroids) -> str:
    """Find a spine whose lower vertebrae lie higher in the patient."""
    if len(world) < 2:
        return ""
    heights = world.points_mm[:, 2]
    if heights[-1] - heights[0] <= _CLEARLY_REVERSED_MM or np.mean(np.diff(heights) > 0) <= 0.5:
        return ""
    return f"it runs upside down: {world.labels[-1]} lies {heights[-1] - heights[0]:.0f} mm above {world.labels[0]}"


def _wrong_size(centroids: Centroids, world: Centroids, grid: Grid) -> str:
    """Find neighbours at distances of no spine, infants and malformed ones included."""
    ratio = _size(world)
    if np.isnan(ratio) or 0.5 <= ratio <= 2.5:
        return ""
    as_index = _size(Centroids(centroids.labels, grid.to_world(centroids.points_mm[:, ::-1])))
    words = f"its neighbours lie {ratio:.2g} times the usual distance apart"
    if centroids.frame == "local" and 0.7 <= as_index <= 1.4:
        return f"{words}; they look like voxel indices"
    # Half the size is an infant's; nobody is much smaller.
    return f"{words}; is its unit mm?" if ratio < 0.3 or ratio > 2.5 else ""


def _size(centroids: Centroids) -> float:
    """Median distance of neighbours against that of adults; NaN if no two neighbours are there."""
    ratios = [
        float(np.linalg.norm(centroids[lower] - centroids[upper])) / _NEIGHBOUR_MM[RANK[upper]]
        for upper, lower in zip(centroids.labels, centroids.labels[1:], strict=False)
        if upper in RANK and lower in RANK and RANK[lower] == RANK[upper] + 1
    ]
    return float(np.median(ratios)) if ratios else float("nan")
