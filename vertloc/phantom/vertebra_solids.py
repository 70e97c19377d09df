"""A patient's spine -> solids: C1's ring, C2's dens, bodies with their arches, discs, the cord's canal, the sacrum."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vertloc.phantom.patient import Patient, Vertebra
from vertloc.phantom.solids import Frame, Primitive, Solid, body, capsule, chain, ellipsoid

_LEFT_RIGHT = (1.0, -1.0)
_ARCH_CORE = 2.0
"""The arch is denser inside than the body."""


def spine_solids(patient: Patient) -> list[Solid]:
    """Describe the whole spine, in the order of painting: canal, discs, bones."""
    solids = _canal_solids(patient)
    chain_of = patient.vertebrae
    for upper, lower in pairwise(chain_of[1:-3]):
        solids += _disc_solids(upper, lower)
    for vertebra in patient.vertebrae:
        solids.append(_vertebra_solid(vertebra, patient))
    return solids


def _frame(vertebra: Vertebra) -> Frame:
    return Frame(vertebra.centre_mm, vertebra.axes)


def _canal_y(vertebra: Vertebra) -> float:
    """Return the distance from the body's centre back to the middle of the canal, mm."""
    return vertebra.half_mm[1] + 0.5 * vertebra.size.canal_depth * vertebra.scale


def _canal_solids(patient: Patient) -> list[Solid]:
    """Lay fat of the epidural space, the thecal sac and, down to L1, the cord: tubes from level to level."""
    tubes: list[list[Primitive]] = [[], [], []]
    vertebrae = patient.vertebrae
    points = [v.to_patient((0.0, _canal_y(v), 0.0)) for v in vertebrae]
    frame = Frame(np.zeros(3), np.eye(3))
    last_cord = patient.level_at("L1")
    for i, (upper, lower) in enumerate(pairwise(vertebrae)):
        radius = 0.5 * min(upper.size.canal_depth, lower.size.canal_depth) * 0.5 * (upper.scale + lower.scale)
        tubes[0].append(capsule(frame, points[i], points[i + 1], radius + 0.5))
        if upper.name not in ("S2", "S3", "S4"):
            tubes[1].append(capsule(frame, points[i], points[i + 1], 0.86 * radius))
        if i < last_cord:
            tubes[2].append(capsule(frame, points[i], points[i + 1], 0.5 * radius))
    head = points[0] + np.array([0.0, -4.0, 45.0])
    tubes[1].append(capsule(frame, head, points[0], 8.5))
    tubes[2].append(capsule(frame, head, points[0], 6.0))
    hus = (-60.0, 14.0, 38.0)
    return [Solid(tuple(tube), hu, hu, blend_mm=0.5) for tube, hu in zip(tubes, hus, strict=True)]


def _disc_solids(upper: Vertebra, lower: Vertebra) -> list[Solid]:
    """Describe a disc between two bodies: a firm ring around a softer core, sometimes with gas."""
    top = upper.centre_mm - upper.axes[2] * 0.5 * upper.back_mm * 0.9
    bottom = lower.centre_mm + lower.axes[2] * 0.5 * lower.back_mm * 0.9
    gap = top - bottom
    height = float(np.linalg.norm(gap))
    mean_axes = upper.axes + lower.axes
    frame = Frame(0.5 * (top + bottom), mean_axes / np.linalg.norm(mean_axes, axis=1, keepdims=True))
    half = [0.5 * (a + b) for a, b in zip(upper.half_mm, lower.half_mm, strict=True)]
    bulge = 1.0 + 0.08 * upper.disc_narrowing
    half_height = 0.5 * height + 2.5
    ring = body(frame, (half[0] * bulge, half[1] * bulge), (half_height, half_height), 0.0, 0.0, shell_mm=4.0)
    solids = [Solid((ring,), 105.0, 78.0, grain=0.06, blend_mm=0.0)]
    if upper.has_vacuum:
        gas = ellipsoid(frame, (0.0, -0.1 * half[1], 0.0), (0.6 * half[0], 0.6 * half[1], 1.2))
        solids.append(Solid((gas,), -450.0, -450.0))
    return solids


def _vertebra_solid(vertebra: Vertebra, patient: Patient) -> Solid:
    build = patient.build
    if vertebra.name == "C1":
        primitives = _atlas(vertebra)
    elif vertebra.name == "C2":
        primitives = _body_of(vertebra) + _axis_extras(vertebra, patient.vertebrae[0]) + _arch(vertebra)
    elif vertebra.name[0] == "S":
        primitives = _sacral(vertebra)
    else:
        primitives = _body_of(vertebra) + _arch(vertebra)
    # Cervical bodies are denser than lumbar ones.
    density = {"C": 1.85, "T": 1.2, "L": 1.0, "S": 1.2}[vertebra.name[0]]
    return Solid(tuple(primitives), build.cortex_hu, build.bone_hu * density, 0.16, 0.35, 1.5)


