"""An array of labels + its grid + a text -> the bytes of a NIfTI-1 file whose header carries the text.

SimpleITK writes no header extensions; otherwise the file is as it would write it.
https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vertloc.geometry import Grid

Voxels = NDArray[np.uint8]
"""(z, y, x) uint8 labels."""

_HEADER_BYTES = 348
_UINT8, _MM, _SCANNER, _COMMENT = 2, 2, 1, 6
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def label_nifti(voxels: Voxels, grid: Grid, text: str) -> bytes:
    """Return a plain `.nii` file.

    text : ASCII, kept as a comment extension
    """
    extension = _extension(text.encode("ascii"))
    axes = _LPS_TO_RAS @ grid.direction_matrix
    offset = _LPS_TO_RAS @ np.array(grid.origin_mm)
    handedness = 1.0 if np.linalg.det(axes) > 0 else -1.0
    turn = axes * np.array([1.0, 1.0, handedness])
    quaternion = Rotation.from_matrix(turn).as_quat()
    quaternion = quaternion if quaternion[3] >= 0 else -quaternion
    affine = np.column_stack([axes * np.array(grid.spacing_mm), offset])
    header = bytearray(_HEADER_BYTES)
    z, y, x = grid.shape
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, _UINT8, 8)
    struct.pack_into("<8f", header, 76, handedness, *grid.spacing_mm, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<ff", header, 108, float(_HEADER_BYTES + len(extension)), 1.0)
    struct.pack_into("<B", header, 123, _MM)
    struct.pack_into("<hh", header, 252, _SCANNER, _SCANNER)
    struct.pack_into("<6f", header, 256, *quaternion[:3], *offset)
    struct.pack_into("<12f", header, 280, *affine.ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    return bytes(header) + extension + np.ascontiguousarray(voxels, dtype=np.uint8).tobytes()


def _extension(text: bytes) -> bytes:
    """Return the four flag bytes and a comment, filled up to a multiple of 16 bytes."""
    size = -(-(len(text) + 8) // 16) * 16
    body = struct.pack("<ii", size, _COMMENT) + text.ljust(size - 8, b"\0")
    # vox_offset must be a multiple of 16 too: 348 + 4 + a multiple of 16 is one.
    return b"\x01\0\0\0" + body
