"""Model file <-> JSON header and named arrays: an `.npz` that holds no pickle and runs no code.

What the numbers mean is not looked at here, but nothing is made of the file before its size, type and checksums fit.
Needs numpy alone, so that a large file can be read while the other libraries are still being imported.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vertloc.errors import ModelError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.vertebrae import VERTEBRAE

FORMAT_VERSION = 3
_READ_VERSIONS = (2, FORMAT_VERSION)
_HEADER = "header.json"
_MOST_HEADER_BYTES = 4_000_000
# Our own arrays shrink to three quarters, those of tiny models to a fifth; a bomb of zeros to a thousandth.
_LARGEST_RATIO = 20
_LARGEST_TINY = 1_000_000
_MOST_MEMBERS = 1000
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
    struct.error,
)
_DEFLATE_LEVEL, _WORTH_DEFLATING, _ENOUGH_TO_JUDGE = 9, 0.5, 200_000
# Reading in another thread, each piece waits for the interpreter's lock a few times, up to 5 ms.
_CHUNK = 4 << 20
_DTYPES = (r"\|u1", "<u2", "<i2", "<i4", "<f4", "<f8")
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype>%s)', 'fortran_order': False, 'shape': "
    rb"\((?P<shape>[0-9]{1,12}(, ?[0-9]{1,12})*,?)\), \} *\n" % "|".join(_DTYPES).encode(),
    re.DOTALL,
)


@dataclass(frozen=True, eq=False)
class StoredModel:
    """What a model file holds, undamaged, but not yet known to make sense.

    header : plain values; its settings and provenance are as they were given to `write_model_file`
    arrays : those that the header has checksums of
    """

    path: Path
    header: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def write_model_file(
    path: Path, settings: Mapping[str, Any], provenance: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a model file, under a temporary name first. The same content gives the same bytes."""
    header = {
        "format": "vertloc model",
        "format_version": FORMAT_VERSION,
        "labels": list(VERTEBRAE),
        "settings": settings,
        "provenance": provenance,
        "sha256": {name: _checksum(array) for name, array in arrays.items()},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        _add_member(archive, _HEADER, json.dumps(header, indent=1).encode())
        for name, array in arrays.items():
            npy = io.BytesIO()
            npy_format.write_array(npy, np.ascontiguousarray(array), allow_pickle=False)
            _add_member(archive, f"{name}.npy", npy.getvalue())
    write_bytes_atomically(path, out.getvalue())


def _add_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a member of no date, so that the same content gives the same bytes; deflated if that halves its beginning.

    Most arrays would save a tenth to a third, and cost more time in each loading than all their checks.
    """
    beginning = data[:_ENOUGH_TO_JUDGE]
    is_worth_it = len(zlib.compress(beginning, _DEFLATE_LEVEL)) <= _WORTH_DEFLATING * len(beginning)
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED if is_worth_it else zipfile.ZIP_STORED
    archive.writestr(info, data, compresslevel=_DEFLATE_LEVEL)


def read_model_file(path: Path) -> StoredModel:
    """Read a model file; what else lies in it than its header names is not looked at.

    Raises ModelError naming the file, what was found and what was wanted.
    """
    if path.is_dir():
        raise ModelError(f"{path}: expected a model file, got a folder")
    if path.exists() and not path.is_file():  # a device may have no end
        raise ModelError(f"{path}: expected a model file, got a device or a pipe")
    with _errors_name_the_file(path), zipfile.ZipFile(path) as archive:
        header = _read_header(archive, path.stat().st_size)
        return StoredModel(path, header, _read_arrays(archive, header))


def file_sha256(path: Path) -> str:
    """Checksum of a whole file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _errors_name_the_file(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise ModelError(f"{path}: not a model file, or a damaged one: {error}") from error
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error


def _checksum(array: NDArray[Any]) -> str:
    return hashlib.sha256(_bytes_of(np.ascontiguousarray(array))).hexdigest()


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.view(np.uint8).reshape(-1).data


def _read_header(archive: zipfile.ZipFile, file_bytes: int) -> dict[str, Any]:
    members = archive.infolist()
    if _HEADER not in archive.namelist():
        raise ValueError(f"no {_HEADER} inside; not a vertloc model")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in members):
        raise ValueError("members compressed in a way that no vertloc model is")
    if any(info.compress_size > file_bytes for info in members):
        raise zipfile.BadZipFile("a member is said to be larger than the file")
    if sum(info.file_size for info in members) > max(_LARGEST_RATIO * file_bytes, _LARGEST_TINY):
        raise ValueError(f"its members unfold to more than {_LARGEST_RATIO} times the file, as no vertloc model does")
    if archive.getinfo(_HEADER).file_size > _MOST_HEADER_BYTES:
        raise ValueError(f"the header is larger than {_MOST_HEADER_BYTES} bytes")
    try:
        header = json.loads(archive.read(_HEADER))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != "vertloc model":
        raise ValueError("the header does not describe a vertloc model")
    version = header.get("format_version")
    if version not in _READ_VERSIONS or isinstance(version, bool):
        known = " and ".join(map(str, _READ_VERSIONS))
        raise ValueError(f"format version {version!r}, this vertloc reads {known}; train the model again")
    if header.get("labels") != list(VERTEBRAE):
        raise ValueError("the label table differs from C1 ... S2")
    return header


def _read_arrays(archive: zipfile.ZipFile, header: dict[str, Any]) -> dict[str, NDArray[Any]]:
    checksums = header.get("sha256")
    if not isinstance(checksums, dict) or not checksums:
        raise ValueError("the header lacks the checksums")
    if len(checksums) > _MOST_MEMBERS:
        raise ValueError(f"the header names {len(checksums)} arrays, more than any model has")
    arrays = {}
    members = set(archive.namelist())
    for name in checksums:
        if f"{name}.npy" in members:
            try:
                with archive.open(f"{name}.npy") as member:
                    array, checksum = _read_array(member, archive.getinfo(f"{name}.npy").file_size)
            except (zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(f"{name} is damaged: {error}") from error
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            if checksum != checksums.get(name):
                raise ValueError(f"{name} is damaged: its checksum differs from the header's")
            arrays[name] = array
    return arrays


def _read_array(member: IO[bytes], member_bytes: int) -> tuple[NDArray[Any], str]:
    """Read an array as `write_model_file` writes it: C order, plain little-endian numbers, nothing that runs.

    The size that its header promises is compared with the bytes that are there before anything is made of it. The
    bytes are read once, in pieces that are added to the checksum while they are still in the processor's cache.
    """
    head = member.read(10)
    head += member.read(int.from_bytes(head[8:10], "little"))
    match = _NPY_HEADER.fullmatch(head)
    if match is None:
        raise ValueError(f"expected an array of {' '.join(_DTYPES)} in .npy format 1.0, got {head[:60]!r}")
    shape = tuple(int(n) for n in match["shape"].replace(b" ", b"").split(b",") if n)
    dtype = np.dtype(match["dtype"].decode())
    promised, found = math.prod(shape) * dtype.itemsize, member_bytes - len(head)
    if promised != found:
        raise ValueError(f"shape {shape} of {dtype} needs {promised} bytes, found {found}")
    # Our own memory, which can be written to like a trained model's: the kernels are compiled for one kind only.
    array = np.empty(shape, dtype)
    out, digest = _bytes_of(array), hashlib.sha256()
    for begin in range(0, len(out), _CHUNK):
        piece = member.read(min(_CHUNK, len(out) - begin))
        digest.update(piece)
        out[begin : begin + len(piece)] = piece
    return array, digest.hexdigest()
