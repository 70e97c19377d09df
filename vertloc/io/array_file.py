"""Arrays <-> a file of our own that is either exactly what was written or not read at all.

For caches: the file holds the record of what the arrays were made from and a checksum over everything, and the reader
takes plain numbers only. No pickle, no foreign parser: a header of JSON, then the bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.io.atomic import write_bytes_atomically

_MAGIC = b"vertloc arrays 1\n"
_CHECKSUM_BYTES = 32
_MOST_HEADER_BYTES = 1_000_000
_TYPES = ("<i2", "<f8", "|u1")


def write_array_file(path: Path, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays with the key that tells what they were made from; the file appears whole. Raises OutputError."""
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    described = {name: [array.dtype.str, list(array.shape)] for name, array in plain.items()}
    header = json.dumps({"key": key, "arrays": described}).encode() + b"\n"
    body = b"".join([header, *(array.tobytes() for array in plain.values())])
    write_bytes_atomically(path, _MAGIC + hashlib.sha256(body).digest() + body)


def read_array_file(path: Path, key: str) -> dict[str, NDArray[Any]]:
    """Read the arrays that were written under a key; in memory of their own, as if they had just been computed.

    Raises ValueError for whatever is not, to the last bit, what `write_array_file` wrote under this key, OSError for
    what cannot be read.
    """
    data = path.read_bytes()
    start = len(_MAGIC) + _CHECKSUM_BYTES
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("not a file of arrays")
    if hashlib.sha256(memoryview(data)[start:]).digest() != data[len(_MAGIC) : start]:
        raise ValueError("its checksum differs")
    end = data.find(b"\n", start, start + _MOST_HEADER_BYTES)
    header = json.loads(data[start:end])
    if header["key"] != key:
        raise ValueError("it was made from something else")
    arrays, at = {}, end + 1
    for name, (kind, shape) in header["arrays"].items():
        if kind not in _TYPES:
            raise ValueError(f"{name} is of type {kind}")
        count = math.prod(shape)
        arrays[name] = np.frombuffer(data, kind, count, at).reshape(shape).copy()
        at += count * np.dtype(kind).itemsize
    if at != len(data):
        raise ValueError("it is longer than its arrays")
    return arrays
