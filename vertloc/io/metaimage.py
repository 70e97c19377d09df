"""MetaImage: header of `.mhd` / `.mha` <-> text.

A plain image (binary, one component, only keys that are understood) needs no SimpleITK, which takes twice the
time and memory for it. All others are left to SimpleITK after their header has been checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.headers import StoredHeader, numbers, spatial_size, whole_numbers

_LARGEST_HEADER = 65536
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
_PLAIN_KEYS = {
    *("ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "TransformMatrix", "Offset"),
    *("CenterOfRotation", "AnatomicalOrientation", "ElementSpacing", "DimSize", "ElementType", "ElementDataFile"),
    "CompressedDataSize",
}

_VECTORS = ("CenterOfRotation", "Offset", "Origin", "Position", "ElementSpacing", "ElementSize")


@dataclass(frozen=True)
class MetaHeader:
    """A MetaImage header.

    stored : sizes, spacing and where the voxels lie
    fields : every key with its text
    """

    path: Path
    stored: StoredHeader
    fields: dict[str, str]

    def grid(self) -> Grid:
        """Return the grid of a plain image; ImageError for directions that are not orthonormal."""
        # MetaImage lists the direction of each array axis in turn: the columns of the direction matrix.
        axes = np.array(numbers(self.path, "TransformMatrix", self.fields["TransformMatrix"], 9)).reshape(3, 3)
        x, y, z = self.stored.size
        spacing = self.stored.spacing_mm
        origin = numbers(self.path, "Offset", self.fields["Offset"], 3)
        try:
            return Grid(
                (z, y, x),
                (spacing[0], spacing[1], spacing[2]),
                (origin[0], origin[1], origin[2]),
                tuple(float(v) for v in axes.T.ravel()),
            )
        except ValueError as error:
            raise ImageError(f"{self.path}: {error}") from None


def read_meta_header(path: Path) -> MetaHeader:
    """Read the header of an `.mhd` or `.mha` file; the voxels need not be there yet.

    Raises ImageError for what is not a MetaImage volume of numbers with a spacing, or names a data file elsewhere.
    """
    with path.open("rb") as file:
        fields, length = _parse(path, file.read(_LARGEST_HEADER))
    for key in ("NDims", "DimSize", "ElementType"):
        if key not in fields:
            raise ImageError(f"{path}: not a MetaImage header: no {key}")
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise ImageError(f"{path}: expected one value a voxel, got {fields['ElementNumberOfChannels']} channels")
    if not _flag(path, fields, "BinaryData", "True"):
        raise ImageError(f"{path}: voxels as text (BinaryData = {fields['BinaryData']}) are not read")
    if fields["ElementType"] not in _DTYPES:
        raise ImageError(f"{path}: expected one real number a voxel, got ElementType {fields['ElementType']!r}")
    (n_dims,) = whole_numbers(path, "NDims", fields["NDims"], 1)
    for key in _VECTORS:  # one number missing, and MetaIO takes it from the next line
        numbers(path, key, fields.get(key, "0 " * n_dims), n_dims)
    size = spatial_size(whole_numbers(path, "DimSize", fields["DimSize"], n_dims))
    data_path = _data_path(path, fields["ElementDataFile"])
    is_big_endian = _flag(path, fields, "BinaryDataByteOrderMSB", "False")
    stored = StoredHeader(
        size=size,
        spacing_mm=_spacing(path, fields, n_dims)[: len(size)],
        dtype=np.dtype(_DTYPES[fields["ElementType"]]).newbyteorder(">" if is_big_endian else "<"),
        data_path=data_path,
        data_offset=length if data_path == path else _skipped_bytes(path, fields),
        compression="zlib" if _flag(path, fields, "CompressedData", "False") else "none",
        is_plain=_is_plain(fields),
    )
    return MetaHeader(path, stored, fields)


def _is_plain(fields: dict[str, str]) -> bool:
    return (
        set(fields) <= _PLAIN_KEYS
        and {"TransformMatrix", "Offset", "ElementSpacing"} <= set(fields)
        and fields["NDims"] == "3"
        and fields.get("BinaryData") == "True"
    )


def format_meta_header(grid: Grid, dtype: np.dtype[Any], data_file: str) -> bytes:
    """Write the header of a plain image whose voxels lie in `data_file`, or behind the header for "LOCAL".

    Raises ValueError for a number type that MetaImage does not have.
    """
    if dtype.newbyteorder("<") not in _ELEMENT_TYPES:
        raise ValueError(f"MetaImage cannot hold voxels of type {dtype}; have {', '.join(map(str, _ELEMENT_TYPES))}")
    lines = (
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        f"TransformMatrix = {_join(grid.direction_matrix.T.ravel())}",
        f"Offset = {_join(grid.origin_mm)}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_join(grid.spacing_mm)}",
        f"DimSize = {' '.join(str(n) for n in grid.shape[::-1])}",
        f"ElementType = {_ELEMENT_TYPES[dtype.newbyteorder('<')]}",
        f"ElementDataFile = {data_file}",
    )
    return ("\n".join(lines) + "\n").encode()


def _join(values: Any) -> str:
    # Adding 0 turns -0 into 0.
    return " ".join(repr(float(v) + 0.0).removesuffix(".0") for v in values)


def _parse(path: Path, head: bytes) -> tuple[dict[str, str], int]:
    """Return the fields up to ElementDataFile, which ends every header, and the header's length in bytes."""
    fields: dict[str, str] = {}
    position = 0
    while position < len(head):
        end = head.find(b"\n", position)
        end = len(head) if end < 0 else end
        line = head[position:end].strip()
        position = end + 1
        if not line:
            continue
        # Stripped as bytes: text would lose white space beyond ASCII too, which is none to MetaIO.
        key, equals, value = (part.strip().decode("latin-1") for part in line.partition(b"="))
        if not equals or not key.isidentifier():
            got = line[:60].decode("latin-1")
            raise ImageError(f"{path}: not a MetaImage header: expected 'Key = value', got {got!r}")
        if key in fields:
            raise ImageError(f"{path}: {key} stands twice in the header")
        fields[key] = value
        if key == "ElementDataFile":
            return fields, position
    raise ImageError(f"{path}: not a MetaImage header: no ElementDataFile")


