"""Image file -> isotropic volume, kept on disk so that a second training does not read and resample everything again.

A cached volume is found by what it was made from: path, size and time stamp of every file of the image, the settings of
the preprocessing, and the version of the cache. Whatever is wrong with a cached file, the image is read again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Grid
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import image_files, read_image
from vertloc.stages.preprocess import IsotropicVolume, PreprocessSettings, preprocess

logger = logging.getLogger(__name__)

_VERSION = 1


def read_preprocessed(
    path: Path, settings: PreprocessSettings, cache: Path | None = None
) -> tuple[IsotropicVolume, Grid]:
    """Read a scan and bring it to its isotropic grid; also return its stored grid, for points in the local frame.

    cache : folder for cached volumes, made if it does not exist; None: no cache
    Raises ImageError for an image that cannot be read.
    """
    if cache is None:
        return _read(path, settings)
    cached = cache / f"{_key(path, settings)}.npz"
    if cached.exists():
        try:
            return _load(cached)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s: the cached volume of %s is made anew: %s", cached, path, error)
    volume, grid = _read(path, settings)
    _save(volume, grid, cached)
    return volume, grid


def _read(path: Path, settings: PreprocessSettings) -> tuple[IsotropicVolume, Grid]:
    volume = read_image(path)
    return preprocess(volume, settings), volume.grid


def _key(path: Path, settings: PreprocessSettings) -> str:
    files = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in image_files(path)]
    record = json.dumps([_VERSION, files, asdict(settings)], sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()


def _save(volume: IsotropicVolume, stored: Grid, path: Path) -> None:
    out = io.BytesIO()
    np.savez(out, voxels=volume.voxels, grids=np.stack([_as_numbers(volume.grid), _as_numbers(stored)]))
    write_bytes_atomically(path, out.getvalue())


def _load(path: Path) -> tuple[IsotropicVolume, Grid]:
    """Raise ValueError or KeyError for what `_save` would not write."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        voxels, grids = arrays["voxels"], arrays["grids"]
    if voxels.dtype != np.int16 or voxels.ndim != 3 or grids.shape != (2, 18):
        raise ValueError(f"found {voxels.dtype} voxels of shape {voxels.shape} and grids of shape {grids.shape}")
    grid, stored = _from_numbers(grids[0]), _from_numbers(grids[1])
    if grid.shape != voxels.shape:
        raise ValueError(f"found voxels of shape {voxels.shape} for a grid of shape {grid.shape}")
    return IsotropicVolume(np.ascontiguousarray(voxels), grid), stored


def _as_numbers(grid: Grid) -> NDArray[np.float64]:
    return np.array([*grid.shape, *grid.spacing_mm, *grid.origin_mm, *grid.direction], dtype=np.float64)


def _from_numbers(numbers: NDArray[np.float64]) -> Grid:
    values = [float(number) for number in numbers]
    z, y, x = (int(value) for value in values[:3])
    sx, sy, sz, ox, oy, oz = values[3:9]
    return Grid((z, y, x), (sx, sy, sz), (ox, oy, oz), tuple(values[9:]))