def _body_of(vertebra: Vertebra) -> list[Primitive]:
    width, depth = vertebra.half_mm
    worn = 1.0 + 0.6 * vertebra.osteophyte
    heights = (0.5 * vertebra.front_mm, 0.5 * vertebra.back_mm)
    waist = 0.05 if vertebra.name[0] == "C" else 0.1
    frame = _frame(vertebra)
    primitives = [
        body(
            frame, (width, depth), heights, waist, vertebra.concavity_mm,
            lip=0.14 * vertebra.osteophyte, hollow=0.12,
            narrowing=({"C": 0.0, "T": 0.16, "L": 0.06}[vertebra.name[0]], 0.0), shell_mm=0.55 * worn,
        )
    ]  # fmt: skip
    if vertebra.name in ("C3", "C4", "C5", "C6", "C7"):  # the uncinate processes
        for side in _LEFT_RIGHT:
            rim = (side * width * 0.93, 0.15 * depth, heights[1] - 1.0)
            primitives.append(capsule(frame, rim, (rim[0], 0.7 * depth, heights[1] + 1.5), 1.8))
    return primitives


@dataclass(frozen=True)
class _Arch:
    """Where the arch of a vertebra stands, mm in the vertebra's frame.

    depth : half depth of the body; height : half height of the body behind
    canal_half : half width of the canal; rear_y : its rear wall; pillar_x, pillar_y : the articular processes
    """

    depth: float
    height: float
    canal_half: float
    canal_depth: float
    rear_y: float
    pillar_x: float
    pillar_y: float


def _arch_of(vertebra: Vertebra) -> _Arch:
    size, scale, letter = vertebra.size, vertebra.scale, vertebra.name[0]
    depth = vertebra.half_mm[1]
    canal_half, canal_depth = 0.5 * size.canal_width * scale, size.canal_depth * scale
    return _Arch(
        depth=depth,
        height=0.5 * vertebra.back_mm,
        canal_half=canal_half,
        canal_depth=canal_depth,
        rear_y=depth + canal_depth,
        pillar_x=canal_half + {"C": 6.5, "T": 4.5, "L": 6.0}[letter] * scale,
        pillar_y=depth + {"C": 0.35, "T": 0.6, "L": 0.62}[letter] * canal_depth,
    )


def _arch(vertebra: Vertebra) -> list[Primitive]:
    """Build pedicles, articular and transverse processes, laminae and the spinous process, less the canal."""
    arch = _arch_of(vertebra)
    primitives = []
    for side in _LEFT_RIGHT:
        primitives += _side_of_arch(vertebra, arch, side) + _transverse(vertebra, arch, side)
    return primitives + _spinous(vertebra, arch.rear_y) + _canal(vertebra, arch)


def _side_of_arch(vertebra: Vertebra, arch: _Arch, side: float) -> list[Primitive]:
    """Build a pedicle, the pair of articular processes and a lamina."""
    scale, frame, letter = vertebra.scale, _frame(vertebra), vertebra.name[0]
    half_width, height = vertebra.half_mm[0], arch.height
    pedicle = {"C": 2.9, "T": 3.0 + 0.12 * max(half_width - 13.0, 0.0), "L": 4.9}[letter] * scale
    root_x = half_width - 2.5
    if letter != "C":
        root_x = min(arch.canal_half + pedicle + 0.3, half_width - 0.4 * pedicle)
    root = (side * root_x, arch.depth - 4.0, 0.32 * height)
    pillar = (side * arch.pillar_x, arch.pillar_y, 0.26 * height)
    facet = {"C": 5.8, "T": 4.2, "L": 5.8}[letter] * scale
    tilt, spread = {"C": (-0.15, 0.0), "T": (0.15, 0.0), "L": (0.1, 2.0)}[letter]
    top = (side * (arch.pillar_x + spread), arch.pillar_y - tilt * height, 0.55 * height)
    base = (side * (arch.pillar_x - spread), arch.pillar_y + (0.35 + tilt) * height, -1.05 * height)
    lamina = {"C": 2.7, "T": 3.8, "L": 4.2}[letter] * scale * (1.25 if vertebra.name == "C2" else 1.0)
    tall = (0.9 if letter == "C" else 0.68) * height / lamina
    outer = (side * (arch.pillar_x - 1.0), arch.pillar_y + 1.0, -0.1 * height)
    return [
        capsule(frame, root, pillar, pedicle, 1.8, 2.0, core=1.6),
        capsule(frame, top, base, facet, 1.0, 2.6, core=_ARCH_CORE),
        capsule(frame, outer, (0.0, arch.rear_y + 3.0, -0.35 * height), lamina, tall, 2.4, core=_ARCH_CORE),
    ]


