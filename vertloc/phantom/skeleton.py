"""A patient -> solids of the bones around the spine: ribs, breastbone, shoulder girdle, pelvis, skull, jaw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.phantom.patient import Patient, Vertebra
from vertloc.phantom.solids import PATIENT_FRAME, Frame, Solid, capsule, chain, ellipsoid
from vertloc.phantom.torso import Torso

_LEFT_RIGHT = (1.0, -1.0)

# Angle along the rib cage (0 behind, 180 in front) at which a rib ends, degrees, and how far its front end hangs, mm.
_RIB_END = (150, 152, 150, 148, 145, 142, 138, 134, 128, 115, 80, 52)
_RIB_DROP = (38, 58, 72, 82, 90, 96, 100, 102, 102, 98, 72, 45)

# Where the floor of the iliac wing lies below each point of the crest, from the back to the front: x outwards, y, mm.
_WING_FLOOR = (
    *((46.0, 45.0), (47.0, 36.0), (49.0, 22.0), (54.0, 6.0)),
    *((65.0, -13.0), (80.0, -30.0), (96.0, -45.0), (105.0, -55.0), (110.0, -60.0)),
)


def skeleton_solids(patient: Patient, torso: Torso) -> list[Solid]:
    """Describe all bones but the spine."""
    solids = _lung_vessels(patient, torso)
    for vertebra in patient.vertebrae:
        if vertebra.name[0] == "T":
            solids += [_rib(vertebra, side, patient, torso) for side in _LEFT_RIGHT]
    solids += _shoulder_girdle(patient, torso)
    solids += _pelvis(patient)
    solids += _skull(patient)
    return solids


def _rib(vertebra: Vertebra, side: float, patient: Patient, torso: Torso) -> Solid:
    """Build a rib from the body's upper rear edge past the transverse process and round the cage, falling."""
    number = int(vertebra.name[1:]) - 1
    size, s = vertebra.size, vertebra.scale
    half_width, depth = vertebra.half_mm
    head = vertebra.to_patient((side * (half_width - 0.5), 0.7 * depth, 0.42 * vertebra.back_mm))
    neck_x = size.transverse_mm * s * 0.92
    neck = vertebra.to_patient(
        (side * neck_x, depth + 0.75 * size.canal_depth * s + 0.1 * neck_x, 0.38 * vertebra.back_mm)
    )
    points: list[NDArray[np.float64]] = [head, neck]
    start = 24.0 if number < 10 else 20.0
    for angle in np.radians(np.linspace(start, _RIB_END[number], 13)):
        z = neck[2] - _RIB_DROP[number] * torso.size * 0.5 * (1.0 - np.cos(angle)) * 1.1
        points.append(_on_cage(torso, float(angle), side, z, 3.0))
    primitives = chain(PATIENT_FRAME, points, 3.4 * np.sqrt(torso.size), 1.7 if number else 1.3, 1.7)
    return Solid(tuple(primitives), patient.build.cortex_hu * 0.95, 1.8 * patient.build.bone_hu, 0.15, 0.2, 1.0)


def _on_cage(torso: Torso, angle: float, side: float, z: float, outside_mm: float) -> NDArray[np.float64]:
    """Return a point on the rib cage's wall: 0 is behind, pi in front."""
    half, front, rear = (float(v) + outside_mm for v in torso.rib_cage(z))
    x, y = (float(v) for v in torso.spine_at(z))
    sine, cosine = np.sin(angle), np.cos(angle)
    # Squarer than an ellipse, as the lungs are.
    gauge = (sine**4 + cosine**4 + sine**2 * cosine**2 * 1.2) ** 0.25
    return np.array(
        [x + side * half * sine / gauge, y + 0.5 * (rear - front) + 0.5 * (rear + front) * cosine / gauge, z]
    )


def _lung_vessels(patient: Patient, torso: Torso) -> list[Solid]:
    """Scatter vessels in the lungs, from the roots outwards."""
    rng = np.random.default_rng([patient.detail_seed, 3])
    root_z = torso.height_of(12.0)
    x, y = (float(v) for v in torso.spine_at(root_z))
    vessels = []
    for side in _LEFT_RIGHT:
        root = np.array([x + side * 30.0 * torso.size, y - 30.0, root_z])
        for _ in range(34):
            z = torso.height_of(float(rng.uniform(8.0, 16.3)))
            half, front, rear = (float(v) for v in torso.rib_cage(z))
            sx, sy = (float(v) for v in torso.spine_at(z))
            across, deep = rng.uniform(0.3, 0.88), rng.uniform(-0.75, 0.8)
            tip = np.array([sx + side * half * across, sy + 0.5 * (rear - front) + 0.5 * (rear + front) * deep, z])
            start = root + rng.uniform(0.3, 0.6) * (tip - root)
            vessels.append(capsule(PATIENT_FRAME, start, tip, (float(rng.uniform(1.3, 2.6)), 0.7), shell_mm=0.0))
    blood = patient.build.vessel_hu
    # One solid each: a union of all would need a buffer as large as the chest.
    return [Solid((vessel,), blood, blood, blend_mm=0.0) for vessel in vessels]


