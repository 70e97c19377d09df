"""Volume: voxels with the grid that places them in the patient; read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.geometry import Grid


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