def _flag(path: Path, fields: dict[str, str], key: str, default: str) -> bool:
    value = fields.get(key, default)
    if value.lower() not in ("true", "t", "1", "false", "f", "0"):
        raise ImageError(f"{path}: expected True or False for {key}, got {value[:60]!r}")
    return value.lower() in ("true", "t", "1")


def _spacing(path: Path, fields: dict[str, str], n_dims: int) -> tuple[float, ...]:
    for key in ("ElementSpacing", "ElementSize"):  # the second is what MetaIO takes without the first
        if key in fields:
            return numbers(path, key, fields[key], n_dims)
    raise ImageError(f"{path}: no ElementSpacing; without it nothing can be measured")


def _skipped_bytes(path: Path, fields: dict[str, str]) -> int:
    (n,) = whole_numbers(path, "HeaderSize", fields.get("HeaderSize", "0"), 1)
    if n < 0:
        raise ImageError(f"{path}: expected HeaderSize to be 0 or more, got {n}")
    return n


def _data_path(path: Path, name: str) -> Path:
    """Return where the voxels lie; only this file, or one file beside it."""
    if name.upper() == "LOCAL":
        return path
    beside = PurePosixPath(name.replace("\\", "/"))
    if name.upper().startswith("LIST") or "%" in name or not name:
        raise ImageError(f"{path}: expected one data file, got ElementDataFile {name!r}")
    if len(beside.parts) != 1 or beside.name in ("", ".", "..") or ":" in name:
        raise ImageError(f"{path}: expected a data file in the same folder, got ElementDataFile {name!r}")
    return path.with_name(beside.name)