def _shoulder_girdle(patient: Patient, torso: Torso) -> list[Solid]:
    """Build breastbone, collar bones and shoulder blades."""
    size = torso.size
    z_top = torso.height_of(9.0)
    _, front, _ = (float(v) for v in torso.rib_cage(z_top))
    x, y = (float(v) for v in torso.spine_at(z_top))
    manubrium = np.array([x, y - front - 6.0, z_top])
    z_end = torso.height_of(15.0)
    _, front_end, _ = (float(v) for v in torso.rib_cage(z_end))
    x_end, y_end = (float(v) for v in torso.spine_at(z_end))
    end = np.array([x_end, y_end - front_end - 5.0, z_end])
    plate = []
    for shift in (-11.0, -4.0, 4.0, 11.0):
        across = np.array([shift, 0.0, 0.0])
        plate.append(capsule(PATIENT_FRAME, manubrium + across * 1.6, end + across, 4.5))
    bones = [Solid(tuple(plate), 420.0, 130.0, 0.1)]
    for side in _LEFT_RIGHT:
        inner = manubrium + np.array([side * 18.0, -2.0, 8.0])
        middle = inner + np.array([side * 55.0 * size, 0.0, 14.0])
        outer = np.array([x + side * 165.0 * size, y + 5.0, torso.height_of(7.0)])
        collar = chain(PATIENT_FRAME, (inner, middle, outer), 5.5, 1.0, 1.8)
        bones.append(Solid(tuple(collar), patient.build.cortex_hu, 150.0, 0.1))
        socket = np.array([x + side * 155.0 * size, y - 8.0, torso.height_of(8.0)])
        blade = []
        for level in np.linspace(8.2, 13.5, 9):
            z = torso.height_of(float(level))
            angle = np.radians(44.0 + 2.5 * (level - 8.0))
            rim = _on_cage(torso, float(angle), side, z, 17.0)
            blade.append(capsule(PATIENT_FRAME, rim, socket + np.array([0, 0, -4.0 * (level - 8.0)]), 1.9, 1.6, 1.2))
        spine_of_blade = chain(
            PATIENT_FRAME, (_on_cage(torso, 0.8, side, torso.height_of(9.2), 24.0), outer), 3.5, 1.5, 1.2
        )
        bones.append(Solid((*blade, *spine_of_blade), patient.build.cortex_hu * 0.8, 130.0, 0.1, 0.0, 2.0))
    return bones


def _pelvis(patient: Patient) -> list[Solid]:
    """Build hip bones, as fans of flat rods from the joint's roof to the crest, and the heads of the femurs."""
    first = patient.vertebrae[patient.level_at("S1")]
    size = first.scale
    # The pelvis turns with the sacrum, by half as much.
    up = first.axes[2] + np.array([0.0, 0.0, 1.5])
    up /= np.linalg.norm(up)
    back = np.cross(up, first.axes[0])
    frame = Frame(first.centre_mm, np.stack([np.cross(back, up), back, up]))
    solids = []
    for side in _LEFT_RIGHT:
        socket = np.array([side * 88.0, -8.0, -78.0]) * size
        crest = (
            np.array(
                [
                    (48.0, 52.0, -22.0),
                    (50.0, 48.0, 2.0),
                    (60.0, 36.0, 26.0),
                    (76.0, 16.0, 40.0),
                    (96.0, -8.0, 44.0),
                    (114.0, -32.0, 38.0),
                    (124.0, -54.0, 22.0),
                    (122.0, -64.0, -2.0),
                    (114.0, -62.0, -24.0),
                ]
            )
            * size
        )
        crest[:, 0] *= side
        joint = np.array([side * 46.0, 24.0, -26.0]) * size
        fan = []
        for i, rim in enumerate(crest):
            # The plate bends in from the crest to the wing's floor, and from there runs to the joint or the socket.
            hub = np.array([side * _WING_FLOOR[i][0], _WING_FLOOR[i][1], -14.0]) * size
            fan.append(capsule(frame, rim, hub, (4.5 * size, 4.2 * size), 1.2, 1.3))
            fan.append(capsule(frame, hub, joint if i < 3 else socket, (4.2 * size, 7.5 * size), 1.2, 1.3))
            if i:
                floor = np.array([side * _WING_FLOOR[i - 1][0], _WING_FLOOR[i - 1][1], -14.0]) * size
                fan.append(capsule(frame, crest[i - 1], rim, 5.0 * size, 1.2, 1.5))
                fan.append(capsule(frame, 0.5 * (crest[i - 1] + rim), 0.5 * (floor + hub), 4.2 * size, 1.2, 1.3))
                fan.append(capsule(frame, floor, hub, 4.2 * size, 1.6, 1.3))
        fan.append(capsule(frame, joint, socket, (9.0 * size, 13.0 * size), 1.2, 1.5))
        fan.append(
            capsule(frame, socket, (side * 50.0 * size, 8.0 * size, -135.0 * size), (15.0 * size, 13.0), 1.0, 1.5)
        )
        fan.append(
            capsule(frame, socket, (side * 15.0 * size, -62.0 * size, -100.0 * size), (12.0 * size, 9.0), 1.0, 1.5)
        )
        fan.append(ellipsoid(frame, socket + np.array([side * 12.0, -6.0, -12.0]), (25.0 * size,) * 3, carve=True))
        solids.append(Solid(tuple(fan), patient.build.cortex_hu, 1.4 * patient.build.bone_hu, 0.15, 0.3, 3.0))
        head = ellipsoid(frame, socket + np.array([side * 12.0, -6.0, -12.0]), (23.0 * size,) * 3, 1.2)
        solids.append(Solid((head,), patient.build.cortex_hu, 280.0, 0.1))
    return solids


