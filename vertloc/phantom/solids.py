"""Primitives and solids: the words in which bone, discs, cord and metal are described to the painting kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vertloc.phantom.kernels.solids import BODY, CAPSULE, ELLIPSOID, PRIMITIVE_COLUMNS

Point = Sequence[float] | NDArray[np.float64]

_MARGIN_MM = 3.0
"""Around the box of a primitive: edges of partial volume and smooth unions reach past the surface."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A local frame: centre (3,) mm and axes (3, 3), rows left, back, up."""

    centre_mm: NDArray[np.float64]
    axes: NDArray[np.float64]


PATIENT_FRAME = Frame(np.zeros(3), np.eye(3))


@dataclass(frozen=True, eq=False)
class Primitive:
    """A row for the kernel and its (6,) box in the patient's frame."""

    row: NDArray[np.float64]
    box: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solid:
    """A smooth union of primitives with a shell.

    shell_hu, inner_hu : HU; grain : texture inside as a fraction; densening : extra density near the shell, a fraction
    blend_mm : width of the smooth union
    """

    primitives: tuple[Primitive, ...]
    shell_hu: float
    inner_hu: float
    grain: float = 0.0
    densening: float = 0.0
    blend_mm: float = 1.5


@dataclass(frozen=True, eq=False)
class SolidTable:
    """Solids as the arrays that `paint_solids` takes."""

    primitives: NDArray[np.float64]
    boxes: NDArray[np.float64]
    starts: NDArray[np.int64]
    tissues: NDArray[np.float64]


def capsule(
    frame: Frame,
    first: Point,
    last: Point,
    radius_mm: float | tuple[float, float],
    stretch: float = 1.0,
    shell_mm: float = 1.2,
    carve: bool = False,
    core: float = 1.0,
) -> Primitive:
    """Build a rod with round ends between two local points, `stretch` times as high along z as across.

    core : density inside the shell relative to the solid's
    """
    low, high = (radius_mm, radius_mm) if isinstance(radius_mm, int | float) else radius_mm
    shape = (*first, *last, low, high, stretch)
    ends = np.array([first, last], dtype=np.float64)
    radii = np.array([low, high])[:, None] * np.array([[1.0, 1.0, max(stretch, 1.0)]])
    return _primitive(CAPSULE, frame, (*shape, 0.0, core), shell_mm, carve, ends, radii)


def body(
    frame: Frame,
    half_mm: tuple[float, float],
    half_heights_mm: tuple[float, float],
    waist: float = 0.08,
    concavity_mm: float = 1.0,
    lip: float = 0.0,
    hollow: float = 0.1,
    narrowing: tuple[float, float] = (0.0, 0.0),
    shell_mm: float = 0.8,
) -> Primitive:
    """Build a vertebral body (or disc): half width and depth, half heights in front and behind.

    narrowing : of the width from the middle to the front, of both from the middle to the lower end, as fractions
    """
    shape = (*half_mm, *half_heights_mm, waist, concavity_mm, lip, hollow, *narrowing, 1.0)
    reach = 1.2 * (1.0 + lip) * (1.0 + abs(narrowing[0])) * (1.0 + abs(narrowing[1]))
    radii = np.array([[half_mm[0] * reach, half_mm[1] * reach, max(half_heights_mm)]])
    return _primitive(BODY, frame, shape, shell_mm, False, np.zeros((1, 3)), radii)


def ellipsoid(
    frame: Frame, centre: Point, radii_mm: Point, shell_mm: float = 1.2, carve: bool = False, core: float = 1.0
) -> Primitive:
    """Build an ellipsoid around a local point, its axes along the frame's."""
    moved = Frame(frame.centre_mm + np.asarray(centre, dtype=np.float64) @ frame.axes, frame.axes)
    return _primitive(
        ELLIPSOID, moved, (*radii_mm, *(0.0,) * 7, core), shell_mm, carve, np.zeros((1, 3)), np.array([radii_mm])
    )


def chain(frame: Frame, points: Iterable[Point], radius_mm: float, stretch: float, shell_mm: float) -> list[Primitive]:
    """Join points with capsules."""
    listed = list(points)
    return [capsule(frame, a, b, radius_mm, stretch, shell_mm) for a, b in pairwise(listed)]


def solid_table(solids: Sequence[Solid]) -> SolidTable:
    """Lay solids out as arrays, carved primitives last within each solid."""
    rows, boxes, starts, tissues = [], [], [0], []
    for solid in solids:
        for primitive in sorted(solid.primitives, key=lambda p: p.row[1]):
            rows.append(primitive.row)
            boxes.append(primitive.box)
        starts.append(len(rows))
        tissues.append((solid.shell_hu, solid.inner_hu, solid.grain, solid.densening, solid.blend_mm))
    return SolidTable(
        np.array(rows).reshape(-1, PRIMITIVE_COLUMNS),
        np.array(boxes).reshape(-1, 6),
        np.array(starts, dtype=np.int64),
        np.array(tissues).reshape(-1, 5),
    )


def _primitive(
    kind: int,
    frame: Frame,
    shape: tuple[float, ...],
    shell_mm: float,
    carve: bool,
    centres: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> Primitive:
    """Assemble the kernel's row; the box bounds ellipsoids of `radii` (m, 3) around local `centres` (m, 3)."""
    row = np.zeros(PRIMITIVE_COLUMNS)
    row[:3] = kind, float(carve), shell_mm
    row[3:6] = frame.centre_mm
    row[6:15] = frame.axes.ravel()
    row[15:] = shape
    middle = frame.centre_mm + centres @ frame.axes
    squared = np.sqrt(np.square(frame.axes.T) @ np.square(radii.T))
    # The corners of a body reach as far as those of a box.
    reach = np.abs(frame.axes.T) @ radii.T if kind == BODY else squared
    low, high = (middle - reach.T).min(axis=0) - _MARGIN_MM, (middle + reach.T).max(axis=0) + _MARGIN_MM
    return Primitive(row, np.concatenate([low, high]))
