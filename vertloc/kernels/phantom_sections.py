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
    texture: NDArray[np.float32],
    z_from: int,
    z_to: int,
) -> None:
    """Paint `voxels[z_from:z_to]` with stacks of squircles, in order.

    voxels : (z, y, x) float32 HU, changed
    origin, spacing : (3,) x, y, z mm of the first voxel's centre and between voxels
    sections : (n, z, 7), see SECTION_COLUMNS, mm
    tissues : (n, 4) HU, standard deviation of the texture in HU, texture points per mm, and 1 to paint over the air
        outside the body (exactly -1000 HU), 0 to leave it alone
    texture : (64, 64, 64) float32 of unit variance, periodic; coarser than 1 mm it is interpolated, lest blocks show
    """
    n_y, n_x = voxels.shape[1], voxels.shape[2]
    for z in range(z_from, z_to):
        z_mm = origin[2] + z * spacing[2]
        for i in range(sections.shape[0]):
            rx, ry = sections[i, z, 2], sections[i, z, 3]
            if rx <= 0.0 or ry <= 0.0:
                continue
            cx, cy = sections[i, z, 0], sections[i, z, 1]
            cosine, sine, square = sections[i, z, 4], sections[i, z, 5], sections[i, z, 6]
            hu, deviation, pitch = tissues[i, 0], tissues[i, 1], tissues[i, 2]
            covers_air = tissues[i, 3] > 0.0
            reach_x = np.sqrt((rx * cosine) ** 2 + (ry * sine) ** 2) * (1.0 + 0.2 * square)
            reach_y = np.sqrt((rx * sine) ** 2 + (ry * cosine) ** 2) * (1.0 + 0.2 * square)
            y_low = max(0, int(np.floor((cy - reach_y - origin[1]) / spacing[1])))
            y_high = min(n_y - 1, int(np.ceil((cy + reach_y - origin[1]) / spacing[1])))
            x_low = max(0, int(np.floor((cx - reach_x - origin[0]) / spacing[0])))
            x_high = min(n_x - 1, int(np.ceil((cx + reach_x - origin[0]) / spacing[0])))
            edge = spacing[0] / max(min(rx, ry), spacing[0])
            inner, outer = (1.0 - edge) ** 4, (1.0 + edge) ** 4
            for y in range(y_low, y_high + 1):
                dy = origin[1] + y * spacing[1] - cy
                y_mm = origin[1] + y * spacing[1]
                for x in range(x_low, x_high + 1):
                    x_mm = origin[0] + x * spacing[0]
                    dx = x_mm - cx
                    u = (dx * cosine + dy * sine) / rx
                    v = (dy * cosine - dx * sine) / ry
                    uu, vv = u * u, v * v
                    # The fourth power of the gauge: an ellipse for squareness 0, |u|^4 + |v|^4 for squareness 1.
                    gauge = uu * uu + vv * vv + 2.0 * (1.0 - square) * uu * vv
                    if gauge >= outer or (voxels[z, y, x] == OUTSIDE_HU and not covers_air):
                        continue
                    value = hu
                    if deviation > 0.0:
                        if pitch < 1.0:
                            value += deviation * smooth_texture_at(texture, x_mm * pitch, y_mm * pitch, z_mm * pitch)
                        else:
                            value += deviation * texture_at(texture, x_mm * pitch, y_mm * pitch, z_mm * pitch)
                    if gauge > inner:
                        distance = np.sqrt(dx * dx + dy * dy) * (1.0 - 1.0 / np.sqrt(np.sqrt(gauge)))
                        cover = min(max(0.5 - distance / spacing[0], 0.0), 1.0)
                        value = cover * value + (1.0 - cover) * voxels[z, y, x]
                    voxels[z, y, x] = np.float32(value)
