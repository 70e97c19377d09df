"""Painting the bones of a synthetic CT scan: smooth unions of capsules, vertebral bodies and ellipsoids.

The signed distance d of a *solid*, a union less what is carved, decides between outside (d > 0), shell
(-shell < d <= 0) and inside. Edges are one voxel wide, measured along the surface's normal, as partial volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel
from vertloc.phantom.kernels.sections import texture_at

CAPSULE, BODY, ELLIPSOID = 0, 1, 2
"""Kinds of primitives."""

PRIMITIVE_COLUMNS = 26
"""kind, carve, shell_mm, centre (3), rotation (9, rows are the local axes), shape (10), density of the core (factor).

Shape of a capsule: first end (3), last end (3), first radius, last radius, stretch along the local z axis; of a body:
half width, half depth, half height in front, half height behind, waist, concavity, lip, hollow of the rear wall,
narrowing to the front, narrowing downwards; of an ellipsoid: three radii. Lengths in mm, in the local frame.
"""

SLAB = 12
"""Slices that are painted at a time."""


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
    for solid in range(len(starts) - 1):
        low, high = np.full(3, 1e9), np.full(3, -1e9)
        for i in range(starts[solid], starts[solid + 1]):
            if primitives[i, 1] == 0.0:
                low = np.minimum(low, boxes[i, :3])
                high = np.maximum(high, boxes[i, 3:])
        if low[0] > high[0]:
            continue
        x0, x1 = _span(low[0], high[0], origin[0], spacing[0], n_x)
        y0, y1 = _span(low[1], high[1], origin[1], spacing[1], n_y)
        z0, z1 = _span(low[2], high[2], origin[2], spacing[2], n_z)
        if x0 >= x1 or y0 >= y1:
            continue
        # A few slices at a time keep the buffer small, whatever the size of the solid.
        for slab in range(z0, z1, SLAB):
            first = np.array([slab, y0, x0])
            fields = np.empty((min(SLAB, z1 - slab), y1 - y0, x1 - x0, 4), np.float32)
            fields[..., 0] = np.float32(1e3)
            for i in range(starts[solid], starts[solid + 1]):
                _measure(fields, first, origin, spacing, primitives[i], boxes[i], tissues[solid, 4])
            _fill(voxels, fields, first, origin, spacing, tissues[solid], texture)


@kernel
def _measure(
    fields: NDArray[np.float32],
    first: NDArray[np.int64],
    origin: NDArray[np.float64],
    spacing: NDArray[np.float64],
    primitive: NDArray[np.float64],
    box: NDArray[np.float64],
    union_mm: float,
) -> None:
    """Join one primitive to the fields of a solid.

    fields : (z, y, x, 4) float32, changed: signed distance in mm; of the nearest primitive the shell in mm, the width
        of a voxel along the normal in mm, and the density of the core
    first : (3,) z, y, x voxel of the fields' first cell
    union_mm : width of the smooth union
    """
    kind, carve = int(primitive[0]), primitive[1] > 0.0
    r, shape = primitive[6:15], primitive[15:25]
    x0, x1 = _span(box[0], box[3], origin[0] + first[2] * spacing[0], spacing[0], fields.shape[2])
    y0, y1 = _span(box[1], box[4], origin[1] + first[1] * spacing[1], spacing[1], fields.shape[1])
    z0, z1 = _span(box[2], box[5], origin[2] + first[0] * spacing[2], spacing[2], fields.shape[0])
    # Beyond this distance a voxel is neither covered nor reached by a smooth union.
    reach = 2.0 * union_mm + 0.5 * (spacing[0] + spacing[2])
    for z in range(z0, z1):
        dz = origin[2] + (first[0] + z) * spacing[2] - primitive[5]
        for y in range(y0, y1):
            dy = origin[1] + (first[1] + y) * spacing[1] - primitive[4]
            skip_to = x0
            for x in range(x0, x1):
                if x < skip_to:
                    continue
                dx = origin[0] + (first[2] + x) * spacing[0] - primitive[3]
                lx = r[0] * dx + r[1] * dy + r[2] * dz
                ly = r[3] * dx + r[4] * dy + r[5] * dz
                lz = r[6] * dx + r[7] * dy + r[8] * dz
                if kind == 0:
                    d, nx, ny, nz = _capsule(shape, lx, ly, lz)
                elif kind == 1:
                    d, nx, ny, nz = _body(shape, lx, ly, lz)
                else:
                    d, nx, ny, nz = _ellipsoid(shape, lx, ly, lz)
                if kind == 0 and not carve:
                    # A step along x brings a capsule nearer by a step, a little more where its radius changes: far
                    # away, several steps can be left out.
                    skip_to = x + max(int((d / max(shape[8], 1.0) - reach) / (1.3 * spacing[0])), 1)
                before = float(fields[z, y, x, 0])
                if carve:
                    fields[z, y, x, 0] = np.float32(max(before, -d))
                    continue
                if d > before + union_mm:
                    continue
                if d < before:
                    steep = min(abs(r[2] * nx + r[5] * ny + r[8] * nz), 1.0)
                    fields[z, y, x, 1] = np.float32(primitive[2])
                    fields[z, y, x, 2] = np.float32(spacing[0] * np.sqrt(1.0 - steep * steep) + spacing[2] * steep)
                    fields[z, y, x, 3] = np.float32(primitive[25])
                joined = min(d, before)
                if union_mm > 0.0:
                    overlap = max(union_mm - abs(d - before), 0.0)
                    joined -= overlap * overlap / (4.0 * union_mm)
                fields[z, y, x, 0] = np.float32(joined)


@kernel
def _fill(
    voxels: NDArray[np.float32],
    fields: NDArray[np.float32],
    first: NDArray[np.int64],
    origin: NDArray[np.float64],
    spacing: NDArray[np.float64],
    tissue: NDArray[np.float64],
    texture: NDArray[np.float32],
) -> None:
    """Colour the voxels of one solid from its fields, see `_measure`."""
    shell_hu, inner_hu, grain, densening = tissue[0], tissue[1], tissue[2], tissue[3]
    for z in range(fields.shape[0]):
        tz = (origin[2] + (first[0] + z) * spacing[2]) * 1.25
        for y in range(fields.shape[1]):
            ty = (origin[1] + (first[1] + y) * spacing[1]) * 1.25
            for x in range(fields.shape[2]):
                d = float(fields[z, y, x, 0])
                if d == 1e3:
                    continue
                width = float(fields[z, y, x, 2])
                cover = min(max(0.5 - d / width, 0.0), 1.0)
                if cover <= 0.0:
                    continue
                depth = d + float(fields[z, y, x, 1])
                inside = min(max(0.5 - depth / width, 0.0), 1.0)
                value = shell_hu
                if inside > 0.0:
                    tx = (origin[0] + (first[2] + x) * spacing[0]) * 1.25
                    core = inner_hu * float(fields[z, y, x, 3]) * (1.0 + grain * texture_at(texture, tx, ty, tz))
                    core += inner_hu * densening * np.exp(depth / 2.5)
                    value = inside * core + (1.0 - inside) * shell_hu
                background = float(voxels[first[0] + z, first[1] + y, first[2] + x])
                mixed = cover * value + (1.0 - cover) * background
                voxels[first[0] + z, first[1] + y, first[2] + x] = np.float32(mixed)
