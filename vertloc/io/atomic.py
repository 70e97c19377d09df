"""Bytes -> a file that is either whole or not there: written beside its target under another name, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give a name in the folder of `path`; what is written there replaces `path` when the block ends well.

    Parent folders are created. The name starts with a dot and keeps the suffixes of `path`, from which writers choose
    the format. If the block raises, the temporary file is removed and `path` stays as it was.
    Raises FileNotFoundError if the block wrote nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the atomic rename is meant, also over an existing file
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`; readers see the old file or the whole new one. Parent folders are created."""
    with temporary_beside(path) as temporary:
        temporary.write_bytes(data)
