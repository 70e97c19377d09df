"""Image file -> isotropic volume, kept on disk so that a second training does not read and resample everything again.

A cached volume is found by what it was made from: path, size and time stamp of every file of the image, the settings of
the preprocessing, and the code that does it. Whatever is odd about a cached file, the volume is made anew; whatever is
wrong with the cache, the volume is made without it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vertloc import geometry
from vertloc.errors import OutputError
from vertloc.geometry import Grid
from vertloc.io.array_file import read_array_file, write_array_file
from vertloc.io.images import image_files, open_image
from vertloc.kernels import resample
from vertloc.stages import intensities, padding, resampling
from vertloc.stages import preprocess as preprocess_module
from vertloc.stages.preprocess import IsotropicVolume, PreprocessSettings, preprocess

logger = logging.getLogger(__name__)


def read_preprocessed(
    path: Path, settings: PreprocessSettings, cache: Path | None = None
) -> tuple[IsotropicVolume, Grid]:
    """Read a scan and bring it to its isotropic grid; also return its stored grid, for points in the local frame.

    cache : folder for cached volumes, made if it does not exist; None: no cache
    Raises ImageError for an image that cannot be read.
    """
    if cache is None:
        return _read(path, settings)
    key = _key(path, settings)
    cached = cache / f"{hashlib.sha256(key.encode()).hexdigest()}.vol"
    if cached.exists():
        try:
            return _load(cached, key)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("%s: the cached volume of %s is made anew: %s", cached, path, error)
    volume, grid = _read(path, settings)
    try:
        _save(volume, grid, cached, key)
    except OutputError as error:
        logger.warning("%s; going on without", error)
    return volume, grid


def _read(path: Path, settings: PreprocessSettings) -> tuple[IsotropicVolume, Grid]:
    image = open_image(path)
    return preprocess(image, settings), image.grid


def _key(path: Path, settings: PreprocessSettings) -> str:
    files = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in image_files(path)]
    return json.dumps([_code(), files, asdict(settings)], sort_keys=True)


@functools.cache
def _code() -> str:
    """Checksum of the sources that make an isotropic volume: a cache must not outlive a change of them."""
    digest = hashlib.sha256()
    for module in (geometry, resample, resampling, padding, intensities, preprocess_module):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _save(volume: IsotropicVolume, stored: Grid, path: Path, key: str) -> None:
    grids = [_as_numbers(grid) for grid in (volume.grid, stored, volume.tilted) if grid is not None]
    said = json.dumps({"warnings": volume.warnings, "are_hounsfield_units": volume.are_hounsfield_units})
    text = np.frombuffer(said.encode(), np.uint8)
    write_array_file(path, key, {"voxels": volume.voxels, "grids": np.stack(grids), "said": text})


def _load(path: Path, key: str) -> tuple[IsotropicVolume, Grid]:
    """Raise ValueError, KeyError or OSError for what `_save` did not write."""
    arrays = read_array_file(path, key)
    voxels, grids = arrays["voxels"], arrays["grids"]
    if voxels.dtype != np.int16 or voxels.ndim != 3 or grids.shape not in ((2, 18), (3, 18)):
        raise ValueError(f"found {voxels.dtype} voxels of shape {voxels.shape} and grids of shape {grids.shape}")
    grid, stored, *tilted = map(_from_numbers, grids)
    if grid.shape != voxels.shape:
        raise ValueError(f"found voxels of shape {voxels.shape} for a grid of shape {grid.shape}")
    said = json.loads(arrays["said"].tobytes())
    warnings, are_hounsfield_units = tuple(map(str, said["warnings"])), bool(said["are_hounsfield_units"])
    return IsotropicVolume(voxels, grid, tilted[0] if tilted else None, warnings, are_hounsfield_units), stored


def _as_numbers(grid: Grid) -> NDArray[np.float64]:
    return np.array([*grid.shape, *grid.spacing_mm, *grid.origin_mm, *grid.direction], dtype=np.float64)


def _from_numbers(numbers: NDArray[np.float64]) -> Grid:
    values = [float(number) for number in numbers]
    z, y, x = (int(value) for value in values[:3])
    sx, sy, sz, ox, oy, oz = values[3:9]
    return Grid((z, y, x), (sx, sy, sz), (ox, oy, oz), tuple(values[9:]))
