"""Checked header -> voxels, read straight from the file and known to be whole.

SimpleITK fills the missing part of a damaged `.nii.gz` or compressed `.mha` with whatever was in memory, without an
error: half a scan would go unnoticed. Reading here checks every length and checksum, and is also faster, because the
voxels are not copied.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.io.headers import StoredHeader

_CHUNK = 1 << 20


def read_stored_voxels(path: Path, header: StoredHeader) -> NDArray[Any]:
    """Read the voxels of a header that `check_header` has passed, (z, y, x) in the machine's byte order.

    Raises ImageError if the file is damaged or ends too early.
    """
    x, y, z = header.size
    if header.compression == "none":
        voxels = np.fromfile(header.data_path, header.dtype, x * y * z, offset=header.data_offset)
        got = voxels.nbytes
    else:
        voxels = np.empty(x * y * z, header.dtype)
        read = {"gzip": _gunzip_into, "zlib": _inflate_into}[header.compression]
        try:
            got = read(header, voxels.view(np.uint8).data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ImageError(f"{path}: damaged or truncated: {error}") from None
    if got != header.n_bytes:
        raise ImageError(f"{path}: truncated: {header.size} voxels are {header.n_bytes} bytes, got {got}")
    return voxels.reshape(z, y, x).astype(header.dtype.newbyteorder("="), copy=False)


def check_stored_length(path: Path, header: StoredHeader) -> None:
    """Raise ImageError for a truncated gzip file, without unpacking it if its last four bytes are the right length.

    Those count the unpacked bytes, so that a file which was cut has anything else there. Files of several gzip members
    are unpacked to know.
    """
    if header.compression != "gzip":
        return
    with header.data_path.open("rb") as file:
        file.seek(-4, 2)
        length = int.from_bytes(file.read(4), "little")
    if length != (header.data_offset + header.n_bytes) % 2**32:
        read_stored_voxels(path, header)


def _gunzip_into(header: StoredHeader, out: memoryview) -> int:
    with gzip.open(header.data_path) as file:
        file.read(header.data_offset)
        filled = 0
        while filled < len(out):
            n = file.readinto(out[filled : filled + _CHUNK])
            if not n:
                break
            filled += n
        file.read(1)  # meeting the end is what compares the checksum
    return filled


def _inflate_into(header: StoredHeader, out: memoryview) -> int:
    stream = zlib.decompressobj()
    filled = 0
    with header.data_path.open("rb") as file:
        file.seek(header.data_offset)
        while filled < len(out) and not stream.eof:
            packed = stream.unconsumed_tail or file.read(_CHUNK)
            if not packed:
                break
            part = stream.decompress(packed, len(out) - filled)
            out[filled : filled + len(part)] = part
            filled += len(part)
        if not stream.eof:  # the checksum comes after the last voxel
            stream.decompress(stream.unconsumed_tail + file.read(_CHUNK), 1)
    if not stream.eof:
        raise EOFError("the compressed voxels do not end where they should")
    return filled
