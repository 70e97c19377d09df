"""DICOM file -> the few elements that place a slice; nothing else of it is kept, and no name of a patient.

A file is walked element by element up to its pixels, which takes a tenth of the time of a full reader: a series has
hundreds of files. Every length is checked against the file. https://dicom.nema.org/medical/dicom/current/output/html/part05.html
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

from vertloc.errors import ImageError

_PREAMBLE = 128
_IMPLICIT, _DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_UNCOMPRESSED = {_IMPLICIT, "1.2.840.10008.1.2.1", _BIG_ENDIAN}
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_PIXELS = (0x7FE0, 0x0010)
_DEEPEST = 32
_LARGEST_VALUE = 4096
_NAMES = {
    (0x0008, 0x0008): "image_type",
    (0x0008, 0x0016): "sop_class",
    (0x0008, 0x0060): "modality",
    (0x0008, 0x103E): "description",
    (0x0010, 0x0010): "patient_name",
    (0x0018, 0x1120): "gantry_tilt",
    (0x0020, 0x000D): "study_uid",
    (0x0020, 0x000E): "series_uid",
    (0x0020, 0x0011): "series_number",
    (0x0020, 0x0012): "acquisition_number",
    (0x0020, 0x0013): "instance_number",
    (0x0020, 0x0032): "position",
    (0x0020, 0x0037): "orientation",
    (0x0028, 0x0002): "samples",
    (0x0028, 0x0004): "photometric",
    (0x0028, 0x0008): "frames",
    (0x0028, 0x0010): "rows",
    (0x0028, 0x0011): "columns",
    (0x0028, 0x0030): "pixel_spacing",
    (0x0028, 0x0100): "bits_allocated",
    (0x0028, 0x0101): "bits_stored",
    (0x0028, 0x0103): "is_signed",
    (0x0028, 0x1052): "intercept",
    (0x0028, 0x1053): "slope",
}
_WHOLE_NUMBERS = {"samples", "rows", "columns", "bits_allocated", "bits_stored", "is_signed"}


@dataclass(frozen=True)
class DicomHeader:
    """What one file says of its image.

    values : elements by the names used here, as text; those stored as binary numbers, as their digits
    pixel_offset, pixel_bytes : where the pixels lie; -1 bytes if they are packed
    is_big_endian : byte order of the pixels
    """

    path: Path
    transfer_syntax: str
    pixel_offset: int
    pixel_bytes: int
    is_big_endian: bool = False
    values: dict[str, str] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether the bytes are the pixels."""
        return self.transfer_syntax in _UNCOMPRESSED and self.pixel_bytes >= 0

    def text(self, name: str) -> str:
        """Return an element as text; "" if it is not there."""
        return self.values.get(name, "")

    def numbers(self, name: str, n: int) -> tuple[float, ...] | None:
        """Return `n` numbers; None if the element is not there or holds something else."""
        try:
            found = tuple(float(part) for part in self.text(name).split("\\"))
        except ValueError:
            return None
        return found if len(found) == n and all(abs(value) < 1e9 for value in found) else None

    def whole(self, name: str, default: int) -> int:
        """Return a whole number, or the default if there is none."""
        found = self.numbers(name, 1)
        return int(found[0]) if found is not None else default


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM files do."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
    except OSError:
        return False


def read_dicom_header(path: Path) -> DicomHeader:
    """Walk a file up to its pixels. Raises ImageError for what is no DICOM file with an image, OSError."""
    with path.open("rb") as file:
        walk = _Walk(path, file, os.fstat(file.fileno()).st_size)
        if file.read(_PREAMBLE + 4)[_PREAMBLE:] != b"DICM":
            raise ImageError(f"{path}: not a DICOM file")
        try:
            return walk.header()
        except (struct.error, RecursionError):
            raise ImageError(f"{path}: damaged or truncated: its elements end in the middle") from None


class _Walk:
    """A place in a file, and how the elements from here on are written."""

    def __init__(self, path: Path, file: BufferedReader, n_bytes: int) -> None:
        self._path, self._file, self._n_bytes = path, file, n_bytes
        self._order, self._is_explicit = "<", True

    def header(self) -> DicomHeader:
        syntax = self._meta()
        if syntax == _DEFLATED:
            raise ImageError(f"{self._path}: deflated DICOM is not read; convert it first (dcmconv, dcm2niix)")
        self._is_explicit = syntax != _IMPLICIT
        self._order = ">" if syntax == _BIG_ENDIAN else "<"
        values: dict[str, str] = {}
        while self._file.tell() < self._n_bytes:
            tag, length = self._element()
            if tag == _PIXELS:
                packed = length == _UNDEFINED
                return DicomHeader(
                    self._path, syntax, self._file.tell(), -1 if packed else length, self._order == ">", values
                )
            name = _NAMES.get(tag)
            if name is None or length > _LARGEST_VALUE:
                self._skip(length, 0)
            else:
                values[name] = self._value(name, self._file.read(length))
        raise ImageError(f"{self._path}: no image in this DICOM file")

    def _meta(self) -> str:
        """Read the group that says how the rest is written; leave the file behind it."""
        syntax = ""
        while self._file.tell() < self._n_bytes:
            start = self._file.tell()
            tag, length = self._element()
            if tag[0] != 0x0002:
                self._file.seek(start)
                break
            if tag == (0x0002, 0x0010) and length <= 64:
                syntax = self._file.read(length).rstrip(b"\0 ").decode("latin-1")
            else:
                self._skip(length, 0)
        if not syntax:
            raise ImageError(f"{self._path}: this DICOM file does not say how it is written")
        return syntax

    def _element(self) -> tuple[tuple[int, int], int]:
        """Read the tag and the length of the next element; the file is left at its value."""
        group, element = struct.unpack(f"{self._order}HH", self._file.read(4))
        if not self._is_explicit or group == 0xFFFE:
            (length,) = struct.unpack(f"{self._order}I", self._file.read(4))
            return (group, element), length
        kind = self._file.read(2)
        if kind in _LONG:
            _, length = struct.unpack(f"{self._order}HI", self._file.read(6))
        else:
            (length,) = struct.unpack(f"{self._order}H", self._file.read(2))
        return (group, element), length

    def _skip(self, length: int, depth: int) -> None:
        """Pass over a value; one of undefined length is a sequence that ends with its own delimiter."""
        if length != _UNDEFINED:
            end = self._file.tell() + length
            if end > self._n_bytes:
                raise ImageError(f"{self._path}: damaged or truncated: an element reaches past the end of the file")
            self._file.seek(end)
            return
        if depth > _DEEPEST:
            raise ImageError(f"{self._path}: sequences nested deeper than {_DEEPEST}")
        while True:
            tag, inner = self._element()
            if tag in (_END_OF_SEQUENCE, _END_OF_ITEM):
                return
            self._skip(inner, depth + 1)

    def _value(self, name: str, raw: bytes) -> str:
        if name in _WHOLE_NUMBERS:
            return str(struct.unpack(f"{self._order}H", raw[:2])[0])
        return raw.rstrip(b"\0 ").decode("latin-1").strip()
