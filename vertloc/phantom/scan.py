"""A patient -> what a scanner sees: the crop, its voxels, and which vertebrae are annotated where.

The crops follow the field-of-view statistics of the Microsoft spine CT database: necks from the skull down to the upper
chest, backs from the middle of the chest down to S2, and all kinds in between; the margin above the first annotated
centre is about 30 mm and 24 mm below the last one (medians); the spine is centred from side to side, not from front to
back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.phantom.patient import Patient, Vertebra
from vertloc.phantom.settings import PhantomSettings
from vertloc.vertebrae import RANK


@dataclass(frozen=True)
class ScanGeometry:
    """Where the voxels lie and how the scanner blurs.

    grid : shape and spacing; origin and direction stay at their defaults, as in the files
    corner_mm : patient coordinates of the centre of the first voxel
    noise_hu : standard deviation in the middle of the trunk
    sharpness_mm : standard deviation of the in-plane blur
    """

    grid: Grid
    corner_mm: tuple[float, float, float]
    noise_hu: float
    sharpness_mm: float
    jitter_mm: float


_LowestShares = dict[str, float]

# Share of scans by kind, then where the first and the last vertebra lie (label: weight).
_NECK_LAST: _LowestShares = {
    "C4": 4,
    "C5": 2,
    "T1": 4,
    "T2": 8,
    "T3": 17,
    "T4": 29,
    "T5": 15,
    "T6": 8,
    "T9": 2,
    "T12": 2,
}
_NECK_FIRST: _LowestShares = {"C1": 92, "C2": 2, "C3": 3, "C5": 2}
_LOIN_FIRST: _LowestShares = {
    **{"C1": 1, "C6": 2, "C7": 6, "T1": 16, "T2": 5, "T4": 1, "T5": 2, "T6": 2, "T7": 12},
    **{"T8": 14, "T9": 7, "T10": 12, "T11": 7, "T12": 12, "L1": 8, "L2": 2, "L3": 1},
}
_CHEST_FIRST: _LowestShares = {"C6": 1, "C7": 4, "T1": 9, "T2": 3, "T3": 2, "T5": 3, "T8": 1, "T10": 1}
_CHEST_LAST: _LowestShares = {
    "T8": 2,
    "T10": 1,
    "T11": 1,
    "T12": 3,
    "L1": 6,
    "L2": 6,
    "L3": 6,
    "L4": 1,
    "L5": 4,
    "S1": 2,
}


def plan_scan(patient: Patient, settings: PhantomSettings, rng: np.random.Generator) -> ScanGeometry:
    """Draw a crop around a part of the patient's spine."""
    first, last = _draw_levels(patient, rng)
    chain = patient.vertebrae
    top = _edge_above(chain, first, rng)
    bottom = _edge_below(chain, last, rng)
    bottom = max(bottom, top - settings.max_height_mm + 1.0)
    spine = np.array([v.centre_mm for v in chain[first : last + 1]])
    low, high = spine.min(axis=0), spine.max(axis=0)
    width, depth = _field_of_view(patient, first, last, high - low, settings, rng)
    in_plane = float(np.round(rng.uniform(*settings.in_plane_mm), 4))
    usual = [
        s for s in (0.625, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0) if settings.slice_mm[0] <= s <= settings.slice_mm[1]
    ]
    weights = np.array([{2.5: 6.0, 1.25: 4.0, 2.0: 2.0, 3.0: 2.0}.get(s, 1.0) for s in usual])
    thick = float(rng.choice(usual, p=weights / weights.sum())) if usual else float(settings.slice_mm[0])
    # Finer voxels than memory has room for are made as coarse as the settings allow.
    needed = np.sqrt(width * depth * (top - bottom) / thick / (settings.max_megavoxels * 1e6))
    in_plane = float(max(in_plane, np.ceil(needed * 1e4) / 1e4))
    shape = tuple(
        int(max(8, round(extent / step)))
        for extent, step in ((top - bottom, thick), (depth, in_plane), (width, in_plane))
    )
    middle_x = 0.5 * (low[0] + high[0]) + width * float(np.clip(rng.normal(0.0, 0.035), -0.09, 0.09))
    behind = float(rng.uniform(58.0, 108.0))  # of the rearmost body centre
    room = depth - (high[1] - low[1]) - 32.0
    behind = max(min(behind, room), 34.0)
    return ScanGeometry(
        grid=Grid(shape, (in_plane, in_plane, thick)),  # type: ignore[arg-type]
        corner_mm=(float(middle_x - 0.5 * width), float(high[1] + behind - depth), float(bottom + 0.5 * thick)),
        noise_hu=float(rng.uniform(*settings.noise_hu)),
        sharpness_mm=float(rng.uniform(0.35, 0.75)),
        jitter_mm=settings.jitter_mm,
    )


