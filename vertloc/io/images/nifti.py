"""NIfTI-1 (`.nii`, `.nii.gz`, `.hdr` with `.img`): header -> ImageFile; the file's world mm are RAS, the grid's LPS.

A NIfTI header describes the grid up to three times: `pixdim`, a quaternion (qform) and an affine (sform). Which of them
holds is decided as ITK does, in favour of the scanner's frame; where they disagree, both are said.
https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images.checks import checked_size, checked_spacing, column_lengths, make_grid
from vertloc.io.images.image_file import ImageFile

_HEADER_BYTES = 348
_GZIP_MAGIC = b"\x1f\x8b"
# NIfTI's codes of real number types.
_DTYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
_SCANNER = 1
# Spacing by pixdim against that by sform: single precision and rounding stay below.
_LARGEST_STRETCH = 0.005
_SAME_PLACE_MM = 0.5
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Header:
    """The fields that are used, as they stand in the file.

    axes_of_sform : (3, 3), columns are the steps of the array axes; offsets are places of the first voxel
    """

    order: str
    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    datatype: int
    vox_offset: float
    slope: float
    intercept: float
    units: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    q_offset: tuple[float, ...]
    sform: NDArray[np.float64]
    magic: bytes


def open_nifti(path: Path) -> ImageFile:
    """Read the header of a `.nii` or `.nii.gz` file.

    Raises ImageError for what is not a NIfTI-1 file with its voxels inside, or holds no real numbers.
    """
    head, is_compressed = _head(path)
    header = _unpack(path, head)
    if header.magic != b"n+1\0":
        raise ImageError(f"{path}: expected a NIfTI-1 file with its voxels inside, got {header.magic!r}")
    if not _HEADER_BYTES <= header.vox_offset < 2**31:
        raise ImageError(f"{path}: expected voxels behind the header, got vox_offset {header.vox_offset}")
    return _image(path, header, path, is_compressed)


def open_nifti_pair(path: Path) -> ImageFile:
    """Read the header of a `.hdr` file, or of the one beside an `.img`, whose voxels lie in the `.img` beside it.

    Raises ImageError as `open_nifti`, also for Analyze 7.5, whose headers do not tell left from right.
    """
    stem = path.name[: path.name.lower().rindex(".hdr" if ".hdr" in path.name.lower() else ".img")]
    beside = {other.name.lower(): other for other in path.parent.iterdir()}
    hdr = beside.get(f"{stem}.hdr".lower())
    img = next((beside[f"{stem}{s}".lower()] for s in (".img", ".img.gz") if f"{stem}{s}".lower() in beside), None)
    if hdr is None or img is None:
        raise ImageError(f"{path}: expected {stem}.hdr and {stem}.img beside each other")
    head, _ = _head(hdr)
    header = _unpack(path, head)
    if header.magic != b"ni1\0":
        raise ImageError(
            f"{path}: an Analyze 7.5 header does not tell left from right; convert the scan to NIfTI (dcm2niix)"
        )
    if not 0 <= header.vox_offset < 2**31:
        raise ImageError(f"{path}: expected vox_offset to be 0 or more, got {header.vox_offset}")
    return _image(hdr, header, img, img.name.lower().endswith(".gz"))


def _image(path: Path, header: _Header, data_path: Path, is_compressed: bool) -> ImageFile:
    if not 1 <= header.dim[0] <= 7:
        raise ImageError(f"{path}: expected 3 dimensions, got {header.dim[0]}")
    if header.datatype not in _DTYPES:
        raise ImageError(f"{path}: expected one real number a voxel, got NIfTI datatype {header.datatype}")
    stored_type = np.dtype(header.order + _DTYPES[header.datatype])
    size = checked_size(path, header.dim[1 : 1 + header.dim[0]], stored_type)
    grid, warnings = _grid(path, header, size)
    slope, intercept, more = _scaling(header)
    return ImageFile(
        path=path,
        grid=grid,
        stored_type=stored_type,
        data_path=data_path,
        data_offset=int(header.vox_offset),
        packing="gzip file" if is_compressed else "none",
        slope=slope,
        intercept=intercept,
        warnings=warnings + more,
    )


def _head(path: Path) -> tuple[bytes, bool]:
    is_compressed = path.name.lower().endswith(".gz")
    with path.open("rb") as file:
        if (file.read(2) == _GZIP_MAGIC) != is_compressed:
            raise ImageError(f"{path}: {'not' if is_compressed else 'unexpectedly'} compressed with gzip")
        file.seek(0)
        if not is_compressed:
            return file.read(_HEADER_BYTES), False
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                return unpacked.read(_HEADER_BYTES), True
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ImageError(f"{path}: damaged or truncated: {error}") from None


def _unpack(path: Path, head: bytes) -> _Header:
    order = next((o for o in "<>" if len(head) == _HEADER_BYTES and struct.unpack_from(f"{o}i", head)[0] == 348), None)
    if order is None:
        raise ImageError(f"{path}: not a NIfTI-1 file")

    def fields(kind: str, offset: int) -> tuple[float, ...]:
        return struct.unpack_from(f"{order}{kind}", head, offset)

    vox_offset, slope, intercept = fields("3f", 108)
    qform_code, sform_code = fields("2h", 252)
    return _Header(
        order=order,
        dim=tuple(int(n) for n in fields("8h", 40)),
        pixdim=fields("8f", 76),
        datatype=int(fields("h", 70)[0]),
        vox_offset=vox_offset,
        slope=slope,
        intercept=intercept,
        units=head[123] & 7,
        qform_code=int(qform_code),
        sform_code=int(sform_code),
        quaternion=fields("3f", 256),
        q_offset=fields("3f", 268),
        sform=np.array(fields("12f", 280), dtype=np.float64).reshape(3, 4),
        magic=head[344:348],
    )


def _scaling(header: _Header) -> tuple[float, float, tuple[str, ...]]:
    """Return slope, intercept and warnings; by the standard, a slope of 0 means that there is no scaling at all."""
    slope, intercept = header.slope, header.intercept
    if math.isfinite(slope) and slope != 0:
        return (slope, intercept, ()) if math.isfinite(intercept) else (slope, 0.0, _unscaled(header))
    return 1.0, 0.0, _unscaled(header) if intercept != 0 else ()


def _unscaled(header: _Header) -> tuple[str, ...]:
    said = f"scl_slope is {header.slope:g} and scl_inter {header.intercept:g}"
    return (f"{said}: intensities are taken as stored, as NIfTI defines it; other programs may add scl_inter",)


def _grid(path: Path, header: _Header, size: tuple[int, int, int]) -> tuple[Grid, tuple[str, ...]]:
    """Return the grid and warnings, from the orientation that ITK would take."""
    spacing = checked_spacing(path, header.pixdim[1:4])
    has_q, has_s = header.qform_code > 0, header.sform_code > 0
    used = (*(header.quaternion + header.q_offset if has_q else ()), *(header.sform.ravel() if has_s else ()))
    if not all(math.isfinite(value) for value in used):
        raise ImageError(
            f"{path}: expected a finite orientation, got quaternion and offset {header.quaternion + header.q_offset},"
            f" affine {header.sform.ravel().tolist()}"
        )
    scale = _MM_PER_UNIT.get(header.units, 1.0)
    spacing_mm = tuple(s * scale for s in spacing)
    if not used:
        warning = "the header has no orientation; array axes are taken for left, back and up"
        grid, warnings = make_grid(path, size, spacing_mm, (0.0, 0.0, 0.0), np.eye(3))
        return grid, (*warnings, warning)
    by_q = _quaternion_axes(header) * spacing if has_q else None
    by_s = header.sform[:, :3] if has_s else None
    takes_s = has_s and (not has_q or header.sform_code == _SCANNER)
    warnings = _disagreement(header, by_q, by_s, size, takes_s)
    axes, offset = (by_s, header.sform[:, 3]) if takes_s else (by_q, np.array(header.q_offset))
    assert axes is not None
    lengths = column_lengths(axes)
    if not (lengths > 0).all() or np.abs(lengths / spacing - 1).max() > _LARGEST_STRETCH:
        raise ImageError(
            f"{path}: the header says two things: voxels of {_shown(spacing)} mm by pixdim, of {_shown(lengths)} mm by"
            " its affine (sform); write it again with one of them"
        )
    lps = _RAS_TO_LPS @ (axes / lengths)
    grid, more = make_grid(path, size, spacing_mm, (_RAS_TO_LPS @ offset * scale).tolist(), lps)
    return grid, warnings + more


def _quaternion_axes(header: _Header) -> NDArray[np.float64]:
    """Return the unit steps of the array axes, RAS, from the quaternion; the last one may be turned back (qfac)."""
    b, c, d = header.quaternion
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:  # a half turn, or rounding
        length = math.sqrt(b * b + c * c + d * d) or 1.0
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = math.sqrt(rest)
    axes = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    if header.pixdim[0] < 0:
        axes[:, 2] *= -1
    return axes


def _disagreement(
    header: _Header,
    by_q: NDArray[np.float64] | None,
    by_s: NDArray[np.float64] | None,
    size: tuple[int, int, int],
    takes_s: bool,
) -> tuple[str, ...]:
    """Warn if qform and sform put a corner of the image in places that are not the same."""
    if by_q is None or by_s is None:
        return ()
    corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(size) - 1)
    apart = corners @ (by_q - by_s).T + np.array(header.q_offset) - header.sform[:, 3]
    largest = float(np.linalg.norm(apart, axis=1).max())
    if largest <= _SAME_PLACE_MM:
        return ()
    taken, other = ("sform", "qform") if takes_s else ("qform", "sform")
    codes = f"qform_code {header.qform_code}, sform_code {header.sform_code}"
    return (f"qform and sform put the image in places {largest:.3g} mm apart ({codes}); {taken} is taken, not {other}",)


def _shown(values: tuple[float, ...] | NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.5g}" for value in values)
