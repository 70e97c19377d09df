"""The versions that results depend on, for manifests and scores."""

from __future__ import annotations

import functools
import platform
import sys
from importlib import metadata

import vertloc

_LIBRARIES = ("numpy", "scipy", "numba", "scikit-learn", "SimpleITK")


def versions() -> dict[str, str]:
    """Versions of the package, the interpreter and the libraries that results depend on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    return {
        "vertloc": vertloc.__version__,
        "python": sys.version.split()[0],
        **{name: _version(name) for name in _LIBRARIES},
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "unknown"
