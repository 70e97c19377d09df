"""The one choice of numba options for all kernels, and where their compiled code is kept.

Numba keeps compiled code by the file of each function alone: a kernel that calls a kernel of another file would go on
running the old callee after that file has changed. Here the code is kept in a folder named after the sources of all
kernels, so that a change to any of them compiles all of them anew.

Numba itself is imported at the first call of a kernel: models are loaded and settings are checked without it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

_making = threading.Lock()


def kernel(function: Function) -> Function:
    """Compile a function at its first call: cached on disk, without the interpreter lock, without fastmath."""
    return cast(Function, _Kernel(function))


class _Kernel:
    """A function, and its compiled twin once somebody asks for that."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)

    @functools.cached_property
    def compiled(self) -> Any:
        """What numba makes of the function."""
        import numba

        function: Any = self.__wrapped__  # type: ignore[attr-defined]
        with _making:
            place = _place_for(Path(function.__code__.co_filename).parent)
            with _numba_cache(place):
                return numba.njit(cache=place is not None, nogil=True, error_model="numpy")(function)

    @property
    def _numba_type_(self) -> Any:
        """Numba asks for this when a kernel that calls this one is compiled."""
        return self.compiled._numba_type_


@kernel
def _do_nothing() -> None:
    pass


def start_kernels() -> None:
    """Import numba, and make ready what the first kernel would wait for: for a program that is ours alone.

    Numba looks for SciPy's linear algebra, whose import takes as long as all of numba's. No kernel makes use of it, so
    it is hidden for the moment; compiled functions that do could not be compiled in this process any more.
    """
    is_hidden = "scipy.linalg" not in sys.modules
    if is_hidden:
        sys.modules["scipy.linalg"] = None  # type: ignore[assignment]
    try:
        _do_nothing()
    finally:
        if is_hidden:
            del sys.modules["scipy.linalg"]


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
    import numba

    config: Any = numba.config
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR)
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
    import numba

    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(place or before)
    try:
        yield
    finally:
        config.CACHE_DIR = before
