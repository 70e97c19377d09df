"""The one choice of numba options for all kernels, and where their compiled code is kept.

Numba keeps compiled code by the file of each function alone: a kernel that calls a kernel of another file would go on
running the old callee after that file has changed. Here the code is kept in a folder named after the sources of all
kernels, so that a change to any of them compiles all of them anew.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_config: Any = numba.config

logger = logging.getLogger(__name__)


def kernel(function: Function) -> Function:
    """Compile a function: cached on disk, without the interpreter lock, without fastmath."""
    place = _place_for(Path(function.__code__.co_filename).parent)
    with _numba_cache(place):
        compiled: Any = numba.njit(cache=place is not None, nogil=True, error_model="numpy")(function)
    return cast(Function, compiled)


def sources_key(folder: Path) -> str:
    """Name for the compiled code of a folder's kernels: a checksum of their sources and of those in this folder."""
    digest = hashlib.sha256()
    for path in sorted({*Path(__file__).parent.glob("*.py"), *folder.glob("*.py")}):
        digest.update(f"{path.name}\0".encode("utf-8", "surrogateescape"))
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _place_for(folder: Path) -> Path | None:
    """Find a writable folder for the compiled code of a folder's kernels; None, with a warning, if there is none."""
    if not folder.is_dir():  # sources inside an archive: nothing tells when they change
        return None
    name = f"vertloc-{sources_key(folder)}"
    for place in _places(folder):
        if _is_writable(place / name):
            return place / name
    private = _private_temporary_folder()
    if private is not None and _is_writable(private / name):
        _warn_once(f"compiled kernels are kept in {private}")
        return private / name
    _warn_once("kernels are compiled anew in every run, which takes a while")
    return None


def _places(folder: Path) -> Iterator[Path]:
    """Yield where compiled code may be kept: numba's own order."""
    if _config.CACHE_DIR:
        yield Path(_config.CACHE_DIR)
    yield folder / "__pycache__"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - keeps "~" if homeless
    if os.path.isabs(home):  # noqa: PTH117
        yield Path(home) / "vertloc"


def _is_writable(folder: Path) -> bool:
    """Make a folder and try: permissions alone do not tell about read-only mounts and full disks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private_temporary_folder() -> Path | None:
    """Make the user's own folder among the temporary files: what is loaded from there runs as code."""
    if not hasattr(os, "getuid"):
        return None
    try:
        folder = Path(tempfile.gettempdir()) / f"vertloc-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if is_own else None


@functools.cache
def _warn_once(what: str) -> None:
    logger.warning("no writable place for compiled kernels: %s; NUMBA_CACHE_DIR names another place", what)


@contextmanager
def _numba_cache(place: Path | None) -> Iterator[None]:
    """Point numba at a folder while one function is decorated; other users of numba in this process keep theirs."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(place or before)
    try:
        yield
    finally:
        _config.CACHE_DIR = before
