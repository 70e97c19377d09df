"""Painting the soft tissue of a synthetic CT scan: stacks of cross-sections.

A *section* is a stack of tilted squircles, one per slice, painted in order (later ones cover earlier ones), with edges
one voxel wide, as partial volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel

OUTSIDE_HU = np.float32(-1000.0)
"""Air around the body."""

SECTION_COLUMNS = ("centre_x", "centre_y", "radius_x", "radius_y", "cosine", "sine", "squareness")
"""Of a section in one slice; a radius_x of zero or less means that the section is absent there."""


@kernel
def texture_at(texture: NDArray[np.float32], x: float, y: float, z: float) -> float:
    """Look up the (64, 64, 64) periodic texture at a point in units of its pitch, nearest neighbour."""
    return float(texture[int(np.floor(z)) & 63, int(np.floor(y)) & 63, int(np.floor(x)) & 63])


@kernel
def smooth_texture_at(texture: NDArray[np.float32], x: float, y: float, z: float) -> float:
    """Look up the periodic texture, linear between its points."""
    x0, y0, z0 = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    fx, fy, fz = x - x0, y - y0, z - z0
    total = 0.0
    for dz in range(2):
        for dy in range(2):
            row = texture[(z0 + dz) & 63, (y0 + dy) & 63]
            value = (1.0 - fx) * float(row[x0 & 63]) + fx * float(row[(x0 + 1) & 63])
            total += (fz if dz else 1.0 - fz) * (fy if dy else 1.0 - fy) * value
    return total


@kernel
def paint_sections(
    voxels: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: NDArray[np.float64],
    sections: NDArray[np.float64],
    tissues: NDArray[np.float64],
    skin: int,
    texture: NDArray[np.float32],
    z_from: int,
    z_to: int,
) -> None:
    """Paint `voxels[z_from:z_to]` with stacks of squircles; later ones cover earlier ones.

    voxels : (z, y, x) float32 HU, changed
    origin, spacing : (3,) x, y, z mm of the first voxel's centre and between voxels
    sections : (n, z, 7), see SECTION_COLUMNS, mm
    tissues : (n, 3) HU, standard deviation of the texture in HU, texture points per mm
    skin : the section that bounds the body: the later ones are cut off where it ends
    texture : (64, 64, 64) float32 of unit variance, periodic; coarser than 1 mm it is interpolated, lest blocks show
    """
    n_y, n_x = voxels.shape[1], voxels.shape[2]
    # From the last section to the first, so that what is covered costs nothing: `remaining` is the share of a voxel
    # that is not painted yet.
    remaining = np.empty((n_y, n_x), np.float32)
    painted = np.empty((n_y, n_x), np.float32)
    body = np.empty((n_y, n_x), np.bool_)
    for z in range(z_from, z_to):
        remaining[:] = np.float32(1)
        painted[:] = np.float32(0)
        _mark_inside(body, origin, spacing, sections[skin, z])
        z_mm = origin[2] + z * spacing[2]
        for i in range(sections.shape[0] - 1, -1, -1):
            section = sections[i, z]
            if section[2] <= 0.0 or section[3] <= 0.0:
                continue
            hu, deviation, pitch = tissues[i, 0], tissues[i, 1], tissues[i, 2]
            y_low, y_high, x_low, x_high = _reach(section, origin, spacing, n_y, n_x)
            edge = spacing[0] / max(min(section[2], section[3]), spacing[0])
            inner, outer = (1.0 - edge) ** 4, (1.0 + edge) ** 4
            for y in range(y_low, y_high):
                y_mm = origin[1] + y * spacing[1]
                for x in range(x_low, x_high):
                    if remaining[y, x] <= np.float32(0) or (i > skin and not body[y, x]):
                        continue
                    x_mm = origin[0] + x * spacing[0]
                    gauge = _gauge(section, x_mm, y_mm)
                    if gauge >= outer:
                        continue
                    cover = 1.0
                    if gauge > inner:
                        distance = np.sqrt((x_mm - section[0]) ** 2 + (y_mm - section[1]) ** 2)
                        distance *= 1.0 - 1.0 / np.sqrt(np.sqrt(gauge))
                        cover = min(max(0.5 - distance / spacing[0], 0.0), 1.0)
                    value = hu
                    if deviation > 0.0:
                        if pitch < 1.0:
                            value += deviation * smooth_texture_at(texture, x_mm * pitch, y_mm * pitch, z_mm * pitch)
                        else:
                            value += deviation * texture_at(texture, x_mm * pitch, y_mm * pitch, z_mm * pitch)
                    painted[y, x] += np.float32(remaining[y, x] * cover * value)
                    remaining[y, x] *= np.float32(1.0 - cover)
        for y in range(n_y):
            for x in range(n_x):
                voxels[z, y, x] = painted[y, x] + remaining[y, x] * voxels[z, y, x]


@kernel
def _gauge(section: NDArray[np.float64], x_mm: float, y_mm: float) -> float:
    """Fourth power of the gauge, 1 on the boundary: an ellipse for squareness 0, |u|^4 + |v|^4 for squareness 1."""
    dx, dy = x_mm - section[0], y_mm - section[1]
    u = (dx * section[4] + dy * section[5]) / section[2]
    v = (dy * section[4] - dx * section[5]) / section[3]
    uu, vv = u * u, v * v
    return float(uu * uu + vv * vv + 2.0 * (1.0 - section[6]) * uu * vv)


@kernel
def _reach(
    section: NDArray[np.float64], origin: NDArray[np.float64], spacing: NDArray[np.float64], n_y: int, n_x: int
) -> tuple[int, int, int, int]:
    """Return the rows (from, to) and columns (from, to) that a section can touch."""
    wide = 1.0 + 0.2 * section[6]  # the corners of a square one
    reach_x = wide * np.sqrt((section[2] * section[4]) ** 2 + (section[3] * section[5]) ** 2)
    reach_y = wide * np.sqrt((section[2] * section[5]) ** 2 + (section[3] * section[4]) ** 2)
    y_low = max(0, int(np.floor((section[1] - reach_y - origin[1]) / spacing[1])))
    y_high = min(n_y, int(np.ceil((section[1] + reach_y - origin[1]) / spacing[1])) + 1)
    x_low = max(0, int(np.floor((section[0] - reach_x - origin[0]) / spacing[0])))
    x_high = min(n_x, int(np.ceil((section[0] + reach_x - origin[0]) / spacing[0])) + 1)
    return y_low, y_high, x_low, x_high


@kernel
def _mark_inside(
    inside: NDArray[np.bool_], origin: NDArray[np.float64], spacing: NDArray[np.float64], section: NDArray[np.float64]
) -> None:
    """Fill `inside` (y, x) with whether a voxel's centre lies in a section; all False if the section is absent."""
    inside[:] = False
    if section[2] <= 0.0 or section[3] <= 0.0:
        return
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            inside[y, x] = _gauge(section, origin[0] + x * spacing[0], origin[1] + y * spacing[1]) < 1.0