def _skull(patient: Patient) -> list[Solid]:
    """Build the vault with brain, base, condyles, upper jaw, teeth and lower jaw, turned with C1."""
    atlas = patient.vertebrae[0]
    frame = Frame(atlas.centre_mm, atlas.axes)
    s = atlas.scale
    cortex = patient.build.cortex_hu
    vault = ellipsoid(frame, (0.0, -2.0 * s, 78.0 * s), (69.0 * s, 88.0 * s, 62.0 * s), 5.5)
    hole = ellipsoid(frame, (0.0, 9.0 * s, 20.0 * s), (13.5 * s, 16.0 * s, 13.0 * s), carve=True)
    base = []
    for side in _LEFT_RIGHT:
        base.append(ellipsoid(frame, (side * 17.0 * s, 3.0 * s, 12.0 * s), (8.0 * s, 11.5 * s, 7.5 * s), 2.5))
        petrous = (side * 12.0 * s, -18.0 * s, 30.0 * s), (side * 58.0 * s, 6.0 * s, 26.0 * s)
        base.append(capsule(frame, *petrous, (6.0 * s, 12.0 * s), 1.2, 3.0))
        mastoid = (side * 54.0 * s, 10.0 * s, 20.0 * s), (side * 50.0 * s, 8.0 * s, -1.0 * s)
        base.append(capsule(frame, *mastoid, (11.0 * s, 6.0 * s), 1.0, 2.0))
    for x in (-8.0, 0.0, 8.0):  # the clivus
        sheet = (0.8 * x * s, -7.0 * s, 14.0 * s), (x * s, -34.0 * s, 37.0 * s)
        base.append(capsule(frame, *sheet, (3.2 * s, 6.0 * s), 1.0, 1.8))
    floor = chain(
        frame, [(x * s, y * s, z * s) for x, y, z in ((0, 27, 14), (0, 48, 22), (0, 70, 40))], 3.0 * s, 1.0, 1.5
    )
    base += floor
    for side in _LEFT_RIGHT:
        wing = [
            (side * 16.0 * s, 12.0 * s, 14.0 * s),
            (side * 30.0 * s, 36.0 * s, 20.0 * s),
            (side * 20.0 * s, 62.0 * s, 33.0 * s),
        ]
        base += chain(frame, wing, 3.5 * s, 1.0, 1.5)
    face = [
        capsule(frame, (0.0, -82.0 * s, 0.0), (side * 26.0 * s, -48.0 * s, 2.0 * s), 5.0 * s, 1.6, 1.5)
        for side in _LEFT_RIGHT
    ]
    palate = capsule(frame, (0.0, -76.0 * s, 5.0 * s), (0.0, -42.0 * s, 5.0 * s), 2.5 * s, 1.0)
    teeth, jaw = [], []
    for side in _LEFT_RIGHT:
        for z in (-10.0, -18.0):
            teeth += chain(
                frame,
                [(0.0, -84.0 * s, z * s), (side * 15.0 * s, -76.0 * s, z * s), (side * 25.0 * s, -48.0 * s, z * s)],
                3.0 * s,
                1.3,
                1.0,
            )
        bow = [
            (0.0, -82.0, -38.0),
            (side * 17.0, -73.0, -38.0),
            (side * 40.0, -34.0, -30.0),
            (side * 45.0, -24.0, -14.0),
            (side * 48.0, -14.0, 24.0),
        ]
        jaw += chain(frame, [tuple(s * v for v in p) for p in bow], 5.0 * s, 1.7, 2.2)
    hyoid_z = -52.0 * s
    hyoid = chain(
        frame,
        [(-16.0 * s, -26.0 * s, hyoid_z), (0.0, -46.0 * s, hyoid_z - 2), (16.0 * s, -26.0 * s, hyoid_z)],
        2.2,
        1.5,
        1.0,
    )
    return [
        Solid((vault, hole), 1.25 * cortex, 36.0),
        Solid((*base, hole), 1.1 * cortex, 350.0, 0.5),
        Solid((*face, palate), cortex, 200.0, 0.3),
        Solid(tuple(jaw), 1.3 * cortex, 250.0, 0.2),
        Solid(tuple(teeth), 1900.0, 1500.0, 0.1),
        Solid(tuple(hyoid), 350.0, 120.0),
    ]
