"""Images: a registry of formats, each a file of its own, behind a door that asks for none of them.

`door` has the calls, `registry` the formats; `metaimage`, `nifti` and `nrrd` turn headers into an `ImageFile`, `dicom`
turns folders into a `DicomSeries`: both know their grid and read their voxels. `checks` is what every header must pass;
`in_memory` takes what other libraries hold.
"""

from vertloc.io.images.dicom import DicomSeries
from vertloc.io.images.dicom_header import is_dicom
from vertloc.io.images.dicom_listing import ct_series, series_below, series_name
from vertloc.io.images.dicom_stack import Stack
from vertloc.io.images.dicom_zip import unpack_zip
from vertloc.io.images.door import (
    as_scan,
    as_volume,
    image_files,
    open_image,
    open_silently,
    read_grid,
    read_image,
    read_voxels,
    write_image,
)
from vertloc.io.images.image_file import ImageFile
from vertloc.io.images.in_memory import ImageInMemory, NibabelImage, volume_from_nibabel, volume_from_sitk
from vertloc.io.images.registry import IMAGE_SUFFIXES, StoredImage, is_image_path, scan_name

__all__ = [
    "IMAGE_SUFFIXES",
    "DicomSeries",
    "ImageFile",
    "ImageInMemory",
    "NibabelImage",
    "Stack",
    "StoredImage",
    "as_scan",
    "as_volume",
    "ct_series",
    "image_files",
    "is_dicom",
    "is_image_path",
    "open_image",
    "open_silently",
    "read_grid",
    "read_image",
    "read_voxels",
    "scan_name",
    "series_below",
    "series_name",
    "unpack_zip",
    "volume_from_nibabel",
    "volume_from_sitk",
    "write_image",
]
