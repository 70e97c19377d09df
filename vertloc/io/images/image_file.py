"""Checked header -> voxels, read straight from the file and known to be whole.

Readers of the field fill the missing part of a damaged `.nii.gz` or compressed `.mha` with whatever was in memory,
without an error: half a scan would go unnoticed. Reading here checks every length and checksum, and is also faster,
because the voxels are not copied.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid

LARGEST_OFFSET = 1 << 26
"""Voxels that begin further behind the start of a file are refused; headers and their extensions are much shorter."""

_CHUNK = 1 << 20
_SLAB_BYTES = 1 << 24
# The format of deflate cannot compress better than this.
_LARGEST_COMPRESSION = 1032

Packing = Literal["none", "gzip file", "deflate"]
"""Voxels are packed not at all, with the whole file by gzip, or from the first one on, in zlib's or gzip's frame."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An image whose header has been read and checked; the voxels are still in the file.

    path : the file with the header; data_path : the file with the voxels, maybe the same
    grid : the stored grid
    stored_type : number type in the file, with its byte order
    data_offset : place of the first voxel; of a gzip file, its place in the unpacked file
    slope, intercept : an intensity is slope * stored + intercept
    warnings : what is odd about the header, one line each
    """

    path: Path
    grid: Grid
    stored_type: np.dtype[Any]
    data_path: Path
    data_offset: int = 0
    packing: Packing = "none"
    slope: float = 1.0
    intercept: float = 0.0
    name: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the image."""
        return tuple(dict.fromkeys((self.path, self.data_path)))

    @property
    def n_bytes(self) -> int:
        """Bytes of all voxels as stored, unpacked."""
        z, y, x = self.grid.shape
        return z * y * x * self.stored_type.itemsize

    def check_data(self) -> tuple[str, ...]:
        """Raise ImageError if the data file is missing, unreadable, or too short for the voxels; return what is odd."""
        data = self.data_path
        if not data.is_file():
            raise ImageError(f"{self.path}: its data file {data.name} is missing")
        if not os.access(data, os.R_OK):
            raise ImageError(f"{self.path}: no permission to read {data.name}")
        if not 0 <= self.data_offset <= LARGEST_OFFSET:
            raise ImageError(f"{self.path}: expected voxels soon behind the header, got offset {self.data_offset}")
        n_stored = data.stat().st_size
        if self.packing != "none":
            if n_stored * _LARGEST_COMPRESSION < self.n_bytes:
                raise ImageError(f"{self.path}: truncated: {self._wanted}, but {data.name} has {n_stored} compressed")
            return ()
        n_stored -= self.data_offset
        if n_stored < self.n_bytes:
            raise ImageError(f"{self.path}: truncated: {self._wanted}, but {data.name} has {max(n_stored, 0)}")
        if n_stored > self.n_bytes and data != self.path:
            return (f"{self._wanted}, but {data.name} has {n_stored}; the rest is ignored",)
        return ()

    def check_length(self) -> None:
        """Raise ImageError for a truncated gzip file, without unpacking it if its last four bytes are the right length.

        Those count the unpacked bytes, so that a file which was cut has anything else there. Files of several gzip
        members are unpacked to know.
        """
        if self.packing != "gzip file":
            return
        with self.data_path.open("rb") as file:
            file.seek(-4, 2)
            length = int.from_bytes(file.read(4), "little")
        if length != (self.data_offset + self.n_bytes) % 2**32:
            self.read()

    def read(self) -> NDArray[Any]:
        """Read all voxels, (z, y, x) in the machine's byte order, intensities as the header means them.

        Raises ImageError if the file is damaged or ends too early, or holds what is no finite number.
        """
        stored = np.empty(self.grid.shape, self.stored_type)
        with self._voxel_bytes() as file:
            self._fill(file, stored)
            self._finish(file)
        voxels = self._scaled(stored)
        check_finite(voxels, str(self.path))
        return voxels

    @property
    def slab_bytes(self) -> int:
        """How many bytes of voxels are best asked for at a time: enough for two threads to share."""
        return _SLAB_BYTES

    @property
    def slice_bytes(self) -> int:
        """How many bytes one stored slice has."""
        return self.n_bytes // self.grid.shape[0]

    def slabs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        """Yield the voxels of slices a to b for each (a, b), reading the next ones while these are used.

        Neither a nor b falls from one slab to the next; a slab is overwritten by the one after the next. Raises
        ImageError as `read` does, for what has been read so far.
        """
        return one_ahead(self._slabs(bounds))

    def _slabs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        n_slices, n_y, n_x = self.grid.shape
        longest = max((end - begin for begin, end in bounds), default=0)
        buffers = [np.empty((longest, n_y, n_x), self.stored_type) for _ in range(2)]
        position, previous = 0, buffers[0][:0]
        with system_errors_as_image_errors(self.path), self._voxel_bytes() as file:
            for i, (begin, end) in enumerate(bounds):
                slab = buffers[i % 2][: end - begin]
                kept = max(position - begin, 0)
                slab[:kept] = previous[len(previous) - kept :]
                for _ in range(begin - position):
                    self._fill(file, slab[:1])  # passed over
                self._fill(file, slab[kept:])
                position, previous = end, slab
                voxels = self._scaled(slab)
                check_finite(voxels, str(self.path))
                yield voxels
            if position == n_slices:
                self._finish(file)

    @property
    def _wanted(self) -> str:
        return f"{self.grid.shape[::-1]} voxels of {self.stored_type.name} are {self.n_bytes} bytes"

    @contextmanager
    def _voxel_bytes(self) -> Iterator[_Bytes]:
        """Open the file at its first voxel; what is wrong with its packing is an ImageError."""
        try:
            with self.data_path.open("rb", buffering=0) as stored:
                if self.packing == "gzip file":
                    with gzip.GzipFile(fileobj=stored) as unpacked:
                        unpacked.read(self.data_offset)
                        yield unpacked
                    return
                stored.seek(self.data_offset)
                yield stored if self.packing == "none" else _Inflated(stored)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ImageError(f"{self.path}: damaged or truncated: {error}") from None

    def _fill(self, file: _Bytes, out: NDArray[Any]) -> None:
        view = out.reshape(-1).view(np.uint8).data
        step = len(view) if self.packing == "none" else _CHUNK
        filled = 0
        while filled < len(view):
            n = file.readinto(view[filled : filled + step])
            if not n:
                raise ImageError(f"{self.path}: truncated: {self._wanted}, got less")
            filled += n

    def _finish(self, file: _Bytes) -> None:
        """Meet the end of packed voxels, which is what compares the checksum."""
        if self.packing != "none" and file.readinto(memoryview(bytearray(1))) and self.packing == "deflate":
            raise EOFError("the compressed voxels do not end where they should")

    def _scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        if (self.slope, self.intercept) != (1.0, 0.0):
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is refused as such
                scaled = stored.astype(np.float64) * self.slope + self.intercept
                return scaled.astype(np.float32 if self.stored_type.itemsize <= 4 else np.float64)
        return stored.astype(self.stored_type.newbyteorder("="), copy=False)


