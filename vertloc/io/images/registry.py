"""The image formats, one line each; the only place that knows a suffix.

A new format is one file beside this one and one line in `FORMATS`. What a format gives back is on the LPS grid of
`Grid`, whatever world its files speak of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from vertloc.errors import ImageError
from vertloc.io.images.dicom import DicomSeries, open_dicom
from vertloc.io.images.dicom_header import is_dicom
from vertloc.io.images.dicom_zip import zip_around
from vertloc.io.images.image_file import ImageFile
from vertloc.io.images.metaimage import open_metaimage, write_metaimage
from vertloc.io.images.nifti import open_nifti, open_nifti_pair
from vertloc.io.images.nrrd import open_nrrd
from vertloc.io.images.simpleitk import write_with_simpleitk
from vertloc.volume import Volume

StoredImage: TypeAlias = ImageFile | DicomSeries
"""A scan whose header has been read and whose voxels have not."""


@dataclass(frozen=True)
class ImageFormat:
    """A format of images.

    suffixes : lower case; files with them are scans
    frame : the world its files speak of; "own" if each file says so itself
    open : reads and checks the header
    write : None if the format is only read
    also_opens : suffixes of files that stand for a scan when they are given, but are not one each
    """

    name: str
    suffixes: tuple[str, ...]
    frame: Literal["LPS", "RAS", "own"]
    open: Callable[[Path], StoredImage]
    write: Callable[[Volume, Path], None] | None = None
    also_opens: tuple[str, ...] = ()


DICOM = ImageFormat("DICOM", (), "LPS", open_dicom, also_opens=(".dcm", ".ima", ".zip"))

FORMATS: tuple[ImageFormat, ...] = (
    ImageFormat("MetaImage", (".mhd", ".mha"), "LPS", open_metaimage, write_metaimage),
    ImageFormat("NIfTI", (".nii", ".nii.gz"), "RAS", open_nifti, write_with_simpleitk),
    ImageFormat("NIfTI with its voxels beside it", (".hdr",), "RAS", open_nifti_pair, also_opens=(".img", ".img.gz")),
    ImageFormat("NRRD", (".nrrd",), "own", open_nrrd, write_with_simpleitk),
    ImageFormat("NRRD with its voxels beside it", (".nhdr",), "own", open_nrrd),
    DICOM,
)

IMAGE_SUFFIXES: tuple[str, ...] = tuple(suffix for kind in FORMATS for suffix in kind.suffixes)
"""Suffixes of the files that are a scan each, lower case."""

_ALL_SUFFIXES = sorted({s for kind in FORMATS for s in kind.suffixes + kind.also_opens}, key=len, reverse=True)


def format_of(path: Path) -> ImageFormat | None:
    """Return the format that the name of a file belongs to, by its suffix in any case."""
    suffix = _suffix(path)
    return next((kind for kind in FORMATS if suffix in kind.suffixes + kind.also_opens), None)


def is_image_path(path: Path) -> bool:
    """Tell whether the name of a file, in any case, has one of `IMAGE_SUFFIXES`."""
    return _suffix(path) in IMAGE_SUFFIXES


def scan_name(path: Path) -> str:
    """Return the scan identifier: the file name without its image suffix, if it has one (`.nii.gz` is one)."""
    suffix = _suffix(path)
    return path.name[: -len(suffix)] if suffix else path.name


def expected_suffixes(writing: bool = False) -> str:
    """Return the suffixes for a message."""
    return ", ".join(s for kind in FORMATS if kind.write or not writing for s in kind.suffixes)


def checked_format(path: Path) -> ImageFormat:
    """Return the format of what is there: of a folder, or a file without a suffix, DICOM if it is any.

    Raises ImageError for what is not there, or an unknown suffix.
    """
    if zip_around(path) is not None:
        return DICOM
    if not path.exists():
        raise ImageError(f"{path}: no such file")
    kind = DICOM if path.is_dir() or is_dicom(path) else format_of(path)
    if kind is None:
        raise ImageError(
            f"{path}: expected an image ending in {expected_suffixes()}, or DICOM: a folder, one of its files, a .zip"
        )
    if not path.is_dir() and not path.is_file():
        raise ImageError(f"{path}: expected a file, got something that cannot be read twice")
    return kind


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((s for s in _ALL_SUFFIXES if name.endswith(s) and name != s), None)
