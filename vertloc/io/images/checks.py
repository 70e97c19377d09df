"""What every image header must pass before anything is allocated: numbers that are numbers, sizes of a patient.

A header from a stranger may ask for any size. What cannot be a CT scan of a patient on a table is refused here, in the
words of the file, for all formats alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid

LARGEST_IMAGE_BYTES = 8 * 2**30
"""Larger images are refused: a whole body of 512 x 512 x 4000 int16 voxels has 2 GiB."""

_MOST_DIMENSIONS = 16
# Largest difference between an entry of a direction matrix and the nearest rotation's: three decimals leave 0.001.
_LARGEST_ROUNDING = 2e-3
# Single precision, as NIfTI has it, stays below these; the first moves nothing, the second is not worth a line.
_INVISIBLE_ROUNDING, _SILENT_ROUNDING = 1e-6, 1e-4


def numbers(path: Path, key: str, text: str, n: int | None = None) -> tuple[float, ...]:
    """Read numbers parted by white space; ImageError if one is no number, or there are not `n` of them."""
    try:
        # Python alone reads 1_0 and digits of other scripts as numbers.
        values = tuple(float(word) for word in text.replace("_", "?").encode("ascii").split())
    except ValueError:
        raise ImageError(f"{path}: expected numbers for {key}, got {text[:80]!r}") from None
    if n is not None and len(values) != n:
        raise ImageError(f"{path}: expected {n} numbers for {key}, got {text[:80]!r}")
    return values


def whole_numbers(path: Path, key: str, text: str, n: int | None = None) -> tuple[int, ...]:
    """Read whole numbers parted by white space; ImageError as for `numbers`."""
    values = numbers(path, key, text, n)
    if not all(math.isfinite(v) and v == int(v) for v in values):
        raise ImageError(f"{path}: expected whole numbers for {key}, got {text[:80]!r}")
    return tuple(int(v) for v in values)


def n_dimensions(path: Path, key: str, text: str) -> int:
    """Read the number of dimensions; ImageError if no image has so many."""
    (n,) = whole_numbers(path, key, text, 1)
    if not 1 <= n <= _MOST_DIMENSIONS:
        raise ImageError(f"{path}: expected a 3-D volume, got {key} {n:.6g}")
    return n


def checked_size(path: Path | str, size: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, int, int]:
    """Return (x, y, z) if that can be the size of a CT volume; trailing axes of size 1 are one time point and dropped.

    Raises ImageError for other dimensions, an empty axis, or more than LARGEST_IMAGE_BYTES.
    """
    n = len(size)
    while n > 3 and size[n - 1] == 1:
        n -= 1
    if n != 3:
        raise ImageError(f"{path}: expected a 3-D volume, got {n} dimensions of size {tuple(size)}")
    x, y, z = (int(length) for length in size[:3])
    if min(x, y, z) < 1:
        raise ImageError(f"{path}: expected three positive sizes, got {(x, y, z)}")
    n_bytes = x * y * z * dtype.itemsize
    if n_bytes > LARGEST_IMAGE_BYTES:
        raise ImageError(
            f"{path}: the header asks for {(x, y, z)} voxels, {n_bytes / 2**30:.1f} GiB;"
            f" at most {LARGEST_IMAGE_BYTES // 2**30} GiB are read"
        )
    return x, y, z


def checked_spacing(path: Path | str, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Return three positive spacings; raises ImageError for anything else."""
    if len(spacing_mm) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing_mm):
        raise ImageError(f"{path}: expected three positive spacings in mm, got {tuple(spacing_mm)}")
    x, y, z = (float(s) for s in spacing_mm)
    return x, y, z


def make_grid(
    path: Path | str,
    size: tuple[int, int, int],
    spacing_mm: Sequence[float],
    origin_mm: Sequence[float],
    direction: ArrayLike,
) -> tuple[Grid, tuple[str, ...]]:
    """Build the grid of a header, LPS, and say what is odd about it.

    size, spacing_mm, origin_mm : (x, y, z); direction : (3, 3), columns are the world directions of x, y, z
    returns : the grid, with the nearest orthonormal directions if they were rounded, and the warnings
    Raises ImageError, naming the file, for one that has no grid.
    """
    spacing = checked_spacing(path, spacing_mm)
    # Adding 0 turns -0 into 0.
    x, y, z = (float(value) + 0.0 for value in origin_mm)
    matrix = np.array(direction, dtype=np.float64).reshape(3, 3) + 0.0
    matrix, warnings = _orthonormal(path, matrix)
    try:
        return Grid((size[2], size[1], size[0]), spacing, (x, y, z), tuple(matrix.ravel().tolist())), warnings
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from None


def column_lengths(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths of the columns, infinite where the numbers are too large to be squared."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.linalg.norm(matrix, axis=0))


def _orthonormal(path: Path | str, matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the nearest orthonormal directions if `matrix` is them but for rounding, else say what it is."""
    lengths = column_lengths(matrix)
    if not np.isfinite(matrix).all() or np.abs(lengths - 1).max() > _LARGEST_ROUNDING:
        raise ImageError(f"{path}: expected orthonormal directions, got axes of length {_shown(lengths)}")
    left, _, right = np.linalg.svd(matrix)
    nearest = left @ right
    rounding = float(np.abs(matrix - nearest).max())
    if rounding > _LARGEST_ROUNDING:
        cosines = (matrix.T @ matrix)[[0, 0, 1], [1, 2, 2]]
        worst = int(np.argmax(np.abs(cosines)))
        axes = ("x and y", "x and z", "y and z")[worst]
        raise ImageError(
            f"{path}: expected orthonormal directions, but the array axes {axes} are"
            f" {np.degrees(np.arccos(np.clip(cosines[worst], -1, 1))):.2f} degrees apart: sheared slices, as a tilted"
            " gantry makes them; resample the scan to an upright grid first (dcm2niix does so for CT)"
        )
    if rounding <= _INVISIBLE_ROUNDING:
        return matrix, ()
    warnings: tuple[str, ...] = ()
    if rounding > _SILENT_ROUNDING:
        warnings = (f"directions are rounded, off by up to {rounding:.2g}; the nearest rotation is taken",)
    return nearest + 0.0, warnings


def _shown(values: ArrayLike) -> str:
    return ", ".join(f"{value:.6g}" for value in np.asarray(values).ravel())
