"""Grid: from array indices to patient millimetres and back; the only place where a triple is reversed.

Arrays are indexed (z, y, x); points are (x, y, z) in millimetres. Three frames occur:

- *index*: continuous array index, order (z, y, x), 0 at the centre of the first voxel;
- *local*: index times spacing in the stored array's own axis order, (x, y, z) mm; the frame of the database's `.lml`;
- *world*: LPS patient millimetres, with the header's origin and direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
"""(n, 3) float64 points, (x, y, z) mm, or indices, (z, y, x)."""

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Grid:
    """A regular voxel grid in the patient.

    shape : (z, y, x) number of voxels
    spacing_mm : (x, y, z) distance between voxel centres
    origin_mm : (x, y, z) world position of the centre of the first voxel
    direction : 9 numbers, row-major 3x3; column i is the world direction of array axis x, y, z (as in ITK)

    Raises ValueError for an empty shape, a spacing that is not finite and positive, or a singular direction.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = _IDENTITY

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(int(n) < 1 for n in self.shape):
            raise ValueError(f"a grid needs three positive sizes (z, y, x), got {self.shape}")
        if len(self.spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise ValueError(f"a grid needs three positive spacings (x, y, z) in mm, got {self.spacing_mm}")
        if len(self.origin_mm) != 3 or not all(np.isfinite(o) for o in self.origin_mm):
            raise ValueError(f"a grid needs a finite origin (x, y, z) in mm, got {self.origin_mm}")
        matrix = np.asarray(self.direction, dtype=np.float64)
        if matrix.size != 9 or not np.allclose(matrix.reshape(3, 3).T @ matrix.reshape(3, 3), np.eye(3), atol=1e-3):
            raise ValueError(f"a grid needs orthonormal directions (9 numbers), got {self.direction}")

    @cached_property
    def direction_matrix(self) -> NDArray[np.float64]:
        """(3, 3) float64: columns are the world directions of the array axes x, y, z."""
        matrix = np.array(self.direction, dtype=np.float64).reshape(3, 3)
        matrix.flags.writeable = False
        return matrix

    def index_to_local(self, index: ArrayLike) -> Points:
        """Turn indices (z, y, x) into local points (x, y, z) mm; (n, 3) or (3,) in, (n, 3) out."""
        return _rows(_rows(index)[:, ::-1] * np.array(self.spacing_mm))

    def local_to_index(self, local_mm: ArrayLike) -> Points:
        """Turn local points (x, y, z) mm into continuous indices (z, y, x)."""
        return np.ascontiguousarray((_rows(local_mm) / np.array(self.spacing_mm))[:, ::-1])

    def local_to_world(self, local_mm: ArrayLike) -> Points:
        """Turn local points (x, y, z) mm into world LPS points (x, y, z) mm."""
        return _rows(_rows(local_mm) @ self.direction_matrix.T + np.array(self.origin_mm))

    def world_to_local(self, world_mm: ArrayLike) -> Points:
        """Turn world LPS points (x, y, z) mm into local points (x, y, z) mm."""
        return np.linalg.solve(self.direction_matrix, (_rows(world_mm) - np.array(self.origin_mm)).T).T

    def to_world(self, index: ArrayLike) -> Points:
        """Turn indices (z, y, x) into world LPS points (x, y, z) mm."""
        return self.local_to_world(self.index_to_local(index))

    def to_index(self, world_mm: ArrayLike) -> Points:
        """Turn world LPS points (x, y, z) mm into continuous indices (z, y, x)."""
        return self.local_to_index(self.world_to_local(world_mm))

    def axes_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """World coordinates (z, y, x) of the voxels along each array axis, all rising; of an upright grid only.

        Raises ValueError if the array axes do not run along +x, +y, +z of the world.
        """
        if self.direction != _IDENTITY:
            raise ValueError(f"the axes of a grid of directions {self.direction} have no coordinates of their own")
        z, y, x = (
            np.arange(n, dtype=np.float64) * spacing + origin
            for n, spacing, origin in zip(self.shape, self.spacing_mm[::-1], self.origin_mm[::-1], strict=True)
        )
        return z, y, x

    def contains(self, world_mm: ArrayLike) -> NDArray[np.bool_]:
        """Tell for each world point whether it lies inside the outermost voxels' faces."""
        index = self.to_index(world_mm)
        inside = (index >= -0.5) & (index <= np.array(self.shape) - 0.5)
        return np.asarray(inside.all(axis=1), dtype=np.bool_)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """(x, y, z) outer size in mm, faces included."""
        z, y, x = self.shape
        sx, sy, sz = self.spacing_mm
        return (x * sx, y * sy, z * sz)

    @property
    def tilt_degrees(self) -> float:
        """The largest angle between an array axis and its nearest patient axis."""
        # A rotation at rounding distance from the axes gives a cosine slightly above 1.
        cosine = np.clip(np.abs(self.direction_matrix).max(axis=0).min(), 0.0, 1.0)
        return float(np.degrees(np.arccos(cosine)))

    def nearest_axes(self) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """Find how the array axes must be permuted and flipped to run along +x, +y, +z of the patient.

        returns : array axis (0 = z, 1 = y, 2 = x of the stored array) to take for the aligned z, y, x;
            and whether each of these runs backwards.
        """
        remaining, order = np.abs(self.direction_matrix), [0, 0, 0]
        remaining = remaining.copy()
        for _ in range(3):  # the strongest pairing first, so that 45 degree ties still give a permutation
            world, axis = np.unravel_index(int(np.argmax(remaining)), (3, 3))
            order[int(world)] = int(axis)
            remaining[world, :] = -1.0
            remaining[:, axis] = -1.0
        flips = tuple(bool(self.direction_matrix[world, order[world]] < 0) for world in (2, 1, 0))
        permutation = tuple(2 - order[world] for world in (2, 1, 0))
        return permutation, flips  # type: ignore[return-value]

    def permuted(self, permutation: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Grid:
        """Return the grid of the array after `transpose(permutation)` and flips of the resulting axes.

        Every voxel keeps its world position.
        """
        shape = tuple(self.shape[axis] for axis in permutation)
        corner = np.zeros(3)
        columns, spacing = [], []
        for axis, flip in zip(permutation, flips, strict=True):
            corner[axis] = self.shape[axis] - 1 if flip else 0
            columns.append(self.direction_matrix[:, 2 - axis] * (-1.0 if flip else 1.0))
            spacing.append(self.spacing_mm[2 - axis])
        direction = np.stack(columns[::-1], axis=1)
        return Grid(
            shape=shape,  # type: ignore[arg-type]
            spacing_mm=tuple(spacing[::-1]),  # type: ignore[arg-type]
            origin_mm=_triple(self.to_world(corner)[0]),
            direction=tuple(float(v) for v in direction.ravel()),
        )

    def resampled(self, spacing_mm: float) -> Grid:
        """Return the isotropic grid of the same directions and centre that covers this grid.

        Sharing the centre, not a corner, makes the result independent of the order in which the axes are stored. The
        outermost voxels reach past the faces of this grid by less than half a voxel.
        """
        z, y, x = (max(1, int(np.ceil(extent / spacing_mm - 1e-6))) for extent in self.extent_mm[::-1])
        middle = (np.array(self.shape) - 1) / 2
        centre_mm = self.to_world(middle)[0]
        half_mm = np.array([x - 1, y - 1, z - 1]) / 2 * spacing_mm
        return Grid((z, y, x), (spacing_mm,) * 3, _triple(centre_mm - self.direction_matrix @ half_mm), self.direction)


def _rows(points: ArrayLike) -> Points:
    return np.asarray(points, dtype=np.float64).reshape(-1, 3)


def _triple(values: NDArray[Any]) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))
