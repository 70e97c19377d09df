"""A patient's spine -> solids: C1's ring, C2's dens, bodies with their arches, discs, the cord's canal, the sacrum."""

from __future__ import annotations

import numpy as np

from vertloc.cohorts.phantom.patient import Build, Patient, Vertebra
from vertloc.cohorts.phantom.solids import Frame, Primitive, Solid, body, capsule, chain, ellipsoid

_LEFT_RIGHT = (1.0, -1.0)


def spine_solids(patient: Patient) -> list[Solid]:
    """Solids of the whole spine, in the order of painting: canal, discs, bones."""
    solids = _canal_solids(patient)
    chain_of = patient.vertebrae
    for upper, lower in zip(chain_of[1:-4], chain_of[2:-3], strict=True):
        solids += _disc_solids(upper, lower)
    for vertebra in patient.vertebrae:
        solids.append(_vertebra_solid(vertebra, patient.build))
    return solids


def _frame(vertebra: Vertebra) -> Frame:
    return Frame(vertebra.centre_mm, vertebra.axes)


def _half_sizes(vertebra: Vertebra) -> tuple[float, float]:
    size = vertebra.size
    return 0.5 * size.width * vertebra.scale, 0.5 * size.depth * vertebra.scale


def _canal_y(vertebra: Vertebra) -> float:
    """Distance from the body's centre back to the middle of the canal, mm."""
    return _half_sizes(vertebra)[1] + 0.5 * vertebra.size.canal_depth * vertebra.scale


def _canal_solids(patient: Patient) -> list[Solid]:
    """Fat of the epidural space, the thecal sac and, down to L1, the cord: tubes from level to level."""
    tubes: list[list[Primitive]] = [[], [], []]
    vertebrae = patient.vertebrae
    points = [v.to_patient((0.0, _canal_y(v), 0.0)) for v in vertebrae]
    frame = Frame(np.zeros(3), np.eye(3))
    last_cord = patient.level_at("L1")
    for i, (upper, lower) in enumerate(zip(vertebrae[:-1], vertebrae[1:], strict=True)):
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
    """A disc between two bodies: a firm ring around a softer core, sometimes with gas."""
    top = upper.centre_mm - upper.axes[2] * 0.5 * upper.back_mm * 0.9
    bottom = lower.centre_mm + lower.axes[2] * 0.5 * lower.back_mm * 0.9
    gap = top - bottom
    height = float(np.linalg.norm(gap))
    mean_axes = upper.axes + lower.axes
    frame = Frame(0.5 * (top + bottom), mean_axes / np.linalg.norm(mean_axes, axis=1, keepdims=True))
    half = [0.5 * (a + b) for a, b in zip(_half_sizes(upper), _half_sizes(lower), strict=True)]
    bulge = 1.0 + 0.08 * upper.disc_narrowing
    half_height = 0.5 * height + 2.5
    ring = body(frame, (half[0] * bulge, half[1] * bulge), (half_height, half_height), 0.0, 0.0, shell_mm=4.0)
    solids = [Solid((ring,), 105.0, 78.0, grain=0.06, blend_mm=0.0)]
    if upper.has_vacuum:
        gas = ellipsoid(frame, (0.0, -0.1 * half[1], 0.0), (0.6 * half[0], 0.6 * half[1], 1.2))
        solids.append(Solid((gas,), -450.0, -450.0))
    return solids


def _vertebra_solid(vertebra: Vertebra, build: Build) -> Solid:
    if vertebra.name == "C1":
        primitives = _atlas(vertebra)
    elif vertebra.name == "C2":
        primitives = _body_of(vertebra) + _axis_extras(vertebra) + _arch(vertebra)
    elif vertebra.name[0] == "S":
        primitives = _sacral(vertebra)
    else:
        primitives = _body_of(vertebra) + _arch(vertebra)
    # Bones of the neck are denser than those of the loin.
    density = {"C": 1.5, "T": 1.08, "L": 1.0, "S": 0.8}[vertebra.name[0]]
    return Solid(tuple(primitives), build.cortex_hu, build.bone_hu * density, 0.16, 0.35, 1.5)


def _body_of(vertebra: Vertebra) -> list[Primitive]:
    width, depth = _half_sizes(vertebra)
    worn = 1.0 + 0.6 * vertebra.osteophyte
    heights = (0.5 * vertebra.front_mm, 0.5 * vertebra.back_mm)
    waist = 0.05 if vertebra.name[0] == "C" else 0.1
    frame = _frame(vertebra)
    primitives = [
        body(
            frame, (width, depth), heights, waist, vertebra.concavity_mm,
            lip=0.14 * vertebra.osteophyte, hollow=0.12, shell_mm=0.75 * worn,
        )
    ]  # fmt: skip
    if vertebra.name in ("C3", "C4", "C5", "C6", "C7"):  # the uncinate processes
        for side in _LEFT_RIGHT:
            rim = (side * width * 0.93, 0.15 * depth, heights[1] - 1.0)
            primitives.append(capsule(frame, rim, (rim[0], 0.7 * depth, heights[1] + 1.5), 1.8))
    return primitives


