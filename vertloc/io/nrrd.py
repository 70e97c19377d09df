"""NRRD header -> what it promises; only files that hold their own voxels."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from vertloc.errors import ImageError
from vertloc.io.headers import StoredHeader, numbers, spatial_size, whole_numbers

_LARGEST_HEADER = 1 << 20
_NAMES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: np.dtype(dtype) for dtype, names in _NAMES.items() for name in names.split(", ")}


def read_nrrd_header(path: Path) -> StoredHeader:
    """Read the header of a `.nrrd` file.

    Raises ImageError for what is not an NRRD file with its voxels inside and a spacing, or holds no real numbers.
    """
    fields, length = _parse(path)
    for key in ("dimension", "sizes", "type", "encoding"):
        if key not in fields:
            raise ImageError(f"{path}: not an NRRD header: no {key!r}")
    if "data file" in fields or "datafile" in fields:
        raise ImageError(f"{path}: NRRD with its voxels in other files is not read")
    if fields["type"].lower() not in _DTYPES:
        raise ImageError(f"{path}: expected one real number a voxel, got NRRD type {fields['type']!r}")
    (n,) = whole_numbers(path, "dimension", fields["dimension"], 1)
    size = spatial_size(whole_numbers(path, "sizes", fields["sizes"], n))
    return StoredHeader(
        size=size,
        spacing_mm=_spacing(path, fields)[: len(size)],
        dtype=_DTYPES[fields["type"].lower()],
        data_path=path,
        data_offset=length,
        compression="none" if fields["encoding"].lower() == "raw" else "other",
    )


def _spacing(path: Path, fields: dict[str, str]) -> tuple[float, ...]:
    """Return the lengths of the space directions, or the spacings; an axis that is not in space has none (NaN)."""
    if "space directions" in fields:
        vectors = re.findall(r"none|\([^)]*\)", fields["space directions"])
        return tuple(
            math.nan if v == "none" else math.hypot(*numbers(path, "space directions", v[1:-1].replace(",", " ")))
            for v in vectors
        )
    if "spacings" in fields:
        return numbers(path, "spacings", fields["spacings"])
    raise ImageError(f"{path}: neither space directions nor spacings; without them nothing can be measured")


def _parse(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields before the empty line that ends the header, keys in lower case, and the header's length."""
    with path.open("rb") as file:
        head = file.read(_LARGEST_HEADER)
    if not head.startswith(b"NRRD000"):
        raise ImageError(f"{path}: not an NRRD file")
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None:
        raise ImageError(f"{path}: not an NRRD header: no empty line ends it")
    fields: dict[str, str] = {}
    for line in head[: end.start()].decode("latin-1").splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        key, colon, value = line.partition(":")
        if not colon:
            raise ImageError(f"{path}: not an NRRD header: expected 'key: value', got {line[:60]!r}")
        fields[key.strip().lower()] = value.strip()
    return fields, end.end()
