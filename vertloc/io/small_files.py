"""Path -> the bytes or the text of a small file; whatever could hang or fill the memory is refused.

Landmarks, fold files and settings are small regular files. A named pipe or a device under such a name would be waited
for without end, or read without end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vertloc.errors import VertlocError

LARGEST_SMALL_FILE = 1 << 20
"""Bytes."""


def read_small_file(path: Path, error: type[VertlocError], largest: int = LARGEST_SMALL_FILE) -> bytes:
    """Read a regular file of at most `largest` bytes.

    error : what is raised, with the path and the reason, for a file that is missing, unreadable, larger, or none at all
    """
    data = read_beginning(path, error, largest + 1)
    if len(data) > largest:
        raise error(f"{path}: expected a small text file, got more than {largest} bytes")
    return data


def read_beginning(path: Path, error: type[VertlocError], n_bytes: int = 1024) -> bytes:
    """Read at most the first `n_bytes` of a regular file; `error` as for `read_small_file`."""
    try:
        # Opening a pipe that nobody writes to must not wait; a regular file does not mind.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise error(f"{path}: cannot be read: expected a regular file, got a pipe, socket or device")
            return file.read(n_bytes)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror or problem}") from None
    except ValueError as problem:  # a path with a NUL in it
        raise error(f"{str(path)!r}: cannot be read: {problem}") from None


def read_small_text(path: Path, error: type[VertlocError], largest: int = LARGEST_SMALL_FILE) -> str:
    """Read a small UTF-8 file, with or without byte order mark; arguments and errors as for `read_small_file`."""
    data = read_small_file(path, error, largest)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise error(f"{path}: expected a text file, got binary data") from None
    if "\0" in text:
        raise error(f"{path}: expected a text file, got binary data")
    return text
