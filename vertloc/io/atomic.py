"""Bytes -> a file that is either whole or not there: written beside its target under another name, then renamed."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vertloc.errors import OutputError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"\.vertloc-(?P<where>[0-9a-f]{8})-(?P<pid>[0-9]{1,10})-[0-9a-f]{8}\..*", re.DOTALL)
# The rest of a temporary name, and characters of up to four bytes, must fit into the 255 bytes of a file name.
_KEPT_CHARACTERS = 50


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give a name in the folder of `path`; what is written there replaces `path` when the block ends well.

    Parent folders are created. The name starts with a dot and keeps the suffixes of `path`, from which writers choose
    the format. If the block raises, the temporary file is removed and `path` stays as it was.
    Raises OutputError, naming `path`, if the folder cannot be made, the block raises OSError, or wrote nothing.
    """
    token = f"{_where()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".vertloc-{token}.{path.name[-_KEPT_CHARACTERS:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the atomic rename is meant, also over an existing file
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # the folder may be gone; the first error is the one to tell
            temporary.unlink(missing_ok=True)


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`; readers see the old file or the whole new one. Parent folders are created.

    The bytes are on the disk before the file takes its name, so that a power cut leaves the old file or the new one.
    Raises OutputError naming `path`.
    """
    with temporary_beside(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def remove_stale_temporaries(folder: Path) -> list[Path]:
    """Remove the temporary files that killed processes left in a folder, not below it; return what was removed.

    Only files that `temporary_beside` named, of this machine and of a process that runs no more. A folder that is not
    there, or cannot be read, has none.
    """
    removed = []
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - Path.iterdir would stat nothing either, but not sort
    except OSError:
        return []
    for name in names:
        match = _NAME.fullmatch(name)
        if match and match["where"] == _where() and not _is_running(int(match["pid"])):
            with suppress(OSError):
                (folder / name).unlink()
                removed.append(folder / name)
    if removed:
        logger.info("%s: removed %d unfinished files of a process that was killed", folder, len(removed))
    return removed


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


@functools.cache
def _where() -> str:
    """Name the place in which process numbers mean something: this host, and on it this container."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()}\0{space}".encode()).hexdigest()[:8]
