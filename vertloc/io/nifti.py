"""NIfTI header -> what it promises; ITK turns a spacing of 0 into 1 and a negative one into its opposite, silently."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

from vertloc.errors import ImageError
from vertloc.io.headers import StoredHeader, spatial_size

_HEADER_BYTES = 348
_GZIP_MAGIC = b"\x1f\x8b"
# NIfTI's codes of real number types: uint8, int16, int32, float32, float64, int8, uint16, uint32, int64, uint64.
_ITEM_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}


def read_nifti_header(path: Path) -> StoredHeader:
    """Read the header of a `.nii` or `.nii.gz` file.

    Raises ImageError for what is not a NIfTI-1 file with its voxels inside, or holds no real numbers.
    """
    head, is_compressed = _head(path)
    order = _byte_order(path, head)
    dim = struct.unpack_from(f"{order}8h", head, 40)
    (datatype,) = struct.unpack_from(f"{order}h", head, 70)
    pixdim = struct.unpack_from(f"{order}8f", head, 76)
    (vox_offset,) = struct.unpack_from(f"{order}f", head, 108)
    if not 1 <= dim[0] <= 7:
        raise ImageError(f"{path}: expected 3 dimensions, got {dim[0]}")
    if datatype not in _ITEM_BYTES:
        raise ImageError(f"{path}: expected one real number a voxel, got NIfTI datatype {datatype}")
    if not _HEADER_BYTES <= vox_offset < 2**31:
        raise ImageError(f"{path}: expected voxels behind the header, got vox_offset {vox_offset}")
    size = spatial_size(dim[1 : 1 + dim[0]])
    return StoredHeader(
        size, pixdim[1 : 1 + len(size)], _ITEM_BYTES[datatype], path, 0 if is_compressed else int(vox_offset),
        is_compressed,
    )  # fmt: skip


def _head(path: Path) -> tuple[bytes, bool]:
    is_compressed = path.name.lower().endswith(".gz")
    with path.open("rb") as file:
        if (file.read(2) == _GZIP_MAGIC) != is_compressed:
            raise ImageError(f"{path}: {'not' if is_compressed else 'unexpectedly'} compressed with gzip")
        file.seek(0)
        if not is_compressed:
            return file.read(_HEADER_BYTES), False
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return unpacked.read(_HEADER_BYTES), True
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ImageError(f"{path}: damaged gzip file: {error}") from None


def _byte_order(path: Path, head: bytes) -> str:
    for order in "<>":
        if len(head) == _HEADER_BYTES and struct.unpack_from(f"{order}i", head)[0] == _HEADER_BYTES:
            if head[344:348] != b"n+1\0":
                raise ImageError(f"{path}: expected a NIfTI-1 file with its voxels inside, got {head[344:348]!r}")
            return order
    raise ImageError(f"{path}: not a NIfTI-1 file")
