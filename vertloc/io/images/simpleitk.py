"""Volume -> the files that SimpleITK writes for us.

Files are not read with it: it repairs broken headers silently, fills what is missing of a damaged file with whatever
was in memory, and a file name that is not UTF-8 ends the process.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vertloc.errors import ImageError
from vertloc.io.atomic import temporary_beside
from vertloc.volume import Volume


def write_with_simpleitk(volume: Volume, path: Path) -> None:
    """Write a volume in the format of the suffix of `path`, packed if that ends in `.gz`.

    Raises ImageError for what SimpleITK refuses, ValueError for a number type that it does not have.
    """
    import SimpleITK as sitk  # noqa: N813 - its import takes 0.2 s and is needed only here

    voxels = np.ascontiguousarray(volume.voxels, dtype=volume.voxels.dtype.newbyteorder("="))
    try:
        image = sitk.GetImageFromArray(voxels)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: cannot hold voxels of type {voxels.dtype}") from error
    image.SetSpacing(volume.grid.spacing_mm)
    image.SetOrigin(volume.grid.origin_mm)
    image.SetDirection(volume.grid.direction)
    with temporary_beside(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), path.name.lower().endswith(".gz"))
        except RuntimeError as error:
            raise ImageError(f"{path}: SimpleITK refuses it: {complaint(error)}") from None


def complaint(error: RuntimeError) -> str:
    """Return SimpleITK's complaint without the source files and addresses in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^(ITK ERROR|sitk::ERROR): (\w+\(0x[0-9a-f]+\): )?", "", lines[-1]) if lines else "no reason"
