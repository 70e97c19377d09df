"""DICOM file with packed pixels (JPEG, JPEG 2000, RLE ...) -> intensities, by SimpleITK's GDCM."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.io.images.simpleitk import complaint


def unpacked_pixels(path: Path, shape: tuple[int, int]) -> NDArray[Any]:
    """Read the one image of a file, rescaled as its header says: (y, x). Raises ImageError for what GDCM refuses."""
    import SimpleITK as sitk  # noqa: N813 - its import takes 0.2 s and is needed only here

    with tempfile.TemporaryDirectory(prefix="vertloc-") as folder:
        # A name that is not UTF-8 would end the process inside SimpleITK.
        plain = Path(folder, "slice.dcm")
        plain.symlink_to(path.resolve())
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(plain))
        try:
            values = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise ImageError(f"{path}: its packed pixels cannot be read: {complaint(error)}") from None
    if values.size != shape[0] * shape[1]:
        raise ImageError(f"{path}: expected {shape} pixels, got {values.shape}")
    return np.asarray(values.reshape(shape))