def _canal(vertebra: Vertebra, arch: _Arch) -> list[Primitive]:
    """Carve the canal: round in the middle, with a pocket on each side where it is wide."""
    frame = _frame(vertebra)
    y, radius = arch.depth + 0.5 * arch.canal_depth, 0.5 * arch.canal_depth
    ways = [(0.0, y, 0.98 * min(radius, arch.canal_half))]
    if arch.canal_half > radius + 1.0:
        shift = arch.canal_half - 0.72 * radius
        ways += [(side * shift, y - 0.3 * radius, 0.66 * radius) for side in _LEFT_RIGHT]
    return [capsule(frame, (x, y, -30.0), (x, y, 30.0), r, carve=True) for x, y, r in ways]


def _transverse(vertebra: Vertebra, arch: _Arch, side: float) -> list[Primitive]:
    scale, frame, height = vertebra.scale, _frame(vertebra), arch.height
    tip = side * vertebra.size.transverse_mm * scale
    pillar_x, pillar_y = side * arch.pillar_x, arch.pillar_y
    if vertebra.name[0] == "C":  # two bars around the artery's hole
        front = (side * (vertebra.half_mm[0] - 1.0), 0.1 * arch.depth, -1.0)
        return [
            capsule(frame, front, (tip, 0.45 * arch.depth, -2.5), 2.5, shell_mm=2.0, core=_ARCH_CORE),
            capsule(
                frame, (pillar_x, pillar_y, 0.0), (tip, 0.8 * arch.depth, -2.5), 2.7, shell_mm=2.0, core=_ARCH_CORE
            ),
        ]
    if vertebra.name[0] == "T":
        end = (tip, pillar_y + 8.0 + 0.25 * abs(tip), 0.45 * height)
        start = (pillar_x, pillar_y, 0.3 * height)
        return [capsule(frame, start, end, (4.0 * scale, 4.8 * scale), 1.15, 2.0, core=_ARCH_CORE)]
    thick = scale * (1.6 if vertebra.name in ("L5", "L6") else 1.0)
    end = (tip, pillar_y + 6.0, 0.35 * height)
    start = (pillar_x, pillar_y - 1.0, 0.25 * height)
    return [capsule(frame, start, end, (3.6 * thick, 3.0 * thick), 1.6, 1.8, core=_ARCH_CORE)]


def _spinous(vertebra: Vertebra, rear_y: float) -> list[Primitive]:
    size, scale, frame = vertebra.size, vertebra.scale, _frame(vertebra)
    angle, length = np.radians(size.spinous_degrees), size.spinous_mm * scale * vertebra.spinous_share
    thin = {"C": 2.5, "T": 2.8, "L": 3.3, "S": 2.2}[vertebra.name[0]] * scale
    high = max(0.5 * size.spinous_height * scale / thin, 1.0)
    start = np.array([0.0, rear_y + 2.0, -0.175 * vertebra.back_mm])
    tip = start + (length - 2.0) * np.array([0.0, np.cos(angle), -np.sin(angle)])
    if vertebra.name in ("C2", "C3", "C4", "C5"):  # split at the end
        fork = start + 0.65 * (tip - start)
        ends = [tip + np.array([side * 4.0 * scale, 0.0, -1.0]) for side in _LEFT_RIGHT]
        ways = [(start, fork, high), *((fork, end, 1.0) for end in ends)]
        return [capsule(frame, a, b, thin, stretch, 2.0, core=_ARCH_CORE) for a, b, stretch in ways]
    return [capsule(frame, start, tip, (thin, 1.25 * thin), high, 2.0, core=_ARCH_CORE)]


