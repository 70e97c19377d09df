"""Painting a synthetic CT scan: cross-sections of soft tissue, solids of bone and metal, and the final integers.

A *section* is a stack of tilted squircles, one per slice, painted in order (later ones cover earlier ones). A *solid*
is the smooth union of a few primitives minus carved ones; its signed distance d decides between outside (d > 0), shell
(-shell < d <= 0) and inside. Both have edges one voxel wide, measured along the surface's normal, as partial volume.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel

OUTSIDE_HU = np.float32(-1000.0)
"""Air around the body."""

CAPSULE, BODY, ELLIPSOID = 0, 1, 2
"""Kinds of primitives."""

SECTION_COLUMNS = ("centre_x", "centre_y", "radius_x", "radius_y", "cosine", "sine", "squareness")
"""Of a section in one slice; a radius_x of zero or less means that the section is absent there."""

PRIMITIVE_COLUMNS = 26
"""kind, carve, shell_mm, centre (3), rotation (9, rows are the local axes), shape (10), density of the core (factor).

Shape of a capsule: first end (3), last end (3), first radius, last radius, stretch along the local z axis; of a body:
half width, half depth, half height in front, half height behind, waist, concavity, lip, hollow of the rear wall,
narrowing to the front, narrowing downwards; of an ellipsoid: three radii. Lengths in mm, in the local frame.
"""


@kernel
def _texture_at(texture: NDArray[np.float32], x: float, y: float, z: float) -> float:
    """Look up the (64, 64, 64) periodic texture at a point in units of its pitch, nearest neighbour."""
    return float(texture[int(np.floor(z)) & 63, int(np.floor(y)) & 63, int(np.floor(x)) & 63])


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
    texture : (64, 64, 64) float32 of unit variance, periodic
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
                        value += deviation * _texture_at(texture, x_mm * pitch, y_mm * pitch, z_mm * pitch)
                    if gauge > inner:
                        distance = np.sqrt(dx * dx + dy * dy) * (1.0 - 1.0 / np.sqrt(np.sqrt(gauge)))
                        cover = min(max(0.5 - distance / spacing[0], 0.0), 1.0)
                        value = cover * value + (1.0 - cover) * voxels[z, y, x]
                    voxels[z, y, x] = np.float32(value)


@kernel
def _capsule(shape: NDArray[np.float64], x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Signed distance and outward normal (local frame) of a capsule with two radii, stretched along z."""
    stretch = shape[8]
    ax, ay, az = shape[0], shape[1], shape[2] / stretch
    bx, by, bz = shape[3] - ax, shape[4] - ay, shape[5] / stretch - az
    qx, qy, qz = x - ax, y - ay, z / stretch - az
    length = bx * bx + by * by + bz * bz
    t = 0.0
    if length > 0.0:
        t = min(max((qx * bx + qy * by + qz * bz) / length, 0.0), 1.0)
    qx, qy, qz = qx - t * bx, qy - t * by, qz - t * bz
    norm = max(np.sqrt(qx * qx + qy * qy + qz * qz), 1e-9)
    # Squeezed space shortens distances along z: the gradient's length puts that right to first order.
    nx, ny, nz = qx / norm, qy / norm, qz / norm / stretch
    slope = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-9)
    distance = (norm - (shape[6] + t * (shape[7] - shape[6]))) / slope
    return distance, nx / slope, ny / slope, nz / slope


