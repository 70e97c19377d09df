"""The organs of an average adult, from the neck to the pelvis, as stacks of tilted squircles.

Every organ is a list of keys (level, x, y, radius x, radius y) between which sections are interpolated; x and y are mm
from the middle of the spine, y positive backwards; of a paired organ the left one. Later ones cover earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vertloc.phantom.patient import Build

Key = tuple[float, float, float, float, float]
Keys = Sequence[Key]

FINE, MEDIUM, COARSE = 1.25, 0.6, 0.25
"""Texture points per mm."""


@dataclass(frozen=True)
class Organ:
    """One stack of sections: HU, texture in HU and its points per mm, turn about z, squareness (0 ellipse, 1 box)."""

    keys: Keys
    hu: float
    texture_hu: float = 0.0
    pitch: float = MEDIUM
    turn_degrees: float = 0.0
    squareness: float = 0.0
    is_paired: bool = False


def draw_organs(build: Build, rng: np.random.Generator) -> list[Organ]:
    """List all organs in the order of painting; the bowel is drawn at random."""
    return [*_neck(build), *_chest(build), *_abdomen(build, rng), *_back(build)]


def _keys(text: str) -> Keys:
    """Read keys: five numbers each, parted by bars."""
    return [_key(*(float(number) for number in key.split())) for key in text.split("|")]


def _key(level: float, x: float, y: float, radius_x: float, radius_y: float) -> Key:
    return level, x, y, radius_x, radius_y


def _neck(build: Build) -> list[Organ]:
    muscle, blood = build.muscle_hu, build.vessel_hu
    return [
        # Small muscles and the fat between them; the large ones follow.
        Organ(
            _keys("-2.5 0 2 56 48 | 0 0 4 52 46 | 5 0 6 54 42 | 7.4 0 8 80 40 | 8.6 0 10 70 30"),
            0.35 * muscle,
            42.0,
            COARSE,
        ),
        # The pharynx, tongue and larynx around the airway.
        Organ(
            _keys(
                "-2.0 0 -46 26 30 | 1 0 -46 30 32 | 2.5 0 -40 26 24 | 4.5 0 -32 22 18 | "
                "6.5 0 -30 20 16 | 7.5 0 -30 14 14"
            ),
            muscle,
            10.0,
        ),
        Organ(
            _keys(
                "0.0 0 -24 13 7 | 1 0 -23 13 7 | 3 0 -24 10 8 | 4.2 0 -29 6 7.5 | 6 0 -30 8.5 7.5 | "
                "7.5 0 -34 8.5 7.5 | 9 0 -36 9 8.5 | 10.6 0 -32 11 8"
            ),
            -990.0,
        ),
        # The nasal cavity with its conchae above the palate, which lies at the height of C1, and the nasopharynx.
        Organ(_keys("-4.0 0 -66 14 16 | -2.5 0 -62 15 26 | -0.2 0 -58 14 27"), -520.0, 330.0, MEDIUM, squareness=0.4),
        Organ(_keys("-2.2 0 -30 9 7 | -1.0 0 -28 15 9 | 0.6 0 -24 15 8"), -970.0),
        Organ(_keys("-4.2 28 -64 13 15 | -2.0 28 -62 13 16 | -0.6 26 -62 9 9"), -980.0, is_paired=True),
        Organ(_keys("4.8 15 -28 5 9 | 5.8 16 -27 8 12 | 7.2 15 -28 5 8"), 105.0, 8.0, is_paired=True),
        Organ(_keys("0.0 24 -14 4 4 | 3 26 -18 4.5 4.5 | 6 22 -22 4 4 | 8 24 -38 5 5"), blood, is_paired=True),
        Organ(_keys("0.0 32 -10 6 5 | 3 34 -16 7 6 | 6 32 -20 8 6 | 8 28 -40 8 7"), blood, is_paired=True),
        Organ(
            _keys("-0.5 48 4 9 18 | 2.5 44 -10 8 16 | 5 34 -30 8 12 | 7.5 18 -50 8 6"),
            muscle,
            8.0,
            turn_degrees=-25.0,
            is_paired=True,
        ),
        Organ(_keys("1.0 9 -11 8 4 | 6 10 -12 8 4 | 9 10 -14 6 3"), muscle, 8.0, is_paired=True),
        Organ(_keys("2.0 26 0 8 10 | 5 30 0 11 14 | 7 36 -2 12 14"), muscle, 8.0, is_paired=True),
        Organ(_keys("6.2 6 -16 9 6 | 10 8 -22 8 6 | 16 8 -26 9 7"), 42.0, 10.0),  # the oesophagus
    ]


def _chest(build: Build) -> list[Organ]:
    blood, muscle = build.vessel_hu, build.muscle_hu
    heart = max(0.75 * blood, 45.0)
    return [
        Organ(
            _keys("7.2 0 -26 34 24 | 8.5 0 -40 36 36 | 11 0 -56 34 52 | 14 2 -62 36 56 | 16.5 4 -60 44 55"),
            -85.0,
            40.0,
            COARSE,
            squareness=0.2,
        ),
        Organ(_keys("8.0 -22 -42 8 8 | 11 -26 -56 10 9 | 13.0 -30 -56 10 10"), blood),
        Organ(
            _keys("8.0 16 -40 6 6 | 10.0 4 -46 20 12 | 10.6 2 -48 30 14 | 11.2 -8 -62 15 15 | 13.0 -6 -62 15 15"), blood
        ),
        Organ(_keys("11.2 4 -52 42 12 | 12.2 4 -54 40 13"), blood),
        Organ(
            _keys("12.0 10 -64 34 26 | 13.2 16 -72 50 36 | 15.0 24 -80 52 36 | 16.4 28 -84 40 24"),
            heart,
            10.0,
            turn_degrees=25.0,
        ),
        Organ(_keys("10.8 22 -22 10 8 | 12.5 38 -30 12 9"), -950.0, is_paired=True),
        # Muscle and fat beside the bodies, between the lungs and the ribs' heads.
        Organ(_keys("7.0 0 8 26 20 | 9 0 14 20 18 | 14 0 17 21 20 | 18.5 0 20 27 24"), 0.3 * muscle, 35.0, COARSE),
    ]


def _abdomen(build: Build, rng: np.random.Generator) -> list[Organ]:
    blood, muscle, organ = build.vessel_hu, build.muscle_hu, build.organ_hu
    contrast = 0.4 * max(blood - 45.0, 0.0)
    liver = _keys(
        "15.6 -66 -62 30 30 | 16.4 -62 -55 62 58 | 18 -60 -50 68 62 | 19.5 -72 -42 52 56 | "
        "21 -86 -36 26 36 | 22 -90 -40 10 14"
    )
    organs = [
        # The fat around the great vessels, the kidneys and the diaphragm's crura.
        Organ(_keys("16.5 4 -24 46 30 | 18.0 0 -22 62 40 | 20.0 0 -20 80 46 | 22.0 0 -20 80 46"), -95.0, 16.0),
        Organ(liver, organ + contrast, 5.0, squareness=0.2),
        Organ(_keys("16.4 45 -85 40 26 | 18 46 -80 44 28 | 20 30 -80 40 20"), 30.0, 30.0, COARSE),
        Organ(
            _keys("16.6 88 -6 18 22 | 18 92 -6 22 34 | 19.5 96 -14 14 22"),
            organ + 1.2 * contrast,
            5.0,
            turn_degrees=20.0,
        ),
    ]
    for _ in range(16):  # loops of bowel, some with gas
        level, x, y = rng.uniform(19.0, 25.5), rng.uniform(-95.0, 95.0), rng.uniform(-105.0, -42.0)
        radius, length = rng.uniform(12.0, 21.0), rng.uniform(0.7, 1.6)
        keys = [
            (level - length, x, y, 2.0, 2.0),
            (level - 0.6 * length, x, y, radius, radius),
            (level + 0.6 * length, x + 8, y, radius, radius),
            (level + length, x + 8, y, 2.0, 2.0),
        ]
        organs.append(Organ(keys, 35.0, 25.0))
        if rng.random() < 0.45:
            gas = [(k[0], k[1], k[2] - 3.0, 0.72 * k[3], 0.6 * k[4]) for k in keys[1:3]]
            organs.append(Organ(gas, -900.0))
    kidney = organ - 25.0 + 1.5 * contrast
    organs += [
        Organ(
            _keys("18.2 42 -4 10 10 | 19.0 48 -2 25 26 | 20.5 54 -4 27 28 | 21.6 58 -10 18 18 | 21.9 58 -12 8 8"),
            kidney,
            8.0,
            turn_degrees=-30.0,
            is_paired=True,
        ),
        Organ(_keys("19.4 42 -8 8 9 | 20.8 46 -10 8 9"), -60.0, 20.0, turn_degrees=-30.0, is_paired=True),
        Organ(_keys("25.0 0 -95 30 20 | 26.5 0 -90 40 30 | 28.5 0 -88 36 28"), 8.0),
        Organ(_keys("25.0 6 -34 16 14 | 27 0 -28 18 16 | 30 0 -10 16 15"), 25.0, 60.0, COARSE),
        # The great vessels: the aorta to the left and in front, the inferior vena cava to the right.
        Organ(
            _keys("11.0 24 -10 12 12 | 13 24 -16 12 12 | 16 18 -24 11.5 11.5 | 18.5 8 -31 10.5 10.5 | 22.3 4 -31 9 9"),
            blood,
        ),
        Organ(_keys("16.0 -22 -40 12 10 | 19 -20 -32 13 10 | 22.6 -14 -30 12 9"), 0.85 * blood),
        Organ(_keys("22.3 9 -30 6 6 | 24 28 -38 6 6 | 26.5 50 -60 6 6"), blood, is_paired=True),
    ]
    organs += [
        # The diaphragm's crura, psoas, quadratus lumborum, iliacus, the gluteal muscles, piriformis.
        Organ(_keys("17.0 12 -22 8 6 | 20.5 14 -22 6 6"), muscle, 6.0, is_paired=True),
        Organ(
            _keys(
                "18.6 25 0 5 7 | 20 32 -4 13 15 | 22 42 -6 20 22 | 24 54 -22 20 22 | 26 66 -52 18 20 | 28 80 -75 16 16"
            ),
            muscle,
            8.0,
            is_paired=True,
        ),
        Organ(
            _keys("19.0 58 14 12 8 | 21 68 14 18 10 | 22.8 74 10 16 9"), muscle, 8.0, turn_degrees=-15.0, is_paired=True
        ),
        Organ(
            _keys("22.8 92 -8 24 8 | 24 96 -10 24 12 | 26 94 -30 20 14"),
            muscle,
            10.0,
            turn_degrees=55.0,
            is_paired=True,
        ),
        Organ(
            _keys("22.6 110 16 24 16 | 24 92 38 48 22 | 26 82 50 62 28 | 29 80 56 64 32"),
            muscle,
            16.0,
            turn_degrees=-22.0,
            is_paired=True,
        ),
    ]
    return organs


def _back(build: Build) -> list[Organ]:
    """List the muscles behind and beside the spine; the fat between them shows as texture."""
    muscle = build.muscle_hu
    return [
        Organ(
            _keys("2.0 30 42 26 7 | 5 46 42 40 8 | 7 60 42 60 10 | 10 55 48 50 7 | 15 40 50 36 5 | 17 30 50 20 4"),
            muscle,
            14.0,
            turn_degrees=-6.0,
            is_paired=True,
        ),
        Organ(
            _keys(
                "-0.5 16 34 16 16 | 2 22 33 18 17 | 5 22 34 19 18 | 8 24 36 20 14 | 12 27 38 22 13 | "
                "16 30 38 25 14 | 19 31 41 28 19 | 22 32 44 30 22 | 23.5 28 50 26 20 | 25 20 58 20 12 | "
                "26 14 60 12 6"
            ),
            muscle,
            22.0,
            MEDIUM,
            is_paired=True,
            squareness=0.2,
        ),
        Organ(_keys("-2.0 22 44 20 12 | 0 24 38 20 16 | 2 26 40 18 12"), muscle, 14.0, is_paired=True),
        # Between the spines.
        Organ(_keys("1.0 0 40 3 16 | 6 0 42 3 18 | 18 0 44 3 14 | 24 0 52 4 14"), 10.0, 30.0, MEDIUM),
    ]
