"""Header of an image file -> what it promises, checked against the file before a reader allocates or trusts it.

SimpleITK repairs some broken headers silently (a spacing of -1 becomes 1 and mirrors the image, NIfTI's 0 becomes 1)
and allocates whatever a header asks for, so each format's header is read here first. Voxels are not touched.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vertloc.errors import ImageError

logger = logging.getLogger(__name__)

LARGEST_IMAGE_BYTES = 8 * 2**30
"""Larger images are refused: a whole body of 512 x 512 x 4000 int16 voxels has 2 GiB."""

# The format of deflate cannot compress better than this.
_LARGEST_COMPRESSION = 1032


@dataclass(frozen=True)
class StoredHeader:
    """What a header says about the voxels.

    size : (x, y, z) number of voxels; trailing axes of size 1 are dropped
    spacing_mm : (x, y, z) as written, not yet checked
    dtype : number type with its byte order
    data_path, data_offset : file and place of the first voxel; with gzip, its place in the unpacked file
    compression : "gzip" (whole file), "zlib" (what follows data_offset), "none", or "other"
    is_plain : whether the bytes are the voxels, x fastest, and no key asks for more than that
    """

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    dtype: np.dtype[Any]
    data_path: Path
    data_offset: int
    compression: Literal["none", "gzip", "zlib", "other"] = "none"
    is_plain: bool = False

    @property
    def n_bytes(self) -> int:
        """Bytes of all voxels, uncompressed."""
        return math.prod(self.size) * self.dtype.itemsize


def spatial_size(size: Sequence[int]) -> tuple[int, ...]:
    """Drop trailing axes of size 1 beyond the third: one time point is a volume."""
    n = len(size)
    while n > 3 and size[n - 1] == 1:
        n -= 1
    return tuple(size[:n])


def check_header(path: Path, header: StoredHeader) -> None:
    """Raise ImageError if the header cannot be that of a CT volume, or its data file cannot hold the voxels."""
    if len(header.size) != 3:
        raise ImageError(f"{path}: expected a 3-D volume, got {len(header.size)} dimensions of size {header.size}")
    if min(header.size) < 1:
        raise ImageError(f"{path}: expected three positive sizes, got {header.size}")
    if len(header.spacing_mm) != 3 or not all(math.isfinite(s) and s > 0 for s in header.spacing_mm):
        raise ImageError(f"{path}: expected three positive spacings in mm, got {header.spacing_mm}")
    if header.n_bytes > LARGEST_IMAGE_BYTES:
        raise ImageError(
            f"{path}: the header asks for {header.size} voxels, {header.n_bytes / 2**30:.1f} GiB;"
            f" at most {LARGEST_IMAGE_BYTES // 2**30} GiB are read"
        )
    _check_data_file(path, header)


def _check_data_file(path: Path, header: StoredHeader) -> None:
    data = header.data_path
    if not data.is_file():
        raise ImageError(f"{path}: its data file {data.name} is missing")
    if not os.access(data, os.R_OK):
        raise ImageError(f"{path}: no permission to read {data.name}")
    wanted = f"{header.size} voxels of {header.dtype.name} are {header.n_bytes} bytes"
    if header.compression != "none":
        if data.stat().st_size * _LARGEST_COMPRESSION < header.n_bytes:
            raise ImageError(f"{path}: truncated: {wanted}, but {data.name} has {data.stat().st_size} compressed")
        return
    stored = data.stat().st_size - header.data_offset
    if stored < header.n_bytes:
        raise ImageError(f"{path}: truncated: {wanted}, but {data.name} has {max(stored, 0)}")
    if stored > header.n_bytes and data != path:
        logger.warning("%s: %s, but %s has %d; the rest is ignored", path, wanted, data.name, stored)


def numbers(path: Path, key: str, text: str, n: int | None = None) -> tuple[float, ...]:
    """Read numbers parted by white space; ImageError if one is no number, or there are not `n` of them."""
    try:
        # Python alone reads 1_0 and digits of other scripts as numbers.
        values = tuple(float(word) for word in text.replace("_", "?").encode("ascii").split())
    except ValueError:
        raise ImageError(f"{path}: expected numbers for {key}, got {text[:80]!r}") from None
    if n is not None and len(values) != n:
        raise ImageError(f"{path}: expected {n} numbers for {key}, got {text[:80]!r}")
    return values


def whole_numbers(path: Path, key: str, text: str, n: int | None = None) -> tuple[int, ...]:
    """Read whole numbers parted by white space; ImageError as for `numbers`."""
    values = numbers(path, key, text, n)
    if not all(math.isfinite(v) and v == int(v) for v in values):
        raise ImageError(f"{path}: expected whole numbers for {key}, got {text[:80]!r}")
    return tuple(int(v) for v in values)
