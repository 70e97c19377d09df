"""Volume: voxels with the grid that places them in the patient; read-only. Scan: the same, maybe still on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Grid


class Scan(Protocol):
    """A CT scan whose voxels can be had a few slices at a time: a Volume, or an image that is still in its file.

    grid : the stored grid; name : the scan identifier; warnings : what was odd about the file, one line each
    slab_bytes : how much of it to ask for at a time
    """

    @property
    def grid(self) -> Grid:
        """The stored grid."""

    @property
    def name(self) -> str:
        """The scan identifier."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the file."""

    @property
    def slab_bytes(self) -> int:
        """How many bytes of voxels are best asked for at a time."""

    @property
    def slice_bytes(self) -> int:
        """How many bytes one slice has."""

    def slabs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        """Yield (b - a, y, x) voxels of slices a to b for each (a, b); neither falls from one slab to the next.

        A slab may be overwritten when the next one is asked for. Raises ImageError for voxels that cannot be read.
        """


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT scan.

    voxels : (z, y, x) array of a real number type, Hounsfield units, as stored; made read-only
    grid : the stored grid, in whatever direction the file has
    name : the scan identifier, for messages and file names
    warnings : what was odd about the file, one line each

    Raises ValueError if the array and the grid disagree.
    """

    voxels: NDArray[Any]
    grid: Grid
    name: str = ""
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.shape != self.grid.shape:
            raise ValueError(f"{self.name}: array of shape {self.voxels.shape} on a grid of shape {self.grid.shape}")
        view = self.voxels.view()
        view.flags.writeable = False
        object.__setattr__(self, "voxels", view)

    def aligned(self) -> Volume:
        """Return a view whose axes run along +x, +y, +z of the patient as closely as flips and swaps allow.

        No voxel is copied or interpolated: a tilt below 45 degrees stays in the grid's direction.
        """
        permutation, flips = self.grid.nearest_axes()
        voxels = np.transpose(self.voxels, permutation)
        voxels = voxels[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
        return Volume(voxels, self.grid.permuted(permutation, flips), self.name, self.warnings)

    @property
    def slab_bytes(self) -> int:
        """All of it: nothing is to be read."""
        return max(1, self.voxels.nbytes)

    @property
    def slice_bytes(self) -> int:
        """How many bytes one slice has."""
        return int(self.voxels[0].nbytes)

    def slabs(self, bounds: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        """Yield views of the slices a to b for each (a, b)."""
        for begin, end in bounds:
            yield self.voxels[begin:end]
