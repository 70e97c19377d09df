"""DICOM: a folder, a file of a series, or a zip of them -> the right series as a scan in Hounsfield units; LPS.

Several series are common in one folder: the CT series with the most slices that belong together is taken, unless one is
asked for by its number or UID. Plain pixels are read straight from the files; packed ones are left to SimpleITK (GDCM).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images.dicom_header import DicomHeader, read_dicom_header
from vertloc.io.images.dicom_listing import (
    dicom_headers,
    is_series,
    largest_series,
    nothing_to_take,
    series_name,
    stacks_among,
)
from vertloc.io.images.dicom_stack import Stack
from vertloc.io.images.dicom_zip import Unpacked, unpack_zip, zip_around
from vertloc.io.images.image_file import check_finite, one_ahead, system_errors_as_image_errors
from vertloc.io.images.packed_pixels import unpacked_pixels

_SLAB_BYTES = 1 << 24
_OUTSIDE_HU = -2000


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """A CT series whose headers have been read and put in order; the pixels are still in the files.

    path : what was asked for; name : made of the series' number and a checksum of its UID, no name of a patient
    holder : keeps the files of an unpacked zip as long as they are needed
    """

    path: Path
    name: str
    stack: Stack
    value_type: np.dtype[Any]
    warnings: tuple[str, ...] = ()
    holder: Unpacked | None = None

    @property
    def grid(self) -> Grid:
        """The stored grid."""
        return self.stack.grid

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the series; of a zip, the zip."""
        if self.holder:
            return (zip_around(self.path) or self.path,)
        return tuple(header.path for header in self.stack.headers)

    @property
    def slab_bytes(self) -> int:
        """How many bytes of voxels are best asked for at a time."""
        return _SLAB_BYTES

    @property
    def slice_bytes(self) -> int:
        """How many bytes one slice has."""
        return self.grid.shape[1] * self.grid.shape[2] * self.value_type.itemsize

    def read(self) -> NDArray[Any]:
        """Read all voxels, (z, y, x), HU. Raises ImageError if a file is damaged or ends too early."""
        out = np.empty(self.grid.shape, self.value_type)
        for k, plane in enumerate(self._planes(0)):
            out[k] = plane
        check_finite(out, str(self.path))
        return out

    def check_data(self) -> tuple[str, ...]:
        """Raise ImageError if a file is too short for its pixels; nothing else is odd about them."""
        for header in self.stack.headers:
            if header.is_plain and header.pixel_offset + header.pixel_bytes > header.path.stat().st_size:
                raise ImageError(
                    f"{header.path}: truncated: its {header.pixel_bytes} bytes of pixels are not all there"
                )
        return ()

    def check_length(self) -> None:
        """Do as `check_data`: packed pixels are checked when they are unpacked."""
        self.check_data()

    def slabs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        """Yield the voxels of slices a to b for each (a, b), reading the next ones while these are used."""
        return one_ahead(self._slabs(bounds))

    def _slabs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        with system_errors_as_image_errors(self.path):
            first = bounds[0][0] if bounds else 0
            planes, kept, position = self._planes(first), np.empty((0, *self.grid.shape[1:]), self.value_type), first
            for begin, end in bounds:
                slab = np.empty((end - begin, *self.grid.shape[1:]), self.value_type)
                known = max(position - begin, 0)
                slab[:known] = kept[len(kept) - known :]
                for _ in range(begin - position):
                    next(planes)
                for k in range(known, end - begin):
                    slab[k] = next(planes)
                position, kept = end, slab
                check_finite(slab, str(self.path))
                yield slab

    def _planes(self, first: int) -> Iterator[NDArray[Any]]:
        """Yield the grid's slices from `first` on; between two of the series' slices, their weighted mean."""
        place, headers = self.stack.place, self.stack.headers
        held: dict[int, NDArray[Any]] = {}

        def plane(i: int) -> NDArray[Any]:
            if i not in held:
                for old in [j for j in held if j < i - 1]:
                    del held[old]
                held[i] = self._plane(headers[i], i)
            return held[i]

        for k in range(first, self.grid.shape[0]):
            above = int(np.searchsorted(place, k - 1e-6))
            above = min(above, len(place) - 1)
            if above == 0 or abs(place[above] - k) < 0.02:
                yield plane(above)
                continue
            share = (k - place[above - 1]) / (place[above] - place[above - 1])
            below_values = plane(above - 1).astype(np.float32)
            mean = (1 - share) * below_values + share * plane(above).astype(np.float32)
            yield (mean if self.value_type.kind == "f" else np.round(mean)).astype(self.value_type)

    def _plane(self, header: DicomHeader, i: int) -> NDArray[Any]:
        values = _pixels(header, self.value_type)
        extra_x, extra_y = self.stack.extra
        if not (extra_x or extra_y):
            return values
        return _shifted(values, self.stack.shift[i], self.grid.shape[1:]).astype(self.value_type)