def annotate_scan(patient: Patient, geometry: ScanGeometry, rng: np.random.Generator) -> Centroids:
    """Centres of the vertebrae whose body lies inside the crop, as a reader would click them; local frame.

    A vertebra cut by the border has no point.
    """
    corner = np.array(geometry.corner_mm)
    points: dict[str, NDArray[np.float64]] = {}
    for vertebra in patient.labelled:
        jitter = np.clip(rng.normal(0.0, geometry.jitter_mm, 3), -2.5 * geometry.jitter_mm, 2.5 * geometry.jitter_mm)
        if _is_inside(vertebra, geometry):
            points[vertebra.name] = vertebra.centre_mm - corner + jitter
    return Centroids.from_points(points)


def _is_inside(vertebra: Vertebra, geometry: ScanGeometry) -> bool:
    """Tell whether the box around the body lies within the crop's outer faces."""
    half = _half_extent(vertebra)
    spacing = np.array(geometry.grid.spacing_mm)
    low = vertebra.centre_mm - half - (np.array(geometry.corner_mm) - 0.5 * spacing)
    high = np.array(geometry.grid.extent_mm) - (
        vertebra.centre_mm + half - (np.array(geometry.corner_mm) - 0.5 * spacing)
    )
    return bool((low >= 0.0).all() and (high >= 0.0).all())


def _half_extent(vertebra: Vertebra) -> NDArray[np.float64]:
    """Half of the box around a body along the patient's axes, mm."""
    size = np.array([*vertebra.half_mm, 0.5 * max(vertebra.front_mm, vertebra.back_mm)])
    if vertebra.name == "S2":  # readers mark S2 even if its lower end is cut
        size[2] *= 0.5
    half: NDArray[np.float64] = np.sqrt(np.square(vertebra.axes.T) @ np.square(size)) * 1.1
    return half


def _draw_levels(patient: Patient, rng: np.random.Generator) -> tuple[int, int]:
    """Positions in the chain of the first and the last vertebra that the crop is meant to show."""
    kind = rng.choice(3, p=(0.40, 0.43, 0.17))
    firsts = (_NECK_FIRST, _LOIN_FIRST, _CHEST_FIRST)[kind]
    lasts = (_NECK_LAST, {"S2": 1.0}, _CHEST_LAST)[kind]
    first, last = _draw_label(firsts, rng), _draw_label(lasts, rng)
    if RANK[last] <= RANK[first]:
        last = "S2" if RANK[first] >= RANK["T10"] else "T12"
    names = [v.name for v in patient.vertebrae]
    return (names.index(_present(first, names)), names.index(_present(last, names)))


def _present(name: str, names: list[str]) -> str:
    return name if name in names else "T11"


def _draw_label(weights: dict[str, float], rng: np.random.Generator) -> str:
    share = np.array(list(weights.values()), dtype=np.float64)
    return list(weights)[int(rng.choice(len(share), p=share / share.sum()))]


def _edge_above(chain: tuple[Vertebra, ...], first: int, rng: np.random.Generator) -> float:
    """Height of the crop's upper face: past the first body, but cutting the one above it."""
    z, reach = chain[first].centre_mm[2], _half_extent(chain[first])[2]
    if first == 0:
        return float(z + np.clip(rng.lognormal(np.log(41.0), 0.35), reach + 2.0, 84.0))
    above = chain[first - 1]
    limit = above.centre_mm[2] + _half_extent(above)[2] - 0.5
    return float(rng.uniform(z + reach + 0.45 * (limit - z - reach), limit))


def _edge_below(chain: tuple[Vertebra, ...], last: int, rng: np.random.Generator) -> float:
    """Height of the crop's lower face: past the last body, but cutting the one below it."""
    z, reach = chain[last].centre_mm[2], _half_extent(chain[last])[2]
    if chain[last].name == "S2":
        return float(z - np.clip(rng.lognormal(np.log(30.0), 0.75), reach + 0.5, 140.0))
    below = chain[last + 1]
    limit = below.centre_mm[2] - _half_extent(below)[2] + 0.5
    return float(rng.uniform(limit, z - reach - 0.35 * (z - reach - limit)))


def _field_of_view(
    patient: Patient,
    first: int,
    last: int,
    spread: NDArray[np.float64],
    settings: PhantomSettings,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """In-plane width and depth of the crop: square for most, at least as large as the spine's own bends need."""
    low, high = settings.field_of_view_mm
    is_neck = patient.vertebrae[last].name[0] == "T" and first <= 3
    width = float(np.clip(rng.normal(150.0 if is_neck else 175.0, 26.0), low, high))
    width = min(max(width, float(spread[0]) + 75.0), max(high, float(spread[0]) + 70.0))
    depth = float(np.clip(width * rng.uniform(0.85, 1.15), low, high))
    return width, max(depth, float(spread[1]) + 72.0)
