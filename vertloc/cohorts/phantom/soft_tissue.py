"""A patient -> stacks of cross-sections: skin, fat, muscles, airway, lungs, heart, vessels, belly and pelvic organs.

Every organ is a list of keys (level, x, y, radius x, radius y) that are interpolated along the height; x and y are
measured from the middle of the spine in mm of an average adult, y positive backwards. Later ones cover earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.cohorts.phantom.patient import Build, Patient
from vertloc.cohorts.phantom.torso import Torso

Keys = Sequence[tuple[float, float, float, float, float]]

_FINE, _MEDIUM, _COARSE = 1.25, 0.6, 0.25
"""Texture points per mm."""


@dataclass(frozen=True, eq=False)
class SectionTable:
    """Sections as the arrays that `paint_sections` takes: (n, z, 7) and (n, 4)."""

    sections: NDArray[np.float64]
    tissues: NDArray[np.float64]


@dataclass(frozen=True)
class _Organ:
    keys: Keys
    hu: float
    texture_hu: float = 0.0
    pitch: float = _MEDIUM
    turn_degrees: float = 0.0
    squareness: float = 0.0
    is_paired: bool = False


def soft_tissue(patient: Patient, torso: Torso, heights_mm: NDArray[np.float64]) -> SectionTable:
    """Sections of the whole body at the heights of a scan's slices (increasing z, mm)."""
    rng = np.random.default_rng([patient.detail_seed, 1])
    layers = _layers(patient.build, torso, heights_mm)
    organs = [*_neck(patient.build), *_chest(patient.build, torso), *_belly(patient.build, rng), *_back(patient.build)]
    for organ in organs:
        layers += _interpolate(organ, torso, heights_mm)
    # The table and the skin lie in the air; nothing else may reach out of the body.
    tissues = np.array([(*tissue, float(i < 4)) for i, (_, tissue) in enumerate(layers)])
    return SectionTable(np.stack([section for section, _ in layers]), tissues)


def _section(n: int) -> NDArray[np.float64]:
    section = np.zeros((n, 7))
    section[:, 4] = 1.0
    return section


_Layer = tuple[NDArray[np.float64], tuple[float, float, float]]


def _layers(build: Build, torso: Torso, z: NDArray[np.float64]) -> list[_Layer]:
    """The table, then the body from outside in: skin, fat, the muscular wall, the fat between the organs, the lungs."""
    x, y = torso.smooth_at(z)
    half, front, rear = torso.skin(z)
    fat = torso.fat(z)
    n = len(z)
    layers: list[_Layer] = []
    lowest = float(np.max(torso.smooth_at(torso.heights_mm)[1] + torso.skin(torso.heights_mm)[2])) + 2.0
    # A curved table: the lower arc of a flat ellipse; what lies above the arc is air again.
    for depth, width, hu, lift in (
        (46.0, 232.0, 90.0, 0.0),
        (43.5, 229.0, -930.0, 0.0),
        (200.0, 260.0, -1000.0, 166.0),
    ):
        table = _section(n)
        table[:] = (float(np.median(x)), lowest - 26.0 - lift, width, depth, 1.0, 0.0, 1.0 if lift else 0.2)
        layers.append((table, (hu, 0.0, 1.0)))
    level = torso.level_at(z)
    squareness = np.interp(level, [-2.0, 5.0, 9.0, 14.0, 24.0], [0.1, 0.3, 0.5, 0.35, 0.4])
    wall = np.interp(level, [-4.0, -2.0, 6.0, 9.0, 20.0, 26.0], [3.0, 7.0, 8.0, 14.0, 12.0, 30.0])
    inner_hu = (0.0, -98.0, build.muscle_hu, -95.0)
    insets = (np.zeros(n), np.full(n, 1.8), 1.8 + fat, 1.8 + fat + wall)
    textures = ((0.0, _FINE), (12.0, _MEDIUM), (14.0, _MEDIUM), (16.0, _MEDIUM))
    for inset, hu, (deviation, pitch) in zip(insets, inner_hu, textures, strict=True):
        section = _section(n)
        section[:, 0], section[:, 1] = x, y + 0.5 * (rear - front)
        section[:, 2], section[:, 3] = half - inset, 0.5 * (rear + front) - np.minimum(inset, 12.0 + 0.5 * inset)
        section[:, 6] = squareness
        layers.append((section, (hu, deviation, pitch)))
    return layers + _lungs(torso, z)


