"""Headers of a DICOM series -> a stack of slices on one grid, and everything that is odd about it.

Slices belong together if they lie parallel, have the same size and follow each other at one distance. A series may hold
more than that: a localizer, a second orientation, doubled or missing slices, slices sheared by a tilted gantry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images.checks import checked_size, make_grid
from vertloc.io.images.dicom_header import DicomHeader

_ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SAME_DIRECTION = 2e-3
_SAME_PLACE_MM = 0.01
FEWEST_SLICES = 3
"""Fewer are no scan."""

# Of the usual distance: less is rounding, more is said; a stack is cut in two at a wider gap.
_EVEN, _LARGEST_GAP, _LARGEST_GAP_MM = 0.02, 4.0, 20.0
_SMALLEST_SHEAR = 2e-3


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order along their common normal, and the grid that they are put on.

    headers : n slices; place : (n,) float64, where each lies along the grid's z axis, in slices
    shift : (n, 2) float64, (x, y) pixels by which each lies beside the first one: not 0 for a tilted gantry
    extra : (x, y) pixels that the grid is wider than a slice, so that shifted ones fit
    """

    headers: tuple[DicomHeader, ...]
    grid: Grid
    place: NDArray[np.float64]
    shift: NDArray[np.float64]
    extra: tuple[int, int]
    warnings: tuple[str, ...] = ()


def why_no_slice(header: DicomHeader) -> str:
    """Say why a file is no slice of a CT scan; "" if it is one."""
    modality = header.text("modality") or "no modality"
    if header.text("sop_class").startswith(_SECONDARY_CAPTURE):
        return "secondary capture"
    if modality != "CT":
        return f"modality {modality}"
    if header.text("sop_class") == _ENHANCED or header.whole("frames", 1) > 1:
        return "multi-frame file"
    if "LOCALIZER" in header.text("image_type").upper():
        return "localizer"
    if header.whole("samples", 1) != 1 or header.text("photometric") not in ("MONOCHROME2", ""):
        return "colour or inverted image"
    if header.numbers("position", 3) is None or header.numbers("orientation", 6) is None:
        return "slice without a position"
    if header.numbers("pixel_spacing", 2) is None or min(header.whole("rows", 0), header.whole("columns", 0)) < 1:
        return "slice without a pixel spacing"
    return ""


def largest_stack(headers: Sequence[DicomHeader], where: str) -> Stack:
    """Put the largest group of slices that belong together on a grid.

    headers : slices of one series, each with `why_no_slice` of ""
    Raises ImageError if fewer than three belong together.
    """
    groups: dict[tuple[object, ...], list[DicomHeader]] = defaultdict(list)
    for header in headers:
        groups[_layout(header)].append(header)
    best = max(groups.values(), key=len, default=[])
    warnings = []
    if len(groups) > 1:
        others = len(headers) - len(best)
        warnings.append(
            f"slices of {len(groups)} orientations or sizes in one series: the largest group of {len(best)} is taken,"
            f" {others} are left out"
        )
    best, along, doubled = _in_order(best)
    if doubled:
        warnings.append(f"{doubled} slices lie where another one does: the first of them is taken")
    begin, end = _largest_piece(along)
    if end - begin < len(best):
        gap = float(np.diff(along).max())
        warnings.append(
            f"a gap of {gap:.1f} mm in the stack: the larger part of {end - begin} of {len(best)} slices is taken"
        )
        best, along = best[begin:end], along[begin:end]
    if len(best) < FEWEST_SLICES:
        raise ImageError(f"{where}: expected at least {FEWEST_SLICES} CT slices that belong together, got {len(best)}")
    return _on_grid(best, along, where, warnings)


def _layout(header: DicomHeader) -> tuple[object, ...]:
    """Return what parallel slices of one stack share, rounded far beyond what writers round."""
    orientation = header.numbers("orientation", 6) or ()
    spacing = header.numbers("pixel_spacing", 2) or ()
    return (
        header.whole("rows", 0),
        header.whole("columns", 0),
        tuple(round(value / (5 * _SAME_DIRECTION)) for value in orientation),
        tuple(round(value, 4) for value in spacing),
    )


