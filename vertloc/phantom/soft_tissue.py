"""A patient -> stacks of cross-sections: skin, fat, muscles, airway, lungs, heart, vessels, viscera.

The trunk's layers come first, then the organs; later ones cover earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.phantom.organs import FINE, MEDIUM, Organ, draw_organs
from vertloc.phantom.patient import Build, Patient
from vertloc.phantom.torso import Torso


@dataclass(frozen=True, eq=False)
class SectionTable:
    """Sections as the arrays that `paint_sections` takes: (n, z, 7), (n, 3) and the skin's index."""

    sections: NDArray[np.float64]
    tissues: NDArray[np.float64]
    skin: int


_N_TABLE_SECTIONS = 3
"""Come first; the skin follows."""


def soft_tissue(patient: Patient, torso: Torso, heights_mm: NDArray[np.float64]) -> SectionTable:
    """Sections of the whole body at the heights of a scan's slices (increasing z, mm)."""
    rng = np.random.default_rng([patient.detail_seed, 1])
    layers = _layers(patient.build, torso, heights_mm)
    for organ in draw_organs(patient.build, rng):
        layers += _interpolate(organ, torso, heights_mm)
    tissues = np.array([tissue for _, tissue in layers])
    return SectionTable(np.stack([section for section, _ in layers]), tissues, _N_TABLE_SECTIONS)


def _section(n: int) -> NDArray[np.float64]:
    section = np.zeros((n, 7))
    section[:, 4] = 1.0
    return section


_Layer = tuple[NDArray[np.float64], tuple[float, float, float]]


def _layers(build: Build, torso: Torso, z: NDArray[np.float64]) -> list[_Layer]:
    """Lay the table, then the body from outside in: skin, fat, muscular wall, the fat between organs, lungs."""
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
    textures = ((0.0, FINE), (12.0, MEDIUM), (14.0, MEDIUM), (16.0, MEDIUM))
    for inset, hu, (deviation, pitch) in zip(insets, inner_hu, textures, strict=True):
        section = _section(n)
        section[:, 0], section[:, 1] = x, y + 0.5 * (rear - front)
        section[:, 2], section[:, 3] = half - inset, 0.5 * (rear + front) - np.minimum(inset, 12.0 + 0.5 * inset)
        section[:, 6] = squareness
        layers.append((section, (hu, deviation, pitch)))
    return layers + _lungs(torso, z)


def _lungs(torso: Torso, z: NDArray[np.float64]) -> list[_Layer]:
    """Lay the muscles between the ribs and, within, two lungs that the diaphragm ends."""
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
    layers.append((cage, (45.0, 18.0, MEDIUM)))
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
        layers.append((lung, (-855.0, 45.0, MEDIUM)))
    return layers


def _interpolate(organ: Organ, torso: Torso, z: NDArray[np.float64]) -> list[_Layer]:
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
