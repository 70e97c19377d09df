"""NIfTI header -> what it promises; ITK turns a spacing of 0 into 1 and a negative one into its opposite, silently."""

from __future__ import annotations

import gzip
import logging
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from vertloc.errors import ImageError
from vertloc.io.headers import StoredHeader, spatial_size

logger = logging.getLogger(__name__)

_HEADER_BYTES = 348
_GZIP_MAGIC = b"\x1f\x8b"
# NIfTI's codes of real number types.
_DTYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}


def read_nifti_header(path: Path) -> StoredHeader:
    """Read the header of a `.nii` or `.nii.gz` file.

    Plain are those whose voxels are not to be scaled. Logs a warning if the header says nothing about orientation.
    Raises ImageError for what is not a NIfTI-1 file with its voxels inside, or holds no real numbers.
    """
    head, is_compressed = _head(path)
    order = _byte_order(path, head)
    dim = struct.unpack_from(f"{order}8h", head, 40)
    (datatype,) = struct.unpack_from(f"{order}h", head, 70)
    pixdim = struct.unpack_from(f"{order}8f", head, 76)
    vox_offset, slope, intercept = struct.unpack_from(f"{order}3f", head, 108)
    qform, sform = struct.unpack_from(f"{order}2h", head, 252)
    if not 1 <= dim[0] <= 7:
        raise ImageError(f"{path}: expected 3 dimensions, got {dim[0]}")
    if datatype not in _DTYPES:
        raise ImageError(f"{path}: expected one real number a voxel, got NIfTI datatype {datatype}")
    if not _HEADER_BYTES <= vox_offset < 2**31:
        raise ImageError(f"{path}: expected voxels behind the header, got vox_offset {vox_offset}")
    size = spatial_size(dim[1 : 1 + dim[0]])
    rotation, affine = struct.unpack_from(f"{order}6f", head, 256), struct.unpack_from(f"{order}12f", head, 280)
    used = (rotation if qform > 0 else ()) + (affine if sform > 0 else ())
    if not all(math.isfinite(value) for value in used):
        raise ImageError(
            f"{path}: expected a finite orientation, got quaternion and offset {rotation}, affine {affine}"
        )
    if not used:
        logger.warning("%s: the header has no orientation; array axes are taken for left, back and up", path)
    return StoredHeader(
        size=size,
        spacing_mm=pixdim[1 : 1 + len(size)],
        dtype=np.dtype(order + _DTYPES[datatype]),
        data_path=path,
        data_offset=int(vox_offset),
        compression="gzip" if is_compressed else "none",
        is_plain=slope in (0, 1) and intercept == 0,
    )


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
            raise ImageError(f"{path}: damaged or truncated: {error}") from None


def _byte_order(path: Path, head: bytes) -> str:
    for order in "<>":
        if len(head) == _HEADER_BYTES and struct.unpack_from(f"{order}i", head)[0] == _HEADER_BYTES:
            if head[344:348] != b"n+1\0":
                raise ImageError(f"{path}: expected a NIfTI-1 file with its voxels inside, got {head[344:348]!r}")
            return order
    raise ImageError(f"{path}: not a NIfTI-1 file")
