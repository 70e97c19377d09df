"""Votes for centres: collected in cells that remember their mean position, and climbed by mean shift over the cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def collect_votes(
    points: NDArray[np.float64],
    leaves: NDArray[np.int32],
    leaf_values: NDArray[np.float32],
    masses: NDArray[np.float32],
    low: NDArray[np.float64],
    cell: float,
    z_begin: int,
    z_end: int,
    cells: NDArray[np.float32],
) -> None:
    """Add one tree's votes to the cells they fall into; votes past the cells are lost.

    points : (n, 3) (x, y, z) voxel positions; leaves : (n,) leaf rows; leaf_values : (leaves, 4) displacement, weight
    masses : (n,) float32, how much a voxel's votes count; low : (3,) lower corner of the cells; cell : their edge
    z_begin, z_end : only the votes that fall into these slices of cells are added
    cells : (z, y, x, 4) float32: summed mass, and mass times (x, y, z) from the cell's lower corner; added to. From
        there, single precision is a thousandth of a millimetre, and a tall scan's cells take half the memory
    """
    for i in range(points.shape[0]):
        vote = leaf_values[leaves[i]]
        z = points[i, 2] + vote[2]
        cz = np.floor((z - low[2]) / cell)
        if not z_begin <= cz < z_end:
            continue
        x, y = points[i, 0] + vote[0], points[i, 1] + vote[1]
        cx, cy = np.floor((x - low[0]) / cell), np.floor((y - low[1]) / cell)
        if 0 <= cx < cells.shape[2] and 0 <= cy < cells.shape[1]:
            mass = np.float64(masses[i] * vote[3])
            target = cells[int(cz), int(cy), int(cx)]
            target[0] += np.float32(mass)
            target[1] += np.float32(mass * (x - low[0] - cx * cell))
            target[2] += np.float32(mass * (y - low[1] - cy * cell))
            target[3] += np.float32(mass * (z - low[2] - cz * cell))


@kernel
def climb_cells(
    cells: NDArray[np.float32],
    low: NDArray[np.float64],
    cell: float,
    seeds: NDArray[np.float64],
    bandwidth: float,
    tolerance: float,
    most_steps: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean shift from each seed over the cells' mean positions; also the density sum mass exp(-d^2/2s^2) at the end.

    cells, low, cell : see `collect_votes`; seeds : (n, 3); returns : (n, 3) modes, (n,) densities
    """
    modes = seeds.copy()
    density = np.zeros(seeds.shape[0])
    factor = -0.5 / (bandwidth * bandwidth)
    reach = int(np.ceil(4.0 * bandwidth / cell))
    for j in range(seeds.shape[0]):
        for _ in range(most_steps):
            cx = int(np.floor((modes[j, 0] - low[0]) / cell))
            cy = int(np.floor((modes[j, 1] - low[1]) / cell))
            cz = int(np.floor((modes[j, 2] - low[2]) / cell))
            total, sum_x, sum_y, sum_z = 0.0, 0.0, 0.0, 0.0
            for z in range(max(cz - reach, 0), min(cz + reach + 1, cells.shape[0])):
                for y in range(max(cy - reach, 0), min(cy + reach + 1, cells.shape[1])):
                    for x in range(max(cx - reach, 0), min(cx + reach + 1, cells.shape[2])):
                        mass = np.float64(cells[z, y, x, 0])
                        if mass <= 0.0:
                            continue
                        dx = np.float64(cells[z, y, x, 1]) / mass + low[0] + x * cell - modes[j, 0]
                        dy = np.float64(cells[z, y, x, 2]) / mass + low[1] + y * cell - modes[j, 1]
                        dz = np.float64(cells[z, y, x, 3]) / mass + low[2] + z * cell - modes[j, 2]
                        weight = mass * np.exp(factor * (dx * dx + dy * dy + dz * dz))
                        total += weight
                        sum_x += weight * dx
                        sum_y += weight * dy
                        sum_z += weight * dz
            density[j] = total
            if total <= 0.0:
                break
            dx, dy, dz = sum_x / total, sum_y / total, sum_z / total
            if dx * dx + dy * dy + dz * dz < tolerance * tolerance:
                break
            modes[j, 0] += dx
            modes[j, 1] += dy
            modes[j, 2] += dz
    return modes, density