def _lungs(torso: Torso, z: NDArray[np.float64]) -> list[_Layer]:
    """The muscles between the ribs and, within, two lungs that the diaphragm ends."""
    level = torso.level_at(z)
    x, y = torso.spine_at(z)
    half, front, rear = torso.rib_cage(z)
    layers: list[_Layer] = []
    cage = _section(len(z))
    cage[:, 0], cage[:, 1], cage[:, 2] = (
        x,
        y + 0.5 * (rear - front),
        np.where((level > 7.0) & (level < 19.5), half + 9.0, 0.0),
    )
    cage[:, 3], cage[:, 6] = 0.5 * (rear + front) + 6.0, 0.4
    layers.append((cage, (45.0, 18.0, _MEDIUM)))
    for side in (1.0, -1.0):
        dome = 16.4 if side > 0 else 15.8
        # Past the dome the lung shrinks backwards into the costodiaphragmatic recess.
        shrink = np.sqrt(np.clip((18.6 - level) / (18.6 - dome + 1.5), 0.0, 1.0))
        lung = _section(len(z))
        lateral = 0.3 + 0.7 * shrink
        lung[:, 0] = x + side * half * (1.0 - 0.46 * lateral)
        lung[:, 2] = np.where((level > 6.7) & (shrink > 0.05), half * 0.46 * lateral, 0.0)
        lung[:, 3] = 0.5 * (rear + front) * np.where(shrink < 1.0, 0.2 + 0.8 * shrink, 1.0)
        lung[:, 1] = y + rear - lung[:, 3]
        lung[:, 6] = 0.45 * shrink
        layers.append((lung, (-855.0, 45.0, _MEDIUM)))
    return layers


def _interpolate(organ: _Organ, torso: Torso, z: NDArray[np.float64]) -> list[_Layer]:
    """Turn an organ's keys into one section, or two mirrored ones."""
    keys = np.array(organ.keys, dtype=np.float64)
    level = torso.level_at(z)
    x, y = torso.spine_at(z)
    # Ends are round, over 0.7 of a level.
    depth = np.clip(np.minimum(level - keys[0, 0], keys[-1, 0] - level) / 0.7, 0.0, 1.0)
    taper = np.sqrt(1.0 - (1.0 - depth) ** 2)
    present = taper > 0.0
    values = [np.interp(level, keys[:, 0], keys[:, c]) * torso.size for c in range(1, 5)]
    layers = []
    for side in (1.0, -1.0) if organ.is_paired else (1.0,):
        section = _section(len(z))
        section[:, 0], section[:, 1] = x + side * values[0], y + values[1]
        section[:, 2], section[:, 3] = np.where(present, values[2] * taper, 0.0), values[3] * taper
        turn = np.radians(organ.turn_degrees) * side
        section[:, 4], section[:, 5], section[:, 6] = np.cos(turn), np.sin(turn), organ.squareness
        layers.append((section, (organ.hu, organ.texture_hu, organ.pitch)))
    return layers


def _neck(build: Build) -> list[_Organ]:
    muscle, blood = build.muscle_hu, build.vessel_hu
    return [
        # Small muscles and the fat between them; the large ones follow.
        _Organ([(-2.5, 0, 2, 56, 48), (0, 0, 4, 52, 46), (5, 0, 6, 54, 42), (7.4, 0, 8, 80, 40), (8.6, 0, 10, 70, 30)], 0.35 * muscle, 42.0, _COARSE),
        # The throat's soft tissue, tongue and larynx around the airway.
        _Organ([(-2.0, 0, -46, 26, 30), (1, 0, -46, 30, 32), (2.5, 0, -40, 26, 24), (4.5, 0, -32, 22, 18), (6.5, 0, -30, 20, 16), (7.5, 0, -30, 14, 14)], muscle, 10.0),
        _Organ([(-1.0, 0, -24, 13, 6), (1, 0, -22, 12, 6), (3, 0, -24, 10, 8), (4.2, 0, -29, 6, 7.5), (6, 0, -30, 8.5, 7.5), (7.5, 0, -34, 8.5, 7.5), (9, 0, -36, 9, 8.5), (10.6, 0, -32, 11, 8)], -990.0),
        _Organ([(-6.0, 0, -72, 11, 12), (-3.0, 0, -66, 12, 20), (-1.2, 0, -60, 9, 22)], -960.0, 30.0),
        _Organ([(-6.0, 28, -62, 13, 15), (-3.0, 27, -60, 12, 14), (-1.9, 25, -60, 6, 6)], -980.0, is_paired=True),
        _Organ([(4.8, 15, -28, 5, 9), (5.8, 16, -27, 8, 12), (7.2, 15, -28, 5, 8)], 105.0, 8.0, is_paired=True),
        _Organ([(0.0, 24, -14, 4, 4), (3, 26, -18, 4.5, 4.5), (6, 22, -22, 4, 4), (8, 24, -38, 5, 5)], blood, is_paired=True),
        _Organ([(0.0, 32, -10, 6, 5), (3, 34, -16, 7, 6), (6, 32, -20, 8, 6), (8, 28, -40, 8, 7)], blood, is_paired=True),
        _Organ([(-0.5, 48, 4, 9, 18), (2.5, 44, -10, 8, 16), (5, 34, -30, 8, 12), (7.5, 18, -50, 8, 6)], muscle, 8.0, turn_degrees=-25.0, is_paired=True),
        _Organ([(1.0, 9, -11, 8, 4), (6, 10, -12, 8, 4), (9, 10, -14, 6, 3)], muscle, 8.0, is_paired=True),
        _Organ([(2.0, 26, 0, 8, 10), (5, 30, 0, 11, 14), (7, 36, -2, 12, 14)], muscle, 8.0, is_paired=True),
        _Organ([(6.2, 6, -16, 9, 6), (10, 8, -22, 8, 6), (16, 8, -26, 9, 7)], 42.0, 10.0),  # the gullet
    ]  # fmt: skip


