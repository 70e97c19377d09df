"""Image file <-> Volume; SimpleITK behind one door, and every header checked before it is trusted.

Formats: MetaImage (`.mhd` + `.raw`, `.mha`), NIfTI (`.nii`, `.nii.gz`) and NRRD with its voxels in the same file. The
array keeps its stored order, number type and grid; nothing is resampled or reoriented here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.atomic import temporary_beside, write_bytes_atomically
from vertloc.io.headers import StoredHeader, check_header
from vertloc.io.metaimage import format_meta_header, read_meta_header
from vertloc.io.nifti import read_nifti_header
from vertloc.io.nrrd import read_nrrd_header
from vertloc.io.stored_voxels import check_stored_length, read_stored_voxels
from vertloc.volume import Volume

IMAGE_SUFFIXES: tuple[str, ...] = (".mhd", ".mha", ".nii", ".nii.gz", ".nrrd")
"""Suffixes of the images that are read and written, lower case."""

# Naming the reader keeps SimpleITK from trying every other one on a file that only has the right suffix.
_SIMPLEITK_IO = {
    ".mhd": "MetaImageIO",
    ".mha": "MetaImageIO",
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
}


def is_image_path(path: Path) -> bool:
    """Tell whether the name of a file, in any case, has one of `IMAGE_SUFFIXES`."""
    return _suffix(path) is not None


def scan_name(path: Path) -> str:
    """Return the scan identifier: the file name without its image suffix, if it has one (`.nii.gz` is one)."""
    suffix = _suffix(path)
    return path.name[: -len(suffix)] if suffix else path.name


def read_image(path: str | Path) -> Volume:
    """Read a CT scan; its name is the file name without suffix.

    Raises ImageError for a file that is missing, damaged, truncated or no 3-D volume of one finite real number a
    voxel on a grid with positive spacing and orthonormal directions.
    """
    path = Path(path)
    with _system_errors_as_image_errors(path):
        header, grid = _checked_header(path)
        grid = grid or _grid_from_simpleitk(path, header)
        if header.is_plain:
            voxels = read_stored_voxels(path, header)
            _check_voxels(voxels, str(path))
            return Volume(voxels, grid, scan_name(path))
        if header.compression in ("gzip", "zlib"):  # SimpleITK would not notice damage
            read_stored_voxels(path, header)
    return _volume(_asked(path, _reader(path).Execute), scan_name(path), str(path))


def read_grid(path: str | Path) -> Grid:
    """Read only the header of a scan: its stored grid.

    Raises ImageError for whatever `read_image` would refuse without looking at the voxels, truncated files included.
    """
    path = Path(path)
    with _system_errors_as_image_errors(path):
        header, grid = _checked_header(path)
        check_stored_length(path, header)
    return grid or _grid_from_simpleitk(path, header)


def image_files(path: str | Path) -> tuple[Path, ...]:
    """Return the files of an image: itself, and the file with its voxels if that is another one. Raises ImageError."""
    path = Path(path)
    with _system_errors_as_image_errors(path):
        header, _ = _checked_header(path)
    return tuple(dict.fromkeys((path, header.data_path)))


def volume_from_sitk(image: Any, name: str = "") -> Volume:
    """Turn a SimpleITK image into a Volume that owns its voxels; later changes of the image do not show.

    Raises ImageError for what `read_image` would refuse, TypeError for what is no SimpleITK image.
    """
    sitk = _simpleitk()
    if not isinstance(image, sitk.Image):
        raise TypeError(f"expected a SimpleITK image, got {type(image).__name__}")
    return _volume(image, name, name or "image")


def write_image(volume: Volume, path: str | Path) -> None:
    """Write a volume in the format of the suffix of `path`; the same volume always gives the same bytes.

    `.mhd` writes `<name>.raw` beside it; both appear whole, the header last. Parent folders are created.
    Raises ImageError for another suffix or a name that SimpleITK refuses, ValueError for a number type that the format
    does not have.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix is None:
        raise ImageError(f"{path}: expected a name ending in {', '.join(IMAGE_SUFFIXES)}")
    if suffix == ".mhd":
        _write_mhd(volume, path)
    elif suffix == ".mha":
        header = format_meta_header(volume.grid, volume.voxels.dtype, "LOCAL")
        write_bytes_atomically(path, header + _little_endian(volume.voxels).tobytes())
    else:
        _write_with_simpleitk(volume, path, compress=suffix == ".nii.gz")


def _checked_header(path: Path) -> tuple[StoredHeader, Grid | None]:
    """Check what can be known without SimpleITK; returns the grid too if no SimpleITK is needed for it."""
    suffix = _suffix(path)
    if suffix is None:
        raise ImageError(f"{path}: expected an image ending in {', '.join(IMAGE_SUFFIXES)}")
    if path.is_dir():
        raise ImageError(f"{path}: expected an image file, got a folder")
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    if suffix in (".mhd", ".mha"):
        meta = read_meta_header(path)
        check_header(path, meta.stored)
        return meta.stored, meta.grid() if meta.stored.is_plain else None
    header = read_nrrd_header(path) if suffix == ".nrrd" else read_nifti_header(path)
    check_header(path, header)
    return header, None