@contextmanager
def system_errors_as_image_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into an ImageError that names the image."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_finite(voxels: NDArray[Any], where: str) -> None:
    """Raise ImageError if voxels are no real or no finite numbers."""
    if voxels.dtype.kind not in "iuf":
        raise ImageError(f"{where}: expected real numbers, got voxels of type {voxels.dtype}")
    # NaN passes through both, so no mask of the image's size is needed.
    if voxels.dtype.kind == "f" and not (np.isfinite(voxels.min()) and np.isfinite(voxels.max())):
        n_bad = int(voxels.size - np.isfinite(voxels).sum())
        raise ImageError(f"{where}: {n_bad} of {voxels.size} voxels are not finite numbers")


def one_ahead(slabs: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Yield the same arrays, each made on another thread while the one before it is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, slabs, None)
        while (slab := coming.result()) is not None:
            coming = reader.submit(next, slabs, None)
            yield slab


class _Bytes(Protocol):
    """Bytes from the first voxel on."""

    def readinto(self, out: memoryview, /) -> int | None:
        """Fill the beginning of `out`; return how many bytes, 0 at the end."""


class _Inflated:
    """The unpacked bytes of one deflate stream in a file, framed by zlib or by gzip."""

    def __init__(self, packed: FileIO) -> None:
        self._packed = packed
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # either frame

    def readinto(self, out: memoryview, /) -> int:
        """See `_Bytes`. Raises EOFError where the stream stops before its end."""
        while not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._packed.read(_CHUNK)
            part = self._stream.decompress(packed, len(out))
            if part:
                out[: len(part)] = part
                return len(part)
            if not packed:
                raise EOFError("the compressed voxels do not end where they should")
        return 0