def _axes(header: DicomHeader) -> NDArray[np.float64]:
    """Directions of x (along a row), y (down a column) and the normal, as columns."""
    row, column = np.array(header.numbers("orientation", 6)).reshape(2, 3)
    return np.stack([row, column, np.cross(row, column)], axis=1)


def _position(header: DicomHeader) -> NDArray[np.float64]:
    return np.array(header.numbers("position", 3), dtype=np.float64)


def _in_order(headers: list[DicomHeader]) -> tuple[list[DicomHeader], NDArray[np.float64], int]:
    """Sort slices along their normal, one for each place; also return the places in mm, and how many were left out."""
    normal = _axes(headers[0])[:, 2]
    keyed = sorted(
        ((float(_position(h) @ normal), h.whole("acquisition_number", 0), h.whole("instance_number", 0), i)
         for i, h in enumerate(headers)),
    )  # fmt: skip
    kept: list[tuple[float, int]] = []
    for along, _, _, i in keyed:
        if not kept or along - kept[-1][0] > _SAME_PLACE_MM:
            kept.append((along, i))
    places = np.array([along for along, _ in kept])
    return [headers[i] for _, i in kept], places, len(headers) - len(kept)


def _largest_piece(along: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first and past-the-last slice of the longest run without a gap too wide to be bridged."""
    if len(along) < FEWEST_SLICES:
        return 0, len(along)
    gaps = np.diff(along)
    widest = max(_LARGEST_GAP * float(np.median(gaps)), min(_LARGEST_GAP_MM, 2.5 * float(np.median(gaps))))
    ends = [0, *(np.flatnonzero(gaps > widest) + 1).tolist(), len(along)]
    begin, end = max(pairwise(ends), key=lambda piece: piece[1] - piece[0])
    return int(begin), int(end)


def _on_grid(headers: list[DicomHeader], along: NDArray[np.float64], where: str, warnings: list[str]) -> Stack:
    gaps = np.diff(along)
    step = float(np.median(gaps))
    uneven = np.abs(gaps - step) > max(_EVEN * step, 2 * _SAME_PLACE_MM)
    if uneven.any():
        missing = int(np.sum(np.round(gaps[uneven] / step) - 1))
        what = f"{missing} slices are missing" if missing > 0 else "slices are not evenly spaced"
        warnings.append(
            f"{what}: {int(uneven.sum())} of {len(gaps)} distances differ from {step:.3g} mm ({gaps.min():.3g} to"
            f" {gaps.max():.3g}); they are interpolated"
        )
        place = (along - along[0]) / step
    else:
        step = float(gaps.mean())
        place = np.arange(len(headers), dtype=np.float64)
    axes = _axes(headers[0])
    spacing_y, spacing_x = headers[0].numbers("pixel_spacing", 2) or (0.0, 0.0)
    start = _position(headers[0])
    shift = np.array([(_position(h) - start) @ axes[:, :2] for h in headers]) / (spacing_x, spacing_y)
    shear = shift[-1] * (spacing_x, spacing_y) / max(along[-1] - along[0], step)
    if np.abs(shear).max() <= _SMALLEST_SHEAR:
        shift[:] = 0
    else:
        angle = np.degrees(np.arctan(np.linalg.norm(shear)))
        warnings.append(f"the slices are sheared by {angle:.1f} degrees (tilted gantry): they are shifted into place")
    low = np.floor(shift.min(axis=0) + 1e-6)
    extra = (np.ceil(shift.max(axis=0) - 1e-6) - low).astype(int)
    size = (
        headers[0].whole("columns", 0) + int(extra[0]),
        headers[0].whole("rows", 0) + int(extra[1]),
        int(np.floor(place[-1] + 1e-6)) + 1,
    )
    size = checked_size(where, size, np.dtype(np.int16))
    origin = start + axes[:, 0] * low[0] * spacing_x + axes[:, 1] * low[1] * spacing_y
    grid, odd = make_grid(where, size, (spacing_x, spacing_y, step), origin.tolist(), axes)
    return Stack(tuple(headers), grid, place, shift - low, (int(extra[0]), int(extra[1])), (*warnings, *odd))