def _atlas(vertebra: Vertebra) -> list[Primitive]:
    """Build C1: two lateral masses joined by a short front arch and a long rear arch; the origin lies in the dens."""
    s, frame = vertebra.scale, _frame(vertebra)
    front = [(x * s, y * s, 0.0) for x, y in ((-15.0, -4.0), (-8.0, -8.5), (0.0, -10.5), (8.0, -8.5), (15.0, -4.0))]
    rear = [
        (x * s, y * s, 0.0)
        for x, y in ((-18.0, 7.0), (-18.5, 16.0), (-13.0, 25.0), (0.0, 30.5), (13.0, 25.0), (18.5, 16.0), (18.0, 7.0))
    ]
    primitives = chain(frame, front, 3.6 * s, 1.7, 2.8) + chain(frame, rear, 3.3 * s, 1.5, 2.6)
    for side in _LEFT_RIGHT:
        mass = (side * 16.8 * s, 1.5 * s, 0.0)
        primitives.append(ellipsoid(frame, mass, (9.0 * s, 10.5 * s, 10.0 * s), 2.5, core=_ARCH_CORE))
        tip = (side * 38.0 * s, 5.0 * s, -1.0)
        primitives.append(capsule(frame, (side * 20.0 * s, 1.0 * s, -1.0), tip, (3.0 * s, 3.6 * s), 1.1))
    return primitives


def _axis_extras(vertebra: Vertebra, atlas: Vertebra) -> list[Primitive]:
    """Build C2's dens, whose middle lies in C1's ring, and its broad shoulders."""
    s, frame = vertebra.scale, _frame(vertebra)
    height = 0.5 * vertebra.back_mm
    ring = (atlas.centre_mm - vertebra.centre_mm) @ vertebra.axes.T
    tip = ring + np.array([0.0, 0.0, 4.0 * s])
    dens = capsule(frame, (0.0, -1.0, 0.5 * height), tip, (6.5 * s, 5.2 * s), 1.0, 1.7, core=1.3)
    # They carry C1's lateral masses.
    level = max(0.5 * ring[2] - 1.0, 0.75 * height)
    radii = (10.5 * s, 9.0 * s, 8.0 * s)
    shoulders = [
        ellipsoid(frame, (side * 13.0 * s, 2.5, level - 2.0), radii, 2.2, core=_ARCH_CORE) for side in _LEFT_RIGHT
    ]
    return [dens, *shoulders]


def _sacral(vertebra: Vertebra) -> list[Primitive]:
    """Build a sacral segment: body, wings fused with its neighbours, the bone beside the canal and its roof."""
    s, frame, size = vertebra.scale, _frame(vertebra), vertebra.size
    half_width, depth = vertebra.half_mm
    front, back = 0.5 * vertebra.front_mm, 0.5 * vertebra.back_mm
    rear_y, across = depth + size.canal_depth * s, size.transverse_mm * s
    is_first = vertebra.name == "S1"
    primitives = [body(frame, (half_width, depth), (front * 1.05, back * 0.95), 0.06, 0.5,
             hollow=0.1, narrowing=(0.0, 0.26 if is_first else 0.16), shell_mm=0.7)]  # fmt: skip
    wing = s * (11.0 if is_first else 0.45 * size.depth)
    for side in _LEFT_RIGHT:
        primitives += [
            capsule(
                frame, (side * half_width * 0.7, -0.1 * depth, 0.0), (side * across, depth * 0.5, -0.2 * back),
                (wing, 0.85 * wing), 1.35, 1.0,
            ),
            capsule(
                frame, (side * half_width * 0.85, depth, 0.0), (side * 0.93 * across, rear_y * 0.85, -0.2 * back),
                0.7 * wing, 1.4, 1.0,
            ),
            capsule(frame, (side * 0.8 * across, 0.8 * rear_y, 0.0), (side * 0.45 * across, rear_y, 0.0), 4.5, 1.8),
            capsule(frame, (side * 0.55 * across, rear_y - 2.0, 0.0), (0.0, rear_y + 1.0, 0.0), 3.2, 3.0, 1.8),
        ]  # fmt: skip
        foramen_x = side * (half_width + 2.0)
        primitives.append(capsule(frame, (foramen_x, -depth, -back), (foramen_x, rear_y, -back), 3.2, carve=True))
    return primitives + _spinous(vertebra, rear_y) + _sacral_canal(vertebra, depth)


def _sacral_canal(vertebra: Vertebra, depth: float) -> list[Primitive]:
    """Carve a canal that is flat from front to back."""
    size, s, frame = vertebra.size, vertebra.scale, _frame(vertebra)
    y, shift, radius = depth + 0.5 * size.canal_depth * s, 0.25 * size.canal_width * s, 0.47 * size.canal_depth * s
    return [capsule(frame, (x, y, -14.0), (x, y, 14.0), radius, carve=True) for x in (-shift, shift)]
