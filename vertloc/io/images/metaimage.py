"""MetaImage (`.mhd` with its voxels beside it, `.mha`): header <-> ImageFile; world mm are LPS.

Keys that say nothing about voxels or places are passed over, as MetaIO does: its own writers add any number of them.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.atomic import temporary_beside, write_bytes_atomically
from vertloc.io.images.checks import checked_size, make_grid, n_dimensions, numbers, whole_numbers
from vertloc.io.images.image_file import ImageFile
from vertloc.volume import Volume

_LARGEST_HEADER = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DTYPES = {
    "MET_LONG": "<i4",  # 4 bytes on every machine; MET_INT, which follows, is the name that is written
    "MET_ULONG": "<u4",
    "MET_CHAR": "<i1",
    "MET_UCHAR": "<u1",
    "MET_SHORT": "<i2",
    "MET_USHORT": "<u2",
    "MET_INT": "<i4",
    "MET_UINT": "<u4",
    "MET_LONG_LONG": "<i8",
    "MET_ULONG_LONG": "<u8",
    "MET_FLOAT": "<f4",
    "MET_DOUBLE": "<f8",
}
_ELEMENT_TYPES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
# Several names of one thing; MetaIO reads them all.
_ORIGIN = ("Offset", "Origin", "Position")
_DIRECTION = ("TransformMatrix", "Rotation", "Orientation")
_SPACING = ("ElementSpacing", "ElementSize")  # the second is what MetaIO takes without the first
_MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "um": 0.001, "?": 1.0, "": 1.0}
_BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
# Keys that are understood. One of them twice is a header that says two things.
_KNOWN = {
    *("ObjectType", "NDims", "BinaryData", "CompressedData", "CompressedDataSize", "DimSize", "HeaderSize"),
    *("ElementNumberOfChannels", "ElementType", "ElementDataFile", "CenterOfRotation", "DistanceUnits"),
    *_ORIGIN,
    *_DIRECTION,
    *_SPACING,
    *_BYTE_ORDER,
}


def open_metaimage(path: Path) -> ImageFile:
    """Read the header of an `.mhd` or `.mha` file.

    Raises ImageError for what is not a MetaImage volume of numbers with a spacing, or names a data file elsewhere.
    """
    with path.open("rb") as file:
        fields, length = _parse(path, file.read(_LARGEST_HEADER))
    _check_voxel_kind(path, fields)
    n = n_dimensions(path, "NDims", fields["NDims"])
    is_big_endian = _flag(path, fields, _BYTE_ORDER[1], str(_flag(path, fields, _BYTE_ORDER[0], "False")))
    stored_type = np.dtype(_DTYPES[fields["ElementType"]]).newbyteorder(">" if is_big_endian else "<")
    size = checked_size(path, whole_numbers(path, "DimSize", fields["DimSize"], n), stored_type)
    data_path = _data_path(path, fields["ElementDataFile"])
    grid, warnings = _grid(path, fields, n, size)
    image = ImageFile(
        path=path,
        grid=grid,
        stored_type=stored_type,
        data_path=data_path,
        data_offset=length if data_path == path else 0,
        packing="deflate" if _flag(path, fields, "CompressedData", "False") else "none",
        warnings=warnings,
    )
    return _after_skipped_bytes(image, fields)


def write_metaimage(volume: Volume, path: Path) -> None:
    """Write an `.mha`, or an `.mhd` with `<name>.raw` beside it; both appear whole, the header last.

    Raises ValueError for a number type that MetaImage does not have.
    """
    voxels = np.ascontiguousarray(volume.voxels, dtype=volume.voxels.dtype.newbyteorder("<"))
    if path.suffix.lower() == ".mha":
        write_bytes_atomically(path, _header(volume.grid, voxels, "LOCAL") + voxels.tobytes())
        return
    raw = path.with_suffix(".raw")
    header = _header(volume.grid, voxels, raw.name)
    with ExitStack() as stack:  # unwinds in reverse: the raw file is in place before the header that names it
        temporary_header = stack.enter_context(temporary_beside(path))
        temporary_raw = stack.enter_context(temporary_beside(raw))
        voxels.tofile(temporary_raw)
        temporary_header.write_bytes(header)


def _header(grid: Grid, voxels: NDArray[Any], data_file: str) -> bytes:
    """Write the header of a plain image whose voxels lie in `data_file`, or behind the header for "LOCAL"."""
    if voxels.dtype not in _ELEMENT_TYPES:
        raise ValueError(
            f"MetaImage cannot hold voxels of type {voxels.dtype}; have {', '.join(map(str, _ELEMENT_TYPES))}"
        )
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        # The direction of each array axis in turn: the columns of the direction matrix.
        f"TransformMatrix = {_join(grid.direction_matrix.T.ravel())}",
        f"Offset = {_join(grid.origin_mm)}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_join(grid.spacing_mm)}",
        f"DimSize = {' '.join(str(n) for n in grid.shape[::-1])}",
        f"ElementType = {_ELEMENT_TYPES[voxels.dtype]}",
        f"ElementDataFile = {data_file}",
    )
    return os.fsencode("\n".join(lines) + "\n")  # a file's name may be any bytes


def _join(values: Any) -> str:
    # Adding 0 turns -0 into 0.
    return " ".join(repr(float(v) + 0.0).removesuffix(".0") for v in values)


def _parse(path: Path, head: bytes) -> tuple[dict[str, str], int]:
    """Return the fields up to ElementDataFile, which ends every header, and the header's length in bytes."""
    fields: dict[str, str] = {}
    position = len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0
    while position < len(head):
        end = head.find(b"\n", position)
        end = len(head) if end < 0 else end
        line = head[position:end].strip()
        position = end + 1
        if not line or line[:1] in (b"#", b"%"):
            continue
        # Stripped as bytes: text would lose white space beyond ASCII too, which is none to MetaIO.
        key, equals, value = (os.fsdecode(part.strip()) for part in line.partition(b"="))
        if not equals or not key.isprintable():
            raise ImageError(f"{path}: not a MetaImage header: expected 'Key = value', got {_shown(line)!r}")
        if key in fields and key in _KNOWN:
            raise ImageError(f"{path}: {key} stands twice in the header")
        fields[key] = value
        if key == "ElementDataFile":
            return fields, position
    raise ImageError(f"{path}: not a MetaImage header: no ElementDataFile")


