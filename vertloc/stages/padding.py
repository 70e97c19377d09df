"""Scan -> where it holds measurements: padding around them is outside the image, not air.

Converters and croppers fill what they add with one value. Taken for air, it changes what a forest sees of the
neighbourhood. So slices, rows and columns at the border that hold one value only, or nothing but values that no CT
number has, are cut off. What a scanner puts outside its circle is left as air: filled with the nearest voxel's value,
fewer vertebrae are named (161 of 182 in the demo's second fold, with circles that cut into the body; as air 170).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Grid
from vertloc.volume import Scan

LOWEST_CT_NUMBER = -1024
"""Nothing that was measured lies below."""

_PROBE_STEP = 32
_SMALLEST_PLANE = 16
_SAMPLED_VOXELS = 100_000

Box = tuple[slice, slice, slice]


@dataclass
class Survey:
    """What is noticed about a scan while its slabs pass by once.

    shape : (z, y, x) of the scan
    """

    shape: tuple[int, int, int]
    _padded_slices: dict[int, float] = field(default_factory=dict)
    _sides: _Sides | None = None
    _sample: list[NDArray[Any]] = field(default_factory=list)

    def see(self, begin: int, slab: NDArray[Any]) -> None:
        """Look at slices `begin` and following; slabs may overlap."""
        probe = slab[:, ::_PROBE_STEP, ::_PROBE_STEP].reshape(len(slab), -1)
        low, high = probe.min(axis=1), probe.max(axis=1)
        may_be = np.flatnonzero((low == high) | (high < LOWEST_CT_NUMBER))
        padded = [int(k) for k in may_be if _is_padding(slab[k])]
        self._padded_slices |= {begin + k: _value(slab[k]) for k in padded}
        inner = np.delete(slab, padded, axis=0) if padded else slab
        if len(inner) == 0:
            return
        step = max(1, int((math.prod(self.shape) / _SAMPLED_VOXELS) ** (1 / 3)))
        self._sample.append(np.array(slab[::step, ::step, ::step]))
        if self._sides is None:
            self._sides = _Sides(self.shape[1:])
        self._sides.see(inner)

    @property
    def box(self) -> Box:
        """What is left without the padding at the border; everything if all is padding."""
        z = _without_ends(self._padded_slices, self.shape[0])
        whole = (slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2]))
        if z is None or self._sides is None:
            return whole
        y, x = self._sides.inner()
        return whole if y is None or x is None else (z, y, x)

    @property
    def sample(self) -> NDArray[np.float32]:
        """Some voxels from everywhere in the scan, but none that no CT number can be."""
        if not self._sample:
            return np.empty(0, np.float32)
        values = np.concatenate([part.ravel() for part in self._sample]).astype(np.float32)
        return values[values >= LOWEST_CT_NUMBER]


class _Sides:
    """How many rows and columns at the border held one and the same value in all slices seen so far."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._count: dict[tuple[int, bool], int] = {}
        self._values: dict[tuple[int, bool], list[float]] = {}

    def see(self, slab: NDArray[Any]) -> None:
        """Look at slices that are not padding as a whole."""
        for axis in (1, 2):
            for is_far in (False, True):
                key = (axis, is_far)
                planes = np.moveaxis(slab, axis, 0)
                planes = planes[::-1] if is_far else planes
                known = self._values.get(key)
                limit = self._count.get(key, self._shape[axis - 1])
                values: list[float] = []
                for k in range(limit):
                    plane = planes[k]
                    if not _is_padding(plane):
                        break
                    value = _value(plane)
                    if (known is not None and known[k] != value) or (values and values[0] != value):
                        break
                    values.append(value)
                self._count[key], self._values[key] = len(values), values

    def inner(self) -> tuple[slice | None, slice | None]:
        """Return the rows and the columns that are not padding; None if all are."""
        found = []
        for axis, n in zip((1, 2), self._shape, strict=True):
            begin, end = self._count.get((axis, False), 0), n - self._count.get((axis, True), 0)
            found.append(slice(begin, end) if begin < end else None)
        return found[0], found[1]


@dataclass(frozen=True)
class Cropped:
    """A part of a scan, itself a scan."""

    scan: Scan
    box: Box

    @property
    def grid(self) -> Grid:
        """The part's grid."""
        start = self.scan.grid.to_world([s.start for s in self.box])[0]
        z, y, x = (s.stop - s.start for s in self.box)
        return replace(self.scan.grid, shape=(z, y, x), origin_mm=(float(start[0]), float(start[1]), float(start[2])))

    @property
    def name(self) -> str:
        """The scan's name."""
        return self.scan.name

    @property
    def warnings(self) -> tuple[str, ...]:
        """The scan's warnings."""
        return self.scan.warnings

    @property
    def slab_bytes(self) -> int:
        """As for the scan."""
        return self.scan.slab_bytes

    @property
    def slice_bytes(self) -> int:
        """As for the scan: whole slices are read."""
        return self.scan.slice_bytes

    def slabs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        """See `Scan`."""
        z, y, x = self.box
        for slab in self.scan.slabs([(begin + z.start, end + z.start) for begin, end in bounds]):
            yield slab[:, y, x]


def _is_padding(plane: NDArray[Any]) -> bool:
    """Tell whether these voxels hold one value only, or none that a CT number can have; a few voxels tell nothing."""
    if plane.size < _SMALLEST_PLANE:
        return False
    probe = plane[::_PROBE_STEP, ::_PROBE_STEP]  # settles nearly all planes that are none
    return _is_one_value_or_void(probe) and _is_one_value_or_void(plane)


def _is_one_value_or_void(values: NDArray[Any]) -> bool:
    low, high = values.min(), values.max()
    return bool(low == high or high < LOWEST_CT_NUMBER)


def _value(padding: NDArray[Any]) -> float:
    """Return the one value of padding; minus infinity for whatever no CT number can be."""
    return float(padding.flat[0]) if padding.max() >= LOWEST_CT_NUMBER else -math.inf


def _without_ends(padded: dict[int, float], n: int) -> slice | None:
    """Return the slices between those of one value at either end; None if nothing is between."""
    begin, end = 0, n
    while begin in padded and padded[begin] == padded[0]:
        begin += 1
    while end > begin and end - 1 in padded and padded[end - 1] == padded[n - 1]:
        end -= 1
    return slice(begin, end) if begin < end else None