def _arch(vertebra: Vertebra) -> list[Primitive]:
    """Pedicles, articular and transverse processes, laminae and the spinous process."""
    size, scale, frame = vertebra.size, vertebra.scale, _frame(vertebra)
    letter = vertebra.name[0]
    half_width, depth = _half_sizes(vertebra)
    height = 0.5 * vertebra.back_mm
    canal_half, canal_depth = 0.5 * size.canal_width * scale, size.canal_depth * scale
    canal_y, rear_y = depth + 0.5 * canal_depth, depth + canal_depth
    pillar_x = canal_half + {"C": 6.5, "T": 4.0, "L": 5.5}[letter] * scale
    pillar_y = depth + {"C": 0.35, "T": 0.75, "L": 0.9}[letter] * canal_depth
    pedicle = {"C": 2.7, "T": 2.6 + 0.12 * max(half_width - 13.0, 0.0), "L": 4.3}[letter] * scale
    tilt = {"C": -0.15, "T": 0.15, "L": 0.1}[letter]
    lamina = {"C": 2.1, "T": 3.2, "L": 3.4}[letter] * scale
    primitives = []
    for side in _LEFT_RIGHT:
        root_x = min(canal_half + pedicle + 0.3, half_width - 0.4 * pedicle) if letter != "C" else half_width - 2.5
        raised = 0.35 * height
        primitives.append(
            capsule(
                frame, (side * root_x, depth - 4.0, raised), (side * pillar_x, pillar_y, 0.8 * raised), pedicle, 1.5
            )
        )
        facet = {"C": 5.2, "T": 3.6, "L": 5.0}[letter] * scale
        spread = {"C": 0.0, "T": 0.0, "L": 2.0}[letter]
        top = (side * (pillar_x + spread), pillar_y - tilt * height, 0.55 * height)
        base = (side * (pillar_x - spread), pillar_y + 0.35 * height + tilt * height, -1.05 * height)
        primitives.append(capsule(frame, top, base, facet, 1.0, 1.5))
        primitives.append(
            capsule(frame, (side * (pillar_x - 1.0), pillar_y + 1.0, -0.1 * height), (0.0, rear_y + 2.5, -0.35 * height),
                    lamina, 0.62 * height / lamina, 1.4)
        )  # fmt: skip
        primitives += _transverse(vertebra, side, (pillar_x, pillar_y))
    primitives += _spinous(vertebra, rear_y)
    canal = (canal_half, 0.5 * canal_depth)
    primitives.append(capsule(frame, (0.0, canal_y, -30.0), (0.0, canal_y, 30.0), min(canal) * 0.98, 1.0, carve=True))
    if canal[0] > canal[1] + 1.0:
        shift = canal[0] - 0.8 * canal[1]
        for side in _LEFT_RIGHT:
            ends = (side * shift, canal_y - 0.15 * canal[1], -30.0), (side * shift, canal_y - 0.15 * canal[1], 30.0)
            # The side pockets are carved between the pedicles only.
            primitives.append(capsule(frame, *ends, 0.72 * canal[1], carve=True))
    return primitives


def _transverse(vertebra: Vertebra, side: float, pillar: tuple[float, float]) -> list[Primitive]:
    scale, frame = vertebra.scale, _frame(vertebra)
    tip = side * vertebra.size.transverse_mm * scale
    height = 0.5 * vertebra.back_mm
    if vertebra.name[0] == "C":  # two bars around the artery's hole
        half_width, depth = _half_sizes(vertebra)
        front, behind = (side * (half_width - 1.0), 0.1 * depth), (side * pillar[0], pillar[1])
        return [
            capsule(frame, (*front, -1.0), (tip, 0.45 * depth, -2.5), 1.9),
            capsule(frame, (*behind, 0.0), (tip, 0.8 * depth, -2.5), 2.0),
        ]
    if vertebra.name[0] == "T":
        back = 6.0 + 0.25 * abs(tip)
        return [capsule(frame, (side * pillar[0], pillar[1], 0.3 * height), (tip, pillar[1] + back, 0.45 * height),
                        (3.6 * scale, 4.4 * scale), 1.15)]  # fmt: skip
    thick = 1.6 if vertebra.name in ("L5", "L6") else 1.0
    return [capsule(frame, (side * pillar[0], pillar[1] - 3.0, 0.25 * height), (tip, pillar[1] + 4.0, 0.35 * height),
                    (3.2 * scale * thick, 2.6 * scale * thick), 1.5)]  # fmt: skip