def _chest(build: Build, torso: Torso) -> list[_Organ]:
    blood, muscle = build.vessel_hu, build.muscle_hu
    heart = max(0.75 * blood, 45.0)
    return [
        _Organ([(7.2, 0, -26, 34, 24), (8.5, 0, -40, 36, 36), (11, 0, -56, 34, 52), (14, 2, -62, 36, 56), (16.5, 4, -60, 44, 55)], -85.0, 40.0, _COARSE, squareness=0.2),
        _Organ([(8.0, -22, -42, 8, 8), (11, -26, -56, 10, 9), (13.0, -30, -56, 10, 10)], blood),
        _Organ([(8.0, 16, -40, 6, 6), (10.0, 4, -46, 20, 12), (10.6, 2, -48, 30, 14), (11.2, -8, -62, 15, 15), (13.0, -6, -62, 15, 15)], blood),
        _Organ([(11.2, 4, -52, 42, 12), (12.2, 4, -54, 40, 13)], blood),
        _Organ([(12.0, 10, -64, 34, 26), (13.2, 16, -72, 50, 36), (15.0, 24, -80, 52, 36), (16.4, 28, -84, 40, 24)], heart, 10.0, turn_degrees=25.0),
        _Organ([(10.8, 22, -22, 10, 8), (12.5, 38, -30, 12, 9)], -950.0, is_paired=True),
        # Muscle and fat beside the bodies, between the lungs and the ribs' heads.
        _Organ([(7.0, 0, 8, 26, 20), (9, 0, 14, 20, 18), (14, 0, 17, 21, 20), (18.5, 0, 20, 27, 24)], 0.3 * muscle, 35.0, _COARSE),
    ]  # fmt: skip


