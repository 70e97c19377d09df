"""NRRD (`.nrrd`, `.nhdr`): header -> ImageFile; the file names its own space, the grid's is LPS.

Lines are told apart as teem does: what has `: ` behind a known field is that field, whatever else the line holds; then
`:=` makes a pair of key and value, which means nothing here. http://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images.checks import checked_size, column_lengths, make_grid, n_dimensions, numbers, whole_numbers
from vertloc.io.images.image_file import ImageFile, Packing

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
_SAME = {"centers": "centerings", "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
_FIELDS = {
    *("dimension", "type", "encoding", "endian", "sizes", "space", "space dimension", "space directions"),
    *("space origin", "space units", "spacings", "units", "axis mins", "centerings", *_SAME.values()),
}
# World axes of the file against LPS.
_TO_LPS = {
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
}
_MM_PER_UNIT = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "millimeters": 1.0, "millimeter": 1.0}


def open_nrrd(path: Path) -> ImageFile:
    """Read the header of an `.nrrd` file, or of an `.nhdr` whose voxels lie in one file beside it.

    Raises ImageError for what is not an NRRD volume of numbers with a spacing, or names a data file elsewhere.
    """
    fields, length = _parse(path)
    for key in ("dimension", "sizes", "type", "encoding"):
        if key not in fields:
            raise ImageError(f"{path}: not an NRRD header: no {key!r}")
    if fields["type"].lower() not in _DTYPES:
        raise ImageError(f"{path}: expected one real number a voxel, got NRRD type {fields['type']!r}")
    stored_type = _in_byte_order(path, fields, _DTYPES[fields["type"].lower()])
    n = n_dimensions(path, "dimension", fields["dimension"])
    sizes = whole_numbers(path, "sizes", fields["sizes"], n)
    steps = _steps(path, fields, n)
    # A list of one value a voxel, or of one time, may come before or after the axes in space.
    in_space = [i for i in range(n) if sizes[i] != 1 or np.isfinite(steps[i]).all()]
    size = checked_size(path, [sizes[i] for i in in_space], stored_type)
    grid, warnings = _grid(path, fields, size, steps[in_space[:3]])
    image = ImageFile(path=path, grid=grid, stored_type=stored_type, data_path=_data_path(path, fields))
    offset, packing = _place(image, fields, length)
    return replace(image, data_offset=offset, packing=packing, warnings=warnings)


def _parse(path: Path) -> tuple[dict[str, str], int]:
    """Return the known fields before the empty line that ends the header, keys in lower case, and the header's length.

    The header of a file whose voxels lie elsewhere may end with the file.
    """
    with path.open("rb") as file:
        head = file.read(_LARGEST_HEADER)
    if not head.startswith(b"NRRD000"):
        raise ImageError(f"{path}: not an NRRD file")
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None and not re.search(rb"^data ?file: ", head, re.IGNORECASE | re.MULTILINE):
        raise ImageError(f"{path}: not an NRRD header: no empty line ends it")
    text, length = (head[: end.start()], end.end()) if end else (head, len(head))
    fields: dict[str, str] = {}
    for raw in text.split(b"\n")[1:]:
        line = os.fsdecode(raw.strip())
        if not line or line.startswith("#"):
            continue
        key, colon, value = line.partition(":")
        key = _SAME.get(key.strip().lower(), key.strip().lower())
        if not colon:
            raise ImageError(f"{path}: not an NRRD header: expected 'key: value', got {line[:60]!r}")
        if key not in _FIELDS or (value.startswith("=") and ": " not in line):
            continue
        if key in fields:
            raise ImageError(f"{path}: {key!r} stands twice in the header")
        fields[key] = value.strip()
    return fields, length


def _in_byte_order(path: Path, fields: dict[str, str], dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    endian = fields.get("endian", "").lower()
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        raise ImageError(f"{path}: expected 'little' or 'big' for endian, got {endian[:60]!r}")
    return dtype.newbyteorder(">" if endian == "big" else "<")


def _steps(path: Path, fields: dict[str, str], n: int) -> NDArray[np.float64]:
    """Return the step of each of `n` array axes in the file's space, (n, 3); NaN for an axis that is not in space."""
    if "space directions" in fields:
        vectors = re.findall(r"none|\([^)]*\)", fields["space directions"])
        if len(vectors) != n:
            raise ImageError(f"{path}: expected {n} space directions, got {fields['space directions'][:80]!r}")
        nowhere = (math.nan,) * 3
        return np.array([nowhere if v == "none" else _vector(path, "space directions", v) for v in vectors])
    if "spacings" in fields:
        spacings = numbers(path, "spacings", fields["spacings"], n)
        steps = np.full((n, 3), math.nan)
        in_space = [i for i in range(n) if math.isfinite(spacings[i])][:3]
        for axis, i in enumerate(in_space):
            steps[i] = np.eye(3)[axis] * spacings[i]
        return steps
    raise ImageError(f"{path}: neither space directions nor spacings; without them nothing can be measured")


def _vector(path: Path, key: str, text: str) -> tuple[float, ...]:
    return numbers(path, key, text.strip().removeprefix("(").removesuffix(")").replace(",", " "), 3)