def _spinous(vertebra: Vertebra, rear_y: float) -> list[Primitive]:
    size, scale, frame = vertebra.size, vertebra.scale, _frame(vertebra)
    height = 0.5 * vertebra.back_mm
    angle, length = np.radians(size.spinous_degrees), size.spinous_mm * scale
    thin = {"C": 2.2, "T": 2.5, "L": 2.8, "S": 2.2}[vertebra.name[0]] * scale
    high = max(0.5 * size.spinous_height * scale / thin, 1.0)
    start = np.array([0.0, rear_y + 2.0, -0.35 * height])
    tip = start + (length - 2.0) * np.array([0.0, np.cos(angle), -np.sin(angle)])
    if vertebra.name in ("C2", "C3", "C4", "C5"):  # split at the end
        fork = start + 0.65 * (tip - start)
        ends = [tip + np.array([side * 4.0 * scale, 0.0, -1.0]) for side in _LEFT_RIGHT]
        return [capsule(frame, start, fork, thin, high, 1.3)] + [capsule(frame, fork, e, thin, 1.0, 1.3) for e in ends]
    return [capsule(frame, start, tip, (thin, 1.25 * thin), high, 1.3)]


def _atlas(vertebra: Vertebra) -> list[Primitive]:
    """C1: two lateral masses joined by a short front arch and a long rear arch; the origin lies in the dens."""
    s, frame = vertebra.scale, _frame(vertebra)
    front = [(x * s, y * s, 0.0) for x, y in ((-15.0, -4.0), (-8.0, -8.5), (0.0, -10.5), (8.0, -8.5), (15.0, -4.0))]
    rear = [
        (x * s, y * s, 0.0)
        for x, y in ((-18.0, 7.0), (-18.5, 16.0), (-13.0, 25.0), (0.0, 30.5), (13.0, 25.0), (18.5, 16.0), (18.0, 7.0))
    ]
    primitives = chain(frame, front, 2.8 * s, 1.6, 1.6) + chain(frame, rear, 2.5 * s, 1.6, 1.6)
    for side in _LEFT_RIGHT:
        primitives.append(ellipsoid(frame, (side * 17.5 * s, 2.0 * s, 0.0), (6.5 * s, 9.5 * s, 8.5 * s), 1.4))
        tip = (side * 38.0 * s, 5.0 * s, -1.0)
        primitives.append(capsule(frame, (side * 20.0 * s, 1.0 * s, -1.0), tip, (3.0 * s, 3.6 * s), 1.1))
    return primitives


def _axis_extras(vertebra: Vertebra) -> list[Primitive]:
    """C2's dens, which reaches up into C1's ring, and its broad shoulders."""
    s, frame = vertebra.scale, _frame(vertebra)
    height = 0.5 * vertebra.back_mm
    primitives = [
        capsule(frame, (0.0, -1.0, 0.5 * height), (0.0, -0.5, height + 17.0 * s), (6.0 * s, 5.0 * s), 1.0, 1.5)
    ]
    for side in _LEFT_RIGHT:
        primitives.append(ellipsoid(frame, (side * 14.0 * s, 3.0, 0.75 * height), (9.0 * s, 8.5 * s, 6.0 * s), 1.4))
    return primitives


def _sacral(vertebra: Vertebra) -> list[Primitive]:
    """A sacral segment: body, wings fused with its neighbours, roof of the canal."""
    s, frame, size = vertebra.scale, _frame(vertebra), vertebra.size
    half_width, depth = _half_sizes(vertebra)
    front, back = 0.5 * vertebra.front_mm, 0.5 * vertebra.back_mm
    rear_y = depth + size.canal_depth * s
    primitives = [body(frame, (half_width, depth), (front * 1.05, back * 0.95), 0.06, 0.5, hollow=0.1, shell_mm=0.8)]
    for side in _LEFT_RIGHT:
        tip = (side * size.transverse_mm * s, depth * 0.9, -0.2 * back)
        wing = 10.0 if vertebra.name == "S1" else 0.45 * size.depth
        primitives.append(
            capsule(frame, (side * half_width * 0.8, 0.35 * depth, 0.0), tip, (wing * s, 0.8 * wing * s), 1.35, 1.0)
        )
        primitives.append(
            capsule(
                frame, (side * 0.55 * size.transverse_mm * s, rear_y - 4.0, 0.0), (0.0, rear_y + 1.5, 0.0), 2.6, 2.6
            )
        )
        foramen_x = side * (half_width + 2.0)
        primitives.append(capsule(frame, (foramen_x, -depth, -back), (foramen_x, rear_y, -back), 3.2, carve=True))
    primitives += _spinous(vertebra, rear_y)
    canal_y = depth + 0.5 * size.canal_depth * s
    shift = 0.25 * size.canal_width * s
    radius = 0.47 * size.canal_depth * s
    primitives.append(capsule(frame, (-shift, canal_y, -14.0), (-shift, canal_y, 14.0), radius, carve=True))
    primitives.append(capsule(frame, (shift, canal_y, -14.0), (shift, canal_y, 14.0), radius, carve=True))
    return primitives
