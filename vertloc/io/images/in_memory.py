"""Images that other libraries hold in memory -> Volume; no library is imported that the image did not come from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images.checks import checked_size, column_lengths, make_grid
from vertloc.io.images.image_file import check_finite
from vertloc.volume import Volume

if TYPE_CHECKING:
    import SimpleITK


class NibabelImage(Protocol):
    """What of a nibabel image is used.

    affine : (4, 4), from indices (i, j, k) to RAS mm; dataobj : (i, j, k) intensities, scaled when turned into an array
    """

    @property
    def affine(self) -> NDArray[np.float64]:
        """From (i, j, k, 1) to (right, anterior, superior, 1) mm."""

    @property
    def dataobj(self) -> ArrayLike:
        """The intensities, maybe still on disk."""


ImageInMemory: TypeAlias = Union[Volume, NibabelImage, NDArray[Any], "SimpleITK.Image"]
"""An image that needs no reading; an array comes with a grid."""


def volume_in_memory(image: ImageInMemory, grid: Grid | None = None, name: str = "") -> Volume:
    """Turn an image in memory into a Volume; a Volume is passed through.

    grid : of an array, and only of an array
    Raises ImageError for what cannot be a CT scan, TypeError for what is none of these.
    """
    if isinstance(image, np.ndarray):
        if grid is None:
            raise TypeError("an array does not say where its voxels are: give its grid too")
        return _volume_from_array(image, grid, name)
    if grid is not None:
        raise TypeError(f"a grid belongs to an array, and {type(image).__name__} has one of its own")
    if isinstance(image, Volume):
        return image
    sitk = sys.modules.get("SimpleITK")
    if sitk is not None and isinstance(image, sitk.Image):
        return volume_from_sitk(image, name)
    if hasattr(image, "affine") and hasattr(image, "dataobj"):
        return volume_from_nibabel(image, name)
    raise TypeError(
        "expected a path, a Volume, an array with a grid, or an image of SimpleITK or nibabel,"
        f" got {type(image).__name__}"
    )


def volume_from_sitk(image: SimpleITK.Image, name: str = "") -> Volume:
    """Turn a SimpleITK image into a Volume that owns its voxels; later changes of the image do not show.

    Raises ImageError for what `read_image` would refuse, TypeError for what is no SimpleITK image.
    """
    import SimpleITK as sitk  # noqa: N813 - its import takes 0.2 s and is needed only here

    if not isinstance(image, sitk.Image):
        raise TypeError(f"expected a SimpleITK image, got {type(image).__name__}")
    where = name or "image"
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError(f"{where}: expected one value a voxel, got {image.GetNumberOfComponentsPerPixel()}")
    n = image.GetDimension()
    # A copy: a view would point into freed memory once the image is collected.
    voxels = sitk.GetArrayFromImage(image)
    size = checked_size(where, image.GetSize(), voxels.dtype)
    direction = np.array(image.GetDirection()).reshape(n, n)[:3, :3]
    grid, warnings = make_grid(where, size, image.GetSpacing()[:3], image.GetOrigin()[:3], direction)
    voxels = voxels.reshape(grid.shape)
    check_finite(voxels, where)
    return Volume(voxels, grid, name, warnings)


def volume_from_nibabel(image: NibabelImage, name: str = "") -> Volume:
    """Turn a nibabel image, RAS with its axes in the order x, y, z, into a Volume that owns its voxels.

    Raises ImageError for what `read_image` would refuse.
    """
    where = name or "image"
    stored = np.asanyarray(image.dataobj)
    affine = np.asarray(image.affine, dtype=np.float64)
    size = checked_size(where, stored.shape, stored.dtype)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ImageError(f"{where}: expected a finite 4 x 4 affine, got {affine.tolist()}")
    axes = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, :3]
    spacing = column_lengths(axes)
    origin = affine[:3, 3] * (-1.0, -1.0, 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        directions = axes / spacing
    grid, warnings = make_grid(where, size, spacing.tolist(), origin.tolist(), directions)
    voxels = np.ascontiguousarray(stored.reshape(size).T)
    check_finite(voxels, where)
    return Volume(voxels if voxels.base is None else voxels.copy(), grid, name, warnings)


def _volume_from_array(voxels: NDArray[Any], grid: Grid, name: str) -> Volume:
    where = name or "array"
    if voxels.shape != grid.shape:
        raise ImageError(f"{where}: array of shape {voxels.shape} on a grid of shape {grid.shape}, both (z, y, x)")
    check_finite(voxels, where)
    return Volume(voxels, grid, name)