def _shown(line: bytes) -> str:
    return line[:60].decode("latin-1")


def _check_voxel_kind(path: Path, fields: dict[str, str]) -> None:
    for key in ("NDims", "DimSize", "ElementType"):
        if key not in fields:
            raise ImageError(f"{path}: not a MetaImage header: no {key}")
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise ImageError(f"{path}: expected one value a voxel, got {fields['ElementNumberOfChannels']} channels")
    if not _flag(path, fields, "BinaryData", "True"):
        raise ImageError(f"{path}: voxels as text (BinaryData = {fields['BinaryData']}) are not read")
    if fields["ElementType"] not in _DTYPES:
        raise ImageError(f"{path}: expected one real number a voxel, got ElementType {fields['ElementType']!r}")


def _flag(path: Path, fields: dict[str, str], key: str, default: str) -> bool:
    value = fields.get(key, default)
    if value.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise ImageError(f"{path}: expected True or False for {key}, got {value[:60]!r}")
    return value.lower() in ("true", "t", "1")


def _grid(path: Path, fields: dict[str, str], n: int, size: tuple[int, int, int]) -> tuple[Grid, tuple[str, ...]]:
    """Return the first three axes' grid, and warnings; `n` axes are described."""
    spacing = _one_of(path, fields, _SPACING, n)
    if spacing is None:
        raise ImageError(f"{path}: no ElementSpacing; without it nothing can be measured")
    if "CenterOfRotation" in fields:  # one number missing, and MetaIO takes it from the next line
        numbers(path, "CenterOfRotation", fields["CenterOfRotation"], n)
    origin = _one_of(path, fields, _ORIGIN, n) or (0.0,) * n
    axes = _one_of(path, fields, _DIRECTION, n * n)
    # The direction of each array axis in turn: the columns of the direction matrix.
    direction = np.eye(3) if axes is None else np.array(axes).reshape(n, n)[:3, :3].T
    scale, odd = _mm_per_unit(path, fields)
    spacing_mm, origin_mm = ([value * scale for value in values[:3]] for values in (spacing, origin))
    grid, warnings = make_grid(path, size, spacing_mm, origin_mm, direction)
    return grid, odd + warnings


def _mm_per_unit(path: Path, fields: dict[str, str]) -> tuple[float, tuple[str, ...]]:
    """Return the length of the file's unit, and a warning if it is not mm; other readers take any unit for mm."""
    unit = fields.get("DistanceUnits", "mm").lower()
    if unit not in _MM_PER_UNIT:
        raise ImageError(f"{path}: expected mm, cm or um for DistanceUnits, got {unit[:60]!r}")
    scale = _MM_PER_UNIT[unit]
    if scale == 1:
        return 1.0, ()
    return scale, (f"the header gives lengths in {unit}: 1 there is taken as {scale:g} mm; other readers take 1 mm",)


def _one_of(path: Path, fields: dict[str, str], keys: tuple[str, ...], n: int) -> tuple[float, ...] | None:
    """Return the numbers that stand under any of several names of one thing; ImageError if two names disagree."""
    found = {key: numbers(path, key, fields[key], n) for key in keys if key in fields}
    if keys == _SPACING and len(found) == 2:
        del found["ElementSize"]  # the size of the sensitive element, not the distance to the next
    if len(set(found.values())) > 1:
        raise ImageError(f"{path}: the header says two things: {', '.join(f'{k} {v}' for k, v in found.items())}")
    return next(iter(found.values()), None)


def _data_path(path: Path, name: str) -> Path:
    """Return where the voxels lie; only this file, or one file beside it."""
    if name.upper() == "LOCAL":
        return path
    beside = PurePosixPath(name.replace("\\", "/"))
    if name.upper().split(" ")[0] == "LIST" or "%" in name or not name:
        raise ImageError(f"{path}: expected one data file, got ElementDataFile {name!r}")
    if len(beside.parts) != 1 or beside.name in ("", ".", "..") or ":" in name:
        raise ImageError(f"{path}: expected a data file in the same folder, got ElementDataFile {name!r}")
    return path.with_name(beside.name)


def _after_skipped_bytes(image: ImageFile, fields: dict[str, str]) -> ImageFile:
    """Move the first voxel behind the HeaderSize bytes of the data file; -1 means all that is not voxels."""
    (n,) = whole_numbers(image.path, "HeaderSize", fields.get("HeaderSize", "0"), 1)
    if n == 0:
        return image
    if n == -1 and image.packing == "none":
        n = image.data_path.stat().st_size - image.n_bytes if image.data_path.is_file() else 0
    if n < image.data_offset:
        raise ImageError(f"{image.path}: expected HeaderSize to be {image.data_offset} or more, got {n}")
    return replace(image, data_offset=n)