def _grid(
    path: Path, fields: dict[str, str], size: tuple[int, int, int], steps: NDArray[np.float64]
) -> tuple[Grid, tuple[str, ...]]:
    space = fields.get("space", "left-posterior-superior").lower()
    to_lps = np.array(_TO_LPS.get(space, (1.0, 1.0, 1.0)))
    warnings = () if space in _TO_LPS else (f"space {space[:60]!r} is taken for left-posterior-superior",)
    scale, more = _mm_per_unit(path, fields)
    lengths = column_lengths(steps.T)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise ImageError(f"{path}: expected three positive spacings in mm, got {tuple(lengths.tolist())}")
    directions = (steps / lengths[:, None]).T * to_lps[:, None]
    origin = np.array(_origin(path, fields, lengths)) * to_lps * scale
    grid, odd = make_grid(path, size, (lengths * scale).tolist(), origin.tolist(), directions)
    return grid, warnings + more + odd


def _origin(path: Path, fields: dict[str, str], spacing: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the place of the first voxel; without a space, from the axes' lower ends."""
    if "space origin" in fields:
        return _vector(path, "space origin", fields["space origin"])
    if "space directions" not in fields and "axis mins" in fields:
        low = [v for v in numbers(path, "axis mins", fields["axis mins"]) if math.isfinite(v)][:3]
        if len(low) == 3:
            half = 0.5 if fields.get("centerings", "").lower().startswith("cell") else 0.0
            return tuple(v + half * s for v, s in zip(low, spacing.tolist(), strict=True))
    return (0.0, 0.0, 0.0)


def _mm_per_unit(path: Path, fields: dict[str, str]) -> tuple[float, tuple[str, ...]]:
    """Return the length of the file's unit, and a warning if it is not mm; other readers take any unit for mm."""
    text = fields.get("space units") or fields.get("units") or ""
    quoted = [unit.strip().lower() for unit in re.findall(r'"([^"]*)"', text)]
    units = {unit for unit in quoted if unit in _MM_PER_UNIT}
    unknown = [unit for unit in quoted if unit not in _MM_PER_UNIT and unit not in ("", "none", "???", "s", "ms")]
    if unknown or len(units) > 1:
        raise ImageError(f"{path}: expected mm, cm, m or um for the units of space, got {text[:80]!r}")
    (unit,) = units or {"mm"}
    scale = _MM_PER_UNIT[unit]
    if scale == 1:
        return 1.0, ()
    return scale, (f"the header gives lengths in {unit}: 1 there is taken as {scale:g} mm; other readers take 1 mm",)


def _data_path(path: Path, fields: dict[str, str]) -> Path:
    """Return where the voxels lie; only this file, or one file beside it."""
    if "data file" not in fields:
        return path
    name = fields["data file"]
    if name.upper().split(" ")[0] == "LIST" or "%" in name or not name:
        raise ImageError(f"{path}: expected one data file, got {name[:80]!r}; save the volume as one .nrrd")
    beside = PurePosixPath(name.replace("\\", "/"))
    if len(beside.parts) != 1 or beside.name in ("", ".", "..") or ":" in name:
        raise ImageError(f"{path}: expected a data file in the same folder, got {name[:80]!r}")
    return path.with_name(beside.name)


def _place(image: ImageFile, fields: dict[str, str], header_length: int) -> tuple[int, Packing]:
    """Return where the voxels begin in their file, and how they are packed."""
    path = image.path
    (n_lines,) = whole_numbers(path, "line skip", fields.get("line skip", "0"), 1)
    (n_bytes,) = whole_numbers(path, "byte skip", fields.get("byte skip", "0"), 1)
    offset = header_length if image.data_path == path else 0
    encoding = fields["encoding"].lower()
    if n_lines < 0 or n_bytes < -1:
        raise ImageError(f"{path}: expected to skip 0 or more lines and bytes, got {n_lines} and {n_bytes}")
    if encoding == "raw":
        if n_bytes == -1 and image.data_path.is_file():
            return max(offset, image.data_path.stat().st_size - image.n_bytes), "none"
        return _after_lines(image, offset, n_lines) + max(n_bytes, 0), "none"
    if encoding in ("gzip", "gz"):
        if n_bytes != 0:
            raise ImageError(f"{path}: bytes to skip in packed voxels are not read; save the volume as one .nrrd")
        return _after_lines(image, offset, n_lines), "deflate"
    raise ImageError(f"{path}: expected encoding raw or gzip, got {encoding[:60]!r}; save the volume as one of these")


def _after_lines(image: ImageFile, offset: int, n_lines: int) -> int:
    if n_lines == 0:
        return offset
    if not image.data_path.is_file():
        return offset
    with image.data_path.open("rb") as file:
        file.seek(offset)
        head = file.read(_LARGEST_HEADER)
    ends = [match.end() for match in re.finditer(rb"\n", head)]
    if n_lines > len(ends):
        raise ImageError(f"{image.path}: expected {n_lines} lines to skip in {image.data_path.name}")
    return offset + ends[n_lines - 1]
