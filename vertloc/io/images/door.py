"""Image file <-> Volume, whatever the format: the calls that the rest of the package makes.

The array keeps its stored order, number type and grid; nothing is resampled or reoriented here.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images.dicom import DicomSeries, open_dicom
from vertloc.io.images.image_file import ImageFile, system_errors_as_image_errors
from vertloc.io.images.in_memory import ImageInMemory, volume_in_memory
from vertloc.io.images.registry import DICOM, StoredImage, checked_format, expected_suffixes, format_of, scan_name
from vertloc.volume import Scan, Volume

logger = logging.getLogger(__name__)


def open_image(path: str | Path, series: str | None = None) -> StoredImage:
    """Read and check the header of a scan; its voxels are read later, whole or a few slices at a time.

    path : a file, or a folder or zip of DICOM files; of one DICOM file, its series is meant
    series : number or UID of the DICOM series to take; None: the largest of CT
    Logs a warning for each oddity that is not refused. Raises ImageError for a file that is missing or damaged, or no
    3-D volume of one real number a voxel on a grid with positive spacing and orthonormal directions.
    """
    image = open_silently(Path(path), series)
    for warning in image.warnings:
        logger.warning("%s: %s", image.path, warning)
    return image


def open_silently(path: Path, series: str | None = None) -> StoredImage:
    """Do as `open_image`, without a word about oddities: they were said before, or will be."""
    with system_errors_as_image_errors(path):
        kind = checked_format(path)
        image = open_dicom(path, series) if kind is DICOM else kind.open(path)
        warnings = (*image.warnings, *image.check_data())
    return replace(image, name=image.name or scan_name(path), warnings=warnings)


def read_image(path: str | Path, series: str | None = None) -> Volume:
    """Read a CT scan; its name is the file name without suffix, or made of the DICOM series.

    path, series : as for `open_image`
    Raises ImageError as `open_image` does, and for voxels that are truncated, damaged or not finite.
    """
    return read_voxels(open_image(path, series))


def read_voxels(image: StoredImage) -> Volume:
    """Read what has been opened. Raises ImageError for voxels that are truncated, damaged or not finite."""
    with system_errors_as_image_errors(image.path):
        return Volume(image.read(), image.grid, image.name, image.warnings)


def as_volume(image: str | Path | ImageInMemory, grid: Grid | None = None, name: str = "") -> Volume:
    """Read a path, or convert an image in memory.

    image : a path, a Volume, a SimpleITK image, a nibabel image, or an array (z, y, x) with its `grid`
    name : of a scan that has none of its own
    Raises ImageError for what cannot be a CT scan, TypeError for what is no image.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    return volume_in_memory(image, grid, name)


def as_scan(image: str | Path | StoredImage | ImageInMemory, grid: Grid | None = None, name: str = "") -> Scan:
    """Open a path, whose voxels are then read a few slices at a time, or convert an image; see `as_volume`.

    What has been opened already is passed through.
    """
    if isinstance(image, str | Path):
        return open_image(image)
    if isinstance(image, ImageFile | DicomSeries):
        return image
    return volume_in_memory(image, grid, name)


def read_grid(path: str | Path) -> Grid:
    """Read only the header of a scan: its stored grid.

    Raises ImageError for whatever `read_image` would refuse without looking at the voxels, truncated files included.
    """
    image = open_silently(Path(path))
    with system_errors_as_image_errors(image.path):
        image.check_length()
    return image.grid


def image_files(path: str | Path) -> tuple[Path, ...]:
    """Return the files of an image: itself, and the file with its voxels if that is another one. Raises ImageError."""
    return open_silently(Path(path)).files


def write_image(volume: Volume, path: str | Path) -> None:
    """Write a volume in the format of the suffix of `path`; the same volume always gives the same bytes.

    `.mhd` writes `<name>.raw` beside it; both appear whole, the header last. Parent folders are created.
    Raises ImageError for another suffix, ValueError for a number type that the format does not have.
    """
    path = Path(path)
    kind = format_of(path)
    if kind is None or kind.write is None:
        raise ImageError(f"{path}: expected a name ending in {expected_suffixes(writing=True)}")
    kind.write(volume, path)