def _belly(build: Build, rng: np.random.Generator) -> list[_Organ]:
    blood, muscle, organ = build.vessel_hu, build.muscle_hu, build.organ_hu
    contrast = 0.4 * max(blood - 45.0, 0.0)
    liver = [
        (15.6, -66, -62, 30, 30),
        (16.4, -62, -55, 62, 58),
        (18, -60, -50, 68, 62),
        (19.5, -72, -42, 52, 56),
        (21, -86, -36, 26, 36),
        (22, -90, -40, 10, 14),
    ]
    organs = [
        # The fat around the great vessels, the kidneys and the diaphragm's legs.
        _Organ([(16.5, 4, -24, 46, 30), (18.0, 0, -22, 62, 40), (20.0, 0, -20, 80, 46), (22.0, 0, -20, 80, 46)], -95.0, 16.0),
        _Organ(liver, organ + contrast, 5.0, squareness=0.2),
        _Organ([(16.4, 45, -85, 40, 26), (18, 46, -80, 44, 28), (20, 30, -80, 40, 20)], 30.0, 30.0, _COARSE),
        _Organ([(16.6, 88, -6, 18, 22), (18, 92, -6, 22, 34), (19.5, 96, -14, 14, 22)], organ + 1.2 * contrast, 5.0, turn_degrees=20.0),
    ]  # fmt: skip
    for _ in range(16):  # loops of bowel, some with gas
        level, x, y = rng.uniform(19.0, 25.5), rng.uniform(-95.0, 95.0), rng.uniform(-105.0, -42.0)
        radius, length = rng.uniform(12.0, 21.0), rng.uniform(0.7, 1.6)
        keys = [
            (level - length, x, y, 2.0, 2.0),
            (level - 0.6 * length, x, y, radius, radius),
            (level + 0.6 * length, x + 8, y, radius, radius),
            (level + length, x + 8, y, 2.0, 2.0),
        ]
        organs.append(_Organ(keys, 35.0, 25.0))
        if rng.random() < 0.45:
            gas = [(k[0], k[1], k[2] - 3.0, 0.72 * k[3], 0.6 * k[4]) for k in keys[1:3]]
            organs.append(_Organ(gas, -900.0))
    kidney = organ - 25.0 + 1.5 * contrast
    organs += [
        _Organ([(18.2, 42, -4, 10, 10), (19.0, 48, -2, 25, 26), (20.5, 54, -4, 27, 28), (21.6, 58, -10, 18, 18), (21.9, 58, -12, 8, 8)], kidney, 8.0, turn_degrees=-30.0, is_paired=True),
        _Organ([(19.4, 42, -8, 8, 9), (20.8, 46, -10, 8, 9)], -60.0, 20.0, turn_degrees=-30.0, is_paired=True),
        _Organ([(25.0, 0, -95, 30, 20), (26.5, 0, -90, 40, 30), (28.5, 0, -88, 36, 28)], 8.0),
        _Organ([(25.0, 6, -34, 16, 14), (27, 0, -28, 18, 16), (30, 0, -10, 16, 15)], 25.0, 60.0, _COARSE),
        # The great vessels: the aorta to the left and in front, the caval vein to the right.
        _Organ([(11.0, 24, -10, 12, 12), (13, 24, -16, 12, 12), (16, 18, -24, 11.5, 11.5), (18.5, 8, -31, 10.5, 10.5), (22.3, 4, -31, 9, 9)], blood),
        _Organ([(16.0, -22, -40, 12, 10), (19, -20, -32, 13, 10), (22.6, -14, -30, 12, 9)], 0.85 * blood),
        _Organ([(22.3, 9, -30, 6, 6), (24, 28, -38, 6, 6), (26.5, 50, -60, 6, 6)], blood, is_paired=True),
    ]  # fmt: skip
    organs += [
        # The diaphragm's legs, psoas, the square muscle of the loins, iliacus, buttocks, piriformis.
        _Organ([(17.0, 12, -22, 8, 6), (20.5, 14, -22, 6, 6)], muscle, 6.0, is_paired=True),
        _Organ([(18.6, 25, 0, 5, 7), (20, 32, -4, 13, 15), (22, 42, -6, 20, 22), (24, 54, -22, 20, 22), (26, 66, -52, 18, 20), (28, 80, -75, 16, 16)], muscle, 8.0, is_paired=True),
        _Organ([(19.0, 58, 14, 12, 8), (21, 68, 14, 18, 10), (22.8, 74, 10, 16, 9)], muscle, 8.0, turn_degrees=-15.0, is_paired=True),
        _Organ([(22.8, 92, -8, 24, 8), (24, 96, -10, 24, 12), (26, 94, -30, 20, 14)], muscle, 10.0, turn_degrees=55.0, is_paired=True),
        _Organ([(22.6, 110, 16, 24, 16), (24, 92, 38, 48, 22), (26, 82, 50, 62, 28), (29, 80, 56, 64, 32)], muscle, 16.0, turn_degrees=-22.0, is_paired=True),
    ]  # fmt: skip
    return organs


def _back(build: Build) -> list[_Organ]:
    """The muscles behind and beside the spine; the fat between them shows as texture."""
    muscle = build.muscle_hu
    return [
        _Organ([(2.0, 30, 42, 26, 7), (5, 46, 42, 40, 8), (7, 60, 42, 60, 10), (10, 55, 48, 50, 7), (15, 40, 50, 36, 5), (17, 30, 50, 20, 4)], muscle, 14.0, turn_degrees=-6.0, is_paired=True),
        _Organ([(-0.5, 16, 34, 16, 16), (2, 22, 33, 18, 17), (5, 22, 34, 19, 18), (8, 24, 36, 20, 14), (12, 27, 38, 22, 13), (16, 30, 38, 25, 14), (19, 31, 41, 28, 19), (22, 32, 44, 30, 22), (23.5, 28, 50, 26, 20), (25, 20, 58, 20, 12), (26, 14, 60, 12, 6)], muscle, 22.0, _MEDIUM, is_paired=True, squareness=0.2),
        _Organ([(-2.0, 22, 44, 20, 12), (0, 24, 38, 20, 16), (2, 26, 40, 18, 12)], muscle, 14.0, is_paired=True),
        # Between the spines.
        _Organ([(1.0, 0, 40, 3, 16), (6, 0, 42, 3, 18), (18, 0, 44, 3, 14), (24, 0, 52, 4, 14)], 10.0, 30.0, _MEDIUM),
    ]  # fmt: skip