@contextmanager
def _system_errors_as_image_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _simpleitk() -> Any:
    # Its import takes 0.2 s and is needed only here. ITK's warnings go straight to the console; the ones that matter
    # are checked above.
    import SimpleITK

    sitk: Any = SimpleITK
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk


def _reader(path: Path) -> Any:
    reader = _simpleitk().ImageFileReader()
    reader.SetImageIO(_SIMPLEITK_IO[_suffix(path) or ""])
    reader.SetFileName(str(path))
    return reader


def _asked(path: Path, question: Callable[[], Any]) -> Any:
    """Return SimpleITK's answer, or its complaint without the source files and addresses in it."""
    try:
        return question()
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        complaint = (
            re.sub(r"^(ITK ERROR|sitk::ERROR): (\w+\(0x[0-9a-f]+\): )?", "", lines[-1]) if lines else "no reason"
        )
        raise ImageError(f"{path}: SimpleITK refuses it: {complaint}") from None


def _grid_from_simpleitk(path: Path, header: StoredHeader) -> Grid:
    reader = _reader(path)
    _asked(path, reader.ReadImageInformation)
    if reader.GetNumberOfComponents() != 1:
        raise ImageError(f"{path}: expected one value a voxel, got {reader.GetNumberOfComponents()}")
    grid = _grid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection(), str(path))
    # What is checked must be what is used. NIfTI may count in other units than mm.
    is_same = _SIMPLEITK_IO[_suffix(path) or ""] == "NiftiImageIO" or np.allclose(
        grid.spacing_mm, header.spacing_mm, rtol=1e-5, atol=0
    )
    if grid.shape[::-1] != header.size or not is_same:
        raise ImageError(
            f"{path}: the header says {header.size} voxels of {header.spacing_mm} mm,"
            f" but SimpleITK reads {grid.shape[::-1]} of {grid.spacing_mm} mm"
        )
    return grid


def _volume(image: Any, name: str, where: str) -> Volume:
    sitk = _simpleitk()
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError(f"{where}: expected one value a voxel, got {image.GetNumberOfComponentsPerPixel()}")
    grid = _grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), where)
    # A copy: a view would point into freed memory once the image is collected.
    voxels = sitk.GetArrayFromImage(image).reshape(grid.shape)
    _check_voxels(voxels, where)
    return Volume(voxels, grid, name)


def _grid(size: Any, spacing: Any, origin: Any, direction: Any, where: str) -> Grid:
    n = len(size)
    if n < 3 or any(length != 1 for length in size[3:]):
        raise ImageError(f"{where}: expected a 3-D volume, got {n} dimensions of size {tuple(size)}")
    x, y, z = (int(length) for length in size[:3])
    # Adding 0 turns ITK's -0 into 0.
    matrix = np.array(direction, dtype=np.float64).reshape(n, n)[:3, :3] + 0.0
    start = np.array(origin[:3], dtype=np.float64) + 0.0
    try:
        return Grid((z, y, x), tuple(spacing[:3]), tuple(start.tolist()), tuple(matrix.ravel().tolist()))
    except ValueError as error:
        raise ImageError(f"{where}: {error}") from None


def _check_voxels(voxels: NDArray[Any], where: str) -> None:
    if voxels.dtype.kind not in "iuf":
        raise ImageError(f"{where}: expected real numbers, got voxels of type {voxels.dtype}")
    # NaN passes through both, so no mask of the image's size is needed.
    if voxels.dtype.kind == "f" and not (np.isfinite(voxels.min()) and np.isfinite(voxels.max())):
        n_bad = int(voxels.size - np.isfinite(voxels).sum())
        raise ImageError(f"{where}: {n_bad} of {voxels.size} voxels are not finite numbers")


def _write_mhd(volume: Volume, path: Path) -> None:
    raw = path.with_suffix(".raw")
    header = format_meta_header(volume.grid, volume.voxels.dtype, raw.name)
    with ExitStack() as stack:  # unwinds in reverse: the raw file is in place before the header that names it
        temporary_header = stack.enter_context(temporary_beside(path))
        temporary_raw = stack.enter_context(temporary_beside(raw))
        _little_endian(volume.voxels).tofile(temporary_raw)
        temporary_header.write_bytes(header)


def _little_endian(voxels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("<"))


def _write_with_simpleitk(volume: Volume, path: Path, compress: bool) -> None:
    sitk = _simpleitk()
    voxels = np.ascontiguousarray(volume.voxels, dtype=volume.voxels.dtype.newbyteorder("="))
    try:
        image = sitk.GetImageFromArray(voxels)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: cannot hold voxels of type {voxels.dtype}") from error
    image.SetSpacing(volume.grid.spacing_mm)
    image.SetOrigin(volume.grid.origin_mm)
    image.SetDirection(volume.grid.direction)
    with temporary_beside(path) as temporary:
        _asked(path, lambda: sitk.WriteImage(image, str(temporary), compress))


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.endswith(s) and name != s), None)