@kernel
def _ellipsoid(shape: NDArray[np.float64], x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Signed distance along the ray from the centre, and outward normal, of an ellipsoid."""
    u, v, w = x / shape[0], y / shape[1], z / shape[2]
    gauge = max(np.sqrt(u * u + v * v + w * w), 1e-6)
    radius = np.sqrt(x * x + y * y + z * z)
    nx, ny, nz = u / shape[0], v / shape[1], w / shape[2]
    norm = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-9)
    distance = -min(shape[0], shape[1], shape[2]) if gauge <= 1e-6 else radius * (1.0 - 1.0 / gauge)
    return distance, nx / norm, ny / norm, nz / norm


@kernel
def _body(shape: NDArray[np.float64], x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Signed distance and outward normal of a vertebral body: a waisted squircle between two hollow endplates."""
    half_width, half_depth = shape[0], shape[1]
    waist, concavity, lip, hollow = shape[4], shape[5], shape[6], shape[7]
    u, v = x / half_width, y / half_depth
    across = min(max(v, -1.0), 1.0)
    height = 0.5 * (shape[2] + shape[3]) + 0.5 * (shape[3] - shape[2]) * across
    level = min(abs(z) / max(height, 1e-6), 1.2)
    level2 = level * level
    scale = 1.0 - waist * max(1.0 - level2, 0.0) + lip * level2 * level2 * level2
    # Heart-shaped where the front is narrower; wedge-shaped where the lower end is smaller.
    u /= 1.0 + shape[8] * across
    scale *= 1.0 + shape[9] * min(max(z / max(height, 1e-6), -1.0), 1.0)
    if v > 0.0:
        v += hollow * v * max(1.0 - u * u, 0.0)
    u, v = u / scale, v / scale
    uu, vv = u * u, v * v
    gauge = max(np.sqrt(np.sqrt(uu * uu + vv * vv + 1.5 * uu * vv)), 1e-6)
    radius = np.sqrt(x * x + y * y)
    radial = -min(half_width, half_depth) if gauge <= 1e-6 else radius * (1.0 - 1.0 / gauge)
    axial = abs(z) - (height - concavity * max(1.0 - gauge * gauge, 0.0))
    if axial > radial:
        nx, ny, nz = 0.0, 0.0, 1.0
    else:
        nx, ny, nz = x / max(radius, 1e-9), y / max(radius, 1e-9), 0.0
    # A rounded edge of 1.5 mm between the endplate and the wall.
    blend = max(1.5 - abs(axial - radial), 0.0)
    return max(axial, radial) + blend * blend / 6.0, nx, ny, nz


@kernel
def _span(low: float, high: float, origin: float, spacing: float, n: int) -> tuple[int, int]:
    """Return the first voxel and the one after the last voxel between two coordinates, clipped to 0..n."""
    first = min(max(int(np.floor((low - origin) / spacing)), 0), n)
    last = min(max(int(np.ceil((high - origin) / spacing)) + 1, first), n)
    return first, last


@kernel
def paint_solids(
    voxels: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: NDArray[np.float64],
    primitives: NDArray[np.float64],
    boxes: NDArray[np.float64],
    starts: NDArray[np.int64],
    tissues: NDArray[np.float64],
    texture: NDArray[np.float32],
) -> None:
    """Paint solids into `voxels`, in order.

    voxels : (z, y, x) float32 HU, changed
    origin, spacing : (3,) x, y, z mm
    primitives : (n, 26), see PRIMITIVE_COLUMNS; solid k owns the rows starts[k]:starts[k + 1], carved ones last
    boxes : (n, 6) x, y, z low and x, y, z high mm around each primitive, with a margin
    starts : (k + 1,) int64
    tissues : (k, 5) HU of the shell, HU inside, texture inside (fraction), densening towards the shell (fraction),
        width of the smooth union in mm
    texture : (64, 64, 64) float32 of unit variance, periodic
    """
    n_z, n_y, n_x = voxels.shape
    slim = spacing[0]
    for solid in range(len(starts) - 1):
        first, last = starts[solid], starts[solid + 1]
        if first == last:
            continue
        low, high = np.full(3, 1e9), np.full(3, -1e9)
        for i in range(first, last):
            if primitives[i, 1] == 0.0:
                for axis in range(3):
                    low[axis] = min(low[axis], boxes[i, axis])
                    high[axis] = max(high[axis], boxes[i, 3 + axis])
        x0, x1 = _span(low[0], high[0], origin[0], spacing[0], n_x)
        y0, y1 = _span(low[1], high[1], origin[1], spacing[1], n_y)
        z0, z1 = _span(low[2], high[2], origin[2], spacing[2], n_z)
        if x0 >= x1 or y0 >= y1 or z0 >= z1:
            continue
        distances = np.full((z1 - z0, y1 - y0, x1 - x0), np.float32(1e3), np.float32)
        shells = np.zeros(distances.shape, np.float32)
        widths = np.ones(distances.shape, np.float32)
        cores = np.ones(distances.shape, np.float32)
        width_of_union = tissues[solid, 4]
        for i in range(first, last):
            kind, carve, shell = int(primitives[i, 0]), primitives[i, 1] > 0.0, primitives[i, 2]
            cx, cy, cz = primitives[i, 3], primitives[i, 4], primitives[i, 5]
            r = primitives[i, 6:15]
            shape = primitives[i, 15:25]
            px0, px1 = _span(boxes[i, 0], boxes[i, 3], origin[0], spacing[0], n_x)
            py0, py1 = _span(boxes[i, 1], boxes[i, 4], origin[1], spacing[1], n_y)
            pz0, pz1 = _span(boxes[i, 2], boxes[i, 5], origin[2], spacing[2], n_z)
            for z in range(max(pz0, z0), min(pz1, z1)):
                dz = origin[2] + z * spacing[2] - cz
                for y in range(max(py0, y0), min(py1, y1)):
                    dy = origin[1] + y * spacing[1] - cy
                    for x in range(max(px0, x0), min(px1, x1)):
                        dx = origin[0] + x * spacing[0] - cx
                        lx = r[0] * dx + r[1] * dy + r[2] * dz
                        ly = r[3] * dx + r[4] * dy + r[5] * dz
                        lz = r[6] * dx + r[7] * dy + r[8] * dz
                        if kind == 0:
                            d, nx, ny, nz = _capsule(shape, lx, ly, lz)
                        elif kind == 1:
                            d, nx, ny, nz = _body(shape, lx, ly, lz)
                        else:
                            d, nx, ny, nz = _ellipsoid(shape, lx, ly, lz)
                        before = float(distances[z - z0, y - y0, x - x0])
                        if carve:
                            if -d > before:
                                distances[z - z0, y - y0, x - x0] = np.float32(-d)
                            continue
                        if d > before + width_of_union:
                            continue
                        if d < before:
                            steep = min(abs(r[2] * nx + r[5] * ny + r[8] * nz), 1.0)
                            widths[z - z0, y - y0, x - x0] = np.float32(
                                slim * np.sqrt(1.0 - steep * steep) + spacing[2] * steep
                            )
                            shells[z - z0, y - y0, x - x0] = np.float32(shell)
                            cores[z - z0, y - y0, x - x0] = np.float32(primitives[i, 25])
                        overlap = max(width_of_union - abs(d - before), 0.0)
                        joined = min(d, before)
                        if width_of_union > 0.0:
                            joined -= overlap * overlap / (4.0 * width_of_union)
                        distances[z - z0, y - y0, x - x0] = np.float32(joined)
        _fill(voxels, origin, spacing, z0, y0, x0, distances, shells, widths, cores, tissues[solid], texture)


@kernel
def _fill(
    voxels: NDArray[np.float32],
    origin: NDArray[np.float64],
    spacing: NDArray[np.float64],
    z0: int,
    y0: int,
    x0: int,
    distances: NDArray[np.float32],
    shells: NDArray[np.float32],
    widths: NDArray[np.float32],
    cores: NDArray[np.float32],
    tissue: NDArray[np.float64],
    texture: NDArray[np.float32],
) -> None:
    """Colour the voxels of one solid from its signed distances."""
    shell_hu, inner_hu, grain, densening = tissue[0], tissue[1], tissue[2], tissue[3]
    for z in range(distances.shape[0]):
        tz = (origin[2] + (z0 + z) * spacing[2]) * 1.25
        for y in range(distances.shape[1]):
            ty = (origin[1] + (y0 + y) * spacing[1]) * 1.25
            for x in range(distances.shape[2]):
                d, width = float(distances[z, y, x]), float(widths[z, y, x])
                cover = min(max(0.5 - d / width, 0.0), 1.0)
                if cover <= 0.0:
                    continue
                depth = d + float(shells[z, y, x])
                inside = min(max(0.5 - depth / width, 0.0), 1.0)
                value = shell_hu
                if inside > 0.0:
                    tx = (origin[0] + (x0 + x) * spacing[0]) * 1.25
                    core = inner_hu * float(cores[z, y, x]) * (1.0 + grain * _texture_at(texture, tx, ty, tz))
                    core += inner_hu * densening * np.exp(depth / 2.5)
                    value = inside * core + (1.0 - inside) * shell_hu
                background = float(voxels[z0 + z, y0 + y, x0 + x])
                voxels[z0 + z, y0 + y, x0 + x] = np.float32(cover * value + (1.0 - cover) * background)


@kernel
def finish_slices(
    voxels: NDArray[np.float32],
    planes: NDArray[np.float32],
    picks: NDArray[np.int64],
    deviations: NDArray[np.float32],
    z_from: int,
    z_to: int,
    out: NDArray[np.int16],
) -> None:
    """Add noise to slices and round them to integers within -1024..3071.

    planes : (k, >= y, >= x) float32 noise of unit variance
    picks : (z, 3) plane, first row and first column for each slice, so that no two neighbours look alike
    deviations : (z,) float32 HU
    out : (z, y, x) int16, filled between z_from and z_to
    """
    for z in range(z_from, z_to):
        plane, y0, x0 = picks[z, 0], picks[z, 1], picks[z, 2]
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                value = voxels[z, y, x] + deviations[z] * planes[plane, y0 + y, x0 + x]
                out[z, y, x] = np.int16(
                    np.floor(min(max(value, np.float32(-1024)), np.float32(3071)) + np.float32(0.5))
                )


@kernel
def project_slice(image: NDArray[Any], angles: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Add the parallel projections of a square image to `out`, pixel by pixel with linear interpolation.

    image : (n, n), sparse; angles : (a,) radians; out : (a, bins), pixel units, the centre at (bins - 1) / 2
    """
    middle, centre = (image.shape[0] - 1) / 2.0, (out.shape[1] - 1) / 2.0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if image[y, x] == 0:
                continue
            for a in range(len(angles)):
                s = (x - middle) * np.cos(angles[a]) + (y - middle) * np.sin(angles[a]) + centre
                b = int(np.floor(s))
                if 0 <= b < out.shape[1] - 1:
                    out[a, b] += image[y, x] * (b + 1 - s)
                    out[a, b + 1] += image[y, x] * (s - b)


@kernel
def back_project(
    filtered: NDArray[np.float64], cosines: NDArray[np.float64], sines: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add the back-projection of filtered parallel projections to the square image `out` (sum over angles)."""
    middle, centre = (out.shape[0] - 1) / 2.0, (filtered.shape[1] - 1) / 2.0
    for a in range(filtered.shape[0]):
        for y in range(out.shape[0]):
            s = (y - middle) * sines[a] - middle * cosines[a] + centre
            for x in range(out.shape[1]):
                b = int(np.floor(s))
                if 0 <= b < filtered.shape[1] - 1:
                    out[y, x] += filtered[a, b] * (b + 1 - s) + filtered[a, b + 1] * (s - b)
                s += cosines[a]
