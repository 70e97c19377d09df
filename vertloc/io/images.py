"""Image file <-> Volume; SimpleITK behind one door, and every header checked before it is trusted.

Formats: MetaImage (`.mhd` + `.raw`, `.mha`), NIfTI (`.nii`, `.nii.gz`) and NRRD with its voxels in the same file. The
array keeps its stored order, number type and grid; nothing is resampled or reoriented here.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.atomic import temporary_beside, write_bytes_atomically
from vertloc.io.headers import check_header
from vertloc.io.metaimage import MetaHeader, format_meta_header, read_meta_header, read_plain
from vertloc.io.nifti import read_nifti_header
from vertloc.io.nrrd import read_nrrd_header
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
    """Return the scan identifier: the file name without its image suffix (`.nii.gz` is one suffix)."""
    suffix = _suffix(path)
    return path.name[: -len(suffix)] if suffix else path.stem


def read_image(path: str | Path) -> Volume:
    """Read a CT scan; its name is the file name without suffix.

    Raises ImageError for a file that is missing, damaged, truncated or no 3-D volume of one finite real number a
    voxel on a grid with positive spacing and orthonormal directions.
    """
    path = Path(path)
    header = _checked_header(path)
    if header is not None and header.is_plain:
        grid = header.grid()
        voxels = read_plain(header)
        _check_voxels(voxels, str(path))
        return Volume(voxels, grid, scan_name(path))
    reader = _reader(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ImageError(f"{path}: {_last_line(error)}") from None
    return _volume(image, scan_name(path), str(path))


def read_grid(path: str | Path) -> Grid:
    """Read only the header of a scan: its stored grid.

    Raises ImageError for whatever `read_image` would refuse without looking at the voxels.
    """
    path = Path(path)
    header = _checked_header(path)
    if header is not None and header.is_plain:
        return header.grid()
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ImageError(f"{path}: {_last_line(error)}") from None
    if reader.GetNumberOfComponents() != 1:
        raise ImageError(f"{path}: expected one value a voxel, got {reader.GetNumberOfComponents()}")
    return _grid(
        reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection(), where=str(path)
    )


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
    Raises ImageError for another suffix, ValueError for a number type that the format does not have.
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


def _checked_header(path: Path) -> MetaHeader | None:
    """Check what can be known without SimpleITK; returns the header of a MetaImage, which alone is used further."""
    suffix = _suffix(path)
    if suffix is None:
        raise ImageError(f"{path}: expected an image ending in {', '.join(IMAGE_SUFFIXES)}")
    if path.is_dir():
        raise ImageError(f"{path}: expected an image file, got a folder")
    if not path.is_file():
        raise ImageError(f"{path}: no such file")
    try:
        if suffix in (".mhd", ".mha"):
            header = read_meta_header(path)
            check_header(path, header.stored)
            return header
        check_header(path, read_nrrd_header(path) if suffix == ".nrrd" else read_nifti_header(path))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from None
    return None


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
    matrix = np.array(direction, dtype=np.float64).reshape(n, n)[:3, :3]
    x, y, z = (int(length) for length in size[:3])
    try:
        return Grid((z, y, x), tuple(spacing[:3]), tuple(origin[:3]), tuple(float(v) for v in matrix.ravel()))
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
        sitk.WriteImage(image, str(temporary), compress)


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if name.endswith(s) and name != s), None)


def _last_line(error: Exception) -> str:
    """Return what ITK has to say without the source files and addresses before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "SimpleITK cannot read it: " + " ".join(lines[-2:])
