"""Folder -> the files below it, through links too, but never out to the whole machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from vertloc.errors import CohortError

logger = logging.getLogger(__name__)

_MOST_FILES = 5_000_000
_SYSTEM_FOLDERS = frozenset(("/proc", "/sys", "/dev", "/run"))


def files_below(folder: Path) -> list[Path]:
    """List the files below a folder, through links too; names starting with a dot are passed over.

    A link that leads to a folder above this one, to the root of the file system say, or to the system's own folders is
    not followed, and a warning says so. Raises CohortError for more files than any data set has.
    """
    found: list[Path] = []
    visited: set[str] = set()
    root = os.path.realpath(folder)
    for below, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(below)
        if real in visited:  # a link back up, or a second way to the same folder
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = [name for name in sorted(subfolders) if _is_entered(below, name, root)]
        found += [Path(below) / name for name in names if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise CohortError(f"{folder}: more than {_MOST_FILES} files; name the data folders themselves")
    return found


def _is_entered(below: str, name: str, root: str) -> bool:
    if name.startswith("."):
        return False
    path = Path(below) / name
    if not path.is_symlink():
        return True
    real = os.path.realpath(path)
    is_above = root == real or root.startswith(real.rstrip("/\\") + os.sep)
    is_system = real in _SYSTEM_FOLDERS or any(real.startswith(f"{system}/") for system in _SYSTEM_FOLDERS)
    if (is_above and root != real) or is_system:
        logger.warning("%s: this link leads to %s and is not followed", path, real)
        return False
    return True