def open_dicom(path: Path, series: str | None = None) -> DicomSeries:
    """Read the headers of a folder of DICOM files and below it, of the series of one file, or of a zip.

    path : in a zip of several series, `scans.zip/000012` means that of its file of this number, counted from 0
    series : number or UID of the series to take; None: the largest of CT
    Raises ImageError for no DICOM image, no CT among them, or a series that is not there, listing what is.
    """
    around = zip_around(path)
    holder = unpack_zip(around or path) if around or (path.is_file() and path.suffix.lower() == ".zip") else None
    headers, unread = dicom_headers(holder.folder if holder else path)
    if not headers:
        raise ImageError(f"{path}: no DICOM image found{unread}")
    if series is None and (around or (path.is_file() and holder is None)):
        series = _header_of(path, holder).text("series_uid")
    stacks, left_out = stacks_among(headers, str(path))
    chosen = [stack for stack in stacks if series is None or is_series(stack, series)]
    if not chosen:
        raise ImageError(nothing_to_take(path, series, stacks, left_out))
    best, others = largest_series(chosen)
    warnings = [*best.warnings, *([others] if others else [])]
    if unread:
        warnings.append(f"not read{unread}")
    return DicomSeries(path, series_name(best), best, _value_type(best), tuple(warnings), holder)


def _header_of(path: Path, holder: Unpacked | None) -> DicomHeader:
    """Read the header of one file, or of one in a zip by its number."""
    if holder is None:
        return read_dicom_header(path)
    if not (holder.folder / path.name).is_file():
        raise ImageError(f"{path}: no DICOM file of this number in the zip")
    return read_dicom_header(holder.folder / path.name)


def _rescale(header: DicomHeader) -> tuple[float, float]:
    (slope,), (intercept,) = header.numbers("slope", 1) or (1.0,), header.numbers("intercept", 1) or (0.0,)
    return slope, intercept


def _value_type(stack: Stack) -> np.dtype[Any]:
    """Return the smallest of int16, int32 and float32 that holds every slice's intensities."""
    lowest, highest = 0.0, 0.0
    for header in stack.headers:
        slope, intercept = _rescale(header)
        if slope != int(slope) or intercept != int(intercept):
            return np.dtype(np.float32)
        bits = min(max(header.whole("bits_stored", 16), 1), 32)  # others are refused when the pixels are read
        is_signed = header.whole("is_signed", 0) == 1
        ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
        values = [slope * end + intercept for end in ends]
        lowest, highest = min(lowest, *values), max(highest, *values)
    return np.dtype(np.int16 if lowest >= -(2**15) and highest < 2**15 else np.int32)


def _pixels(header: DicomHeader, value_type: np.dtype[Any]) -> NDArray[Any]:
    """Read one slice in Hounsfield units."""
    shape = (header.whole("rows", 0), header.whole("columns", 0))
    if not header.is_plain:
        return _as_type(unpacked_pixels(header.path, shape), value_type, header.path)
    bits, stored_bits = header.whole("bits_allocated", 16), header.whole("bits_stored", 16)
    if bits not in (8, 16, 32) or not 1 <= stored_bits <= bits:
        raise ImageError(f"{header.path}: expected 8, 16 or 32 bits a pixel, got {bits} with {stored_bits} in use")
    is_signed = header.whole("is_signed", 0) == 1
    order = ">" if header.is_big_endian else "<"
    dtype = np.dtype(f"{order}{'i' if is_signed else 'u'}{bits // 8}")
    count = shape[0] * shape[1]
    if header.pixel_bytes < count * dtype.itemsize:
        raise ImageError(f"{header.path}: truncated: {shape} pixels of {bits} bits in {header.pixel_bytes} bytes")
    stored = np.fromfile(header.path, dtype, count, offset=header.pixel_offset)
    if len(stored) < count:
        raise ImageError(f"{header.path}: truncated: {shape} pixels of {bits} bits, got {len(stored)}")
    stored = stored.astype(dtype.newbyteorder("="), copy=False)
    if stored_bits < bits:  # what lies above may be an old overlay
        spare = bits - stored_bits
        stored = np.right_shift(np.left_shift(stored, spare), spare)
    slope, intercept = _rescale(header)
    if (slope, intercept) == (1.0, 0.0):
        return _as_type(stored, value_type, header.path).reshape(shape)
    if value_type.kind == "f":
        return (stored.astype(np.float64) * slope + intercept).astype(value_type).reshape(shape)
    values = stored.astype(value_type) if value_type.itemsize >= stored.itemsize else stored.astype(np.int32)
    if slope != 1:
        values = values * value_type.type(slope)
    return _as_type(values + value_type.type(intercept), value_type, header.path).reshape(shape)


def _as_type(values: NDArray[Any], value_type: np.dtype[Any], path: Path) -> NDArray[Any]:
    if values.dtype == value_type:
        return values
    if value_type.kind in "iu" and values.dtype.kind == "f":
        values = np.round(values)
    limits = np.iinfo(value_type) if value_type.kind in "iu" else None
    if limits is not None and (values.min() < limits.min or values.max() > limits.max):
        raise ImageError(f"{path}: intensities from {values.min()} to {values.max()} are more than its header says")
    return values.astype(value_type)


def _shifted(values: NDArray[Any], shift: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Put a slice into a larger one, moved by fractions of a pixel along x and y; what is new is no measurement."""
    out = values.astype(np.float32)
    for axis, amount, n in ((1, float(shift[0]), shape[1]), (0, float(shift[1]), shape[0])):
        lines = np.moveaxis(out, axis, 0)
        whole = int(np.floor(amount + 1e-6))
        share = np.float32(max(amount - whole, 0.0))
        moved = np.full((n, lines.shape[1]), _OUTSIDE_HU, np.float32)
        if share < 1e-3:
            moved[whole : whole + len(lines)] = lines
        else:
            moved[whole + 1 : whole + len(lines)] = (1 - share) * lines[1:] + share * lines[:-1]
            moved[whole], moved[min(whole + len(lines), n - 1)] = lines[0], lines[-1]
        out = np.moveaxis(moved, 0, axis)
    return np.ascontiguousarray(out)
