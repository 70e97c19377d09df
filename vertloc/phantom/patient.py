"""Random numbers -> a patient: the chain of vertebrae in space, their pathology, and the build of the body.

The chain starts at C1 in the origin and runs down. Every vertebra has a tilt in the sagittal plane (positive: going
down means going back), a coronal tilt and an axial turn; a centre follows from the one above by the distance of the
pair along the mean tilt of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from vertloc.phantom.anatomy import NEIGHBOUR_MM, SIZES, VertebraSize
from vertloc.phantom.settings import PhantomSettings
from vertloc.vertebrae import VERTEBRAE, anatomical_order

SACRAL_TAIL = ("S3", "S4", "S5")
"""Drawn, but never annotated."""


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One vertebra in the patient's frame (x left, y back, z up, mm).

    centre_mm : (3,) body centre; axes : (3, 3) rows are its left, back and up directions
    scale : its size relative to SIZES; stoutness : width and depth of the body relative to that;
    spinous_share : length of the spinous process relative to that
    front_mm, back_mm : body heights; concavity_mm : hollow of the endplates
    osteophyte : 0..1; disc_narrowing : 0..1, of the disc below; vacuum : gas in the disc below
    """

    name: str
    centre_mm: NDArray[np.float64]
    axes: NDArray[np.float64]
    scale: float
    stoutness: float
    spinous_share: float
    front_mm: float
    back_mm: float
    concavity_mm: float
    osteophyte: float
    disc_narrowing: float
    has_vacuum: bool

    @property
    def size(self) -> VertebraSize:
        """Typical sizes of this level; multiply by `scale`."""
        return SIZES[self.name]

    @property
    def half_mm(self) -> tuple[float, float]:
        """Half width and half depth of the body, mm."""
        stout = 0.5 * self.scale * self.stoutness
        return stout * self.size.width, stout * self.size.depth

    def to_patient(self, local_mm: tuple[float, float, float]) -> NDArray[np.float64]:
        """Turn a point of the vertebra's own frame into the patient's frame."""
        point: NDArray[np.float64] = self.centre_mm + np.asarray(local_mm) @ self.axes
        return point


@dataclass(frozen=True)
class Build:
    """What the rest of the body looks like.

    size : of the torso relative to an average adult; fat_mm : under the skin of the abdomen
    bone_hu : spongiosa; cortex_hu : outer shell; vessel_hu : blood, higher with contrast
    """

    size: float
    fat_mm: float
    bone_hu: float
    cortex_hu: float
    muscle_hu: float
    vessel_hu: float
    organ_hu: float


@dataclass(frozen=True)
class Metal:
    """Pedicle screws between two levels (indices into the chain) with a rod on each side."""

    first: int
    last: int
    radius_mm: float


@dataclass(frozen=True, eq=False)
class Patient:
    """A patient: vertebrae from C1 to S5, build, and the seed of what is drawn inside (organs, texture)."""

    vertebrae: tuple[Vertebra, ...]
    build: Build
    metal: Metal | None
    cobb_degrees: float
    detail_seed: int

    @property
    def labelled(self) -> tuple[Vertebra, ...]:
        """The vertebrae that can be annotated."""
        return tuple(v for v in self.vertebrae if v.name not in SACRAL_TAIL)

    def level_at(self, name: str) -> int:
        """Return the position of a vertebra in the chain; ValueError if the patient lacks it."""
        return [v.name for v in self.vertebrae].index(name)


def make_patient(rng: np.random.Generator, settings: PhantomSettings) -> Patient:
    """Draw a patient."""
    names = _draw_chain(rng, settings)
    size = float(np.clip(rng.normal(1.0, 0.075), 0.82, 1.2))
    distances = _draw_distances(rng, names, size, settings.jitter_mm)
    is_scoliotic = rng.random() < settings.share_scoliosis
    cobb = (
        float(rng.uniform(15.0, max(15.0, settings.max_cobb_degrees)))
        if is_scoliotic
        else float(rng.uniform(0.0, 13.0))
    )
    cobb = min(cobb, settings.max_cobb_degrees)
    tilts = _draw_tilts(rng, names, cobb)
    wear = _draw_wear(rng, names, settings)
    has_metal = rng.random() < settings.share_metal
    metal = _draw_metal(rng, names) if has_metal else None
    age = float(np.clip(rng.normal(0.5, 0.25), 0.0, 1.0))
    build = Build(
        size=size,
        fat_mm=float(np.clip(rng.gamma(3.0, 7.0), 5.0, 55.0)),
        bone_hu=float(np.clip(rng.normal(205.0 - 110.0 * age, 28.0), 65.0, 280.0)),
        cortex_hu=float(rng.uniform(520.0, 850.0) - 120.0 * age),
        muscle_hu=float(rng.uniform(42.0, 68.0)),
        vessel_hu=float(rng.uniform(120.0, 280.0) if rng.random() < settings.share_contrast else rng.uniform(38, 50)),
        organ_hu=float(rng.uniform(50.0, 75.0)),
    )
    vertebrae = _chain_of_vertebrae(names, distances, tilts, wear, size)
    return Patient(vertebrae, build, metal, cobb, int(rng.integers(2**31)))


def _draw_chain(rng: np.random.Generator, settings: PhantomSettings) -> tuple[str, ...]:
    draw = rng.random()
    names = list(VERTEBRAE)
    if draw < settings.share_l6:
        names.insert(names.index("S1"), "L6")
    elif draw < settings.share_l6 + settings.share_missing_t12:
        names.remove("T12")
    return (*names, *SACRAL_TAIL)


def _pair_mm(upper: str, lower: str) -> tuple[float, float]:
    """Return mean and standard deviation of a pair's distance, with the pairs of transitional anatomy filled in."""
    if upper in ("S2", "S3", "S4"):
        return {"S2": (23.0, 1.5), "S3": (19.0, 1.5), "S4": (16.0, 1.5)}[upper]
    if (upper, lower) == ("L5", "L6"):
        return NEIGHBOUR_MM["L4", "L5"]
    if (upper, lower) == ("L6", "S1"):
        return NEIGHBOUR_MM["L5", "S1"]
    if (upper, lower) == ("T11", "L1"):
        return NEIGHBOUR_MM["T12", "L1"]
    return NEIGHBOUR_MM[upper, lower]


def _draw_distances(
    rng: np.random.Generator, names: tuple[str, ...], size: float, jitter_mm: float
) -> NDArray[np.float64]:
    """Draw distances between neighbours: body size, region and the single pair share the published spread.

    Worn discs and collapsed bodies shorten pairs later on, 1.2 % on average, which the means make up for. The
    annotation's jitter adds 2 jitter^2 to the variance along the pair, so that much is left out here.
    """
    regional = dict(zip("CTLS", rng.normal(1.0, 0.03, 4), strict=True))
    distances = []
    for upper, lower in pairwise(names):
        mean, deviation = _pair_mm(upper, lower)
        shared = mean * np.hypot(0.075, 0.03)
        own = np.sqrt(max(deviation**2 - shared**2 - 2 * jitter_mm**2, 0.4**2))
        own_mm = np.clip(rng.normal(0.0, own), -2.2 * own, 2.2 * own)
        distances.append(max(1.012 * mean * size * regional[lower[0]] + own_mm, 0.72 * mean))
    return np.array(distances)


def _draw_tilts(rng: np.random.Generator, names: tuple[str, ...], cobb: float) -> NDArray[np.float64]:
    """(n, 3) sagittal tilt, coronal tilt and axial turn of every vertebra, degrees."""
    order = np.array([anatomical_order(n) if n not in SACRAL_TAIL else 26.0 + int(n[1]) - 3 for n in names])
    # The slope of T1 goes with the kyphosis below it, so that the lumbar spine starts near the vertical.
    slope = rng.normal(26.0, 9.0)
    lordosis = 23.0 + 0.4 * (slope - 26.0) + rng.normal(0.0, 10.0)
    kyphosis = max(39.0 + 0.9 * (slope - 26.0) + rng.normal(0.0, 6.0), 12.0)
    sacral = rng.normal(49.0, 9.5)
    knots = {
        0: slope - lordosis - 9.0 + rng.normal(0, 5.0),
        2: slope - lordosis + 1.0 + rng.normal(0, 3.0),
        4: slope - 0.6 * lordosis + rng.normal(0, 2.0),
        7: slope,
        9: 0.9 * slope + rng.normal(0, 2.0),
        13: slope - 0.62 * kyphosis + rng.normal(0, 2.5),
        18: slope - kyphosis + rng.normal(0, 2.5),
        20: slope - kyphosis - 1.0 + rng.normal(0, 3.0),
        22: -1.0 + 0.4 * (sacral - 47.0) + rng.normal(0, 5.0),
        23: 18.0 + 0.6 * (sacral - 47.0) + rng.normal(0, 4.0),
        24: sacral + 4.0,
        25: sacral + 14.0,
        26: sacral + 2.0,
        27: sacral - 20.0,
        28: sacral - 40.0,
    }
    sagittal = PchipInterpolator(list(knots), list(knots.values()))(np.clip(order, 0, 28))
    sagittal = sagittal + rng.normal(0.0, 1.2, len(names)) + rng.normal(0.0, 1.5)
    apex, reach = rng.uniform(12.0, 21.0), rng.uniform(4.0, 6.5)
    side = rng.choice((-1.0, 1.0))
    phase = (order - apex) / reach
    curve = np.sin(0.5 * np.pi * np.clip(phase, -1.0, 1.0)) * np.exp(-((np.maximum(np.abs(phase) - 1.0, 0.0)) ** 2) * 3)
    coronal = side * 0.5 * cobb * curve + rng.normal(0.0, 1.5) + rng.normal(0.0, 0.8, len(names))
    coronal = np.where(order <= 7, coronal + rng.normal(0.0, 3.0) * (7 - order) / 7, coronal)
    coronal = np.where(order >= 24, 0.5 * coronal, coronal)
    turn = side * 0.45 * cobb * np.exp(-((order - apex) ** 2) / (0.7 * reach) ** 2)
    turn = turn + rng.normal(0.0, 1.0, len(names)) + rng.normal(0.0, 1.5)
    turn = turn + np.where(
        order == 0, rng.normal(0.0, 7.0), np.where(order < 5, rng.normal(0.0, 1.5) * (5 - order), 0.0)
    )
    return np.stack([sagittal, coronal, turn], axis=1)


@dataclass(frozen=True, eq=False)
class _Wear:
    """Per vertebra: loss of height in front and behind (shares), hollow (mm), build, osteophytes, the disc below."""

    front: NDArray[np.float64]
    back: NDArray[np.float64]
    hollow_mm: NDArray[np.float64]
    stoutness: NDArray[np.float64]
    spinous: NDArray[np.float64]
    osteophyte: NDArray[np.float64]
    narrowing: NDArray[np.float64]
    vacuum: NDArray[np.bool_]


def _draw_wear(rng: np.random.Generator, names: tuple[str, ...], settings: PhantomSettings) -> _Wear:
    n = len(names)
    front, back, hollow = np.zeros(n), np.zeros(n), np.clip(rng.normal(1.2, 0.4, n), 0.3, 2.5)
    osteophyte, narrowing = np.clip(rng.normal(0.12, 0.1, n), 0.0, 0.4), np.clip(rng.normal(0.05, 0.08, n), 0.0, 0.3)
    vacuum = np.zeros(n, dtype=bool)
    if rng.random() < settings.share_wedge_fracture:
        for i in rng.choice(np.arange(9, 23), size=int(rng.integers(1, 4)), replace=False):
            front[i] = rng.uniform(0.2, 0.55)
            back[i] = front[i] * rng.uniform(0.0, 0.5)
            hollow[i] += rng.uniform(0.0, 2.5)
    if rng.random() < settings.share_degenerate:
        likely = np.array([{"C": 0.35, "T": 0.2, "L": 0.5, "S": 0.0}[name[0]] for name in names])
        worn = rng.random(n) < likely
        narrowing = np.where(worn, rng.uniform(0.25, 0.75, n), narrowing)
        osteophyte = np.where(worn, rng.uniform(0.4, 1.0, n), osteophyte)
        osteophyte[1:] = np.maximum(osteophyte[1:], 0.8 * osteophyte[:-1] * worn[:-1])
        vacuum = worn & (rng.random(n) < 0.25)
    stoutness = np.clip(rng.normal(1.0, 0.05) + rng.normal(0.0, 0.015, n), 0.85, 1.15)
    spinous = np.clip(rng.normal(1.0, 0.1) + rng.normal(0.0, 0.07, n), 0.65, 1.3)
    return _Wear(front, back, hollow, stoutness, spinous, osteophyte, narrowing, vacuum)


def _draw_metal(rng: np.random.Generator, names: tuple[str, ...]) -> Metal:
    """Draw a fusion of 2 to 7 levels, mostly thoracolumbar."""
    last_of_all = names.index("S1")
    first = int(rng.integers(9, last_of_all - 1)) if rng.random() < 0.85 else int(rng.integers(2, 7))
    last = min(first + int(rng.integers(1, 7)), last_of_all)
    return Metal(first, last, float(rng.uniform(2.4, 3.2)))


def _rotation(sagittal: float, coronal: float, turn: float) -> NDArray[np.float64]:
    """(3, 3) rows: left, back and up of a vertebra with these angles (degrees)."""
    s, c, t = np.radians([sagittal, coronal, turn])
    about_z = np.array([[np.cos(t), np.sin(t), 0], [-np.sin(t), np.cos(t), 0], [0, 0, 1]])
    # Down is (0, sin s, -cos s): a tilt forward of the upper side.
    about_x = np.array([[1, 0, 0], [0, np.cos(s), np.sin(s)], [0, -np.sin(s), np.cos(s)]])
    about_y = np.array([[np.cos(c), 0, -np.sin(c)], [0, 1, 0], [np.sin(c), 0, np.cos(c)]])
    axes: NDArray[np.float64] = about_z @ about_x @ about_y
    return axes


def _chain_of_vertebrae(
    names: tuple[str, ...], distances: NDArray[np.float64], tilts: NDArray[np.float64], wear: _Wear, size: float
) -> tuple[Vertebra, ...]:
    """Lay the vertebrae along the curve; collapsed bodies and narrow discs shorten the pairs they belong to."""
    axes = [_rotation(*tilt) for tilt in tilts]
    loss = 0.25 * (wear.front + wear.back) * 0.8
    centres = [np.zeros(3)]
    for i, distance in enumerate(distances):
        up = axes[i][2] + axes[i + 1][2]
        disc = distance * (1.0 - SIZES[names[i]].height_share)
        shortened = distance * (1.0 - loss[i] - loss[i + 1]) - 0.7 * disc * wear.narrowing[i]
        centres.append(centres[-1] - up / np.linalg.norm(up) * shortened)
    vertebrae = []
    for i, name in enumerate(names):
        above = distances[max(i - 1, 0)] if i > 1 else distances[i]
        below = distances[min(i, len(distances) - 1)]
        height = SIZES[name].height_share * 0.5 * (above + below)
        vertebrae.append(
            Vertebra(
                name=name,
                centre_mm=centres[i],
                axes=axes[i],
                scale=float(0.75 * size + 0.25 * height / (SIZES[name].height_share * 0.5 * sum(_typical(names, i)))),
                stoutness=float(wear.stoutness[i]),
                spinous_share=float(wear.spinous[i]),
                front_mm=float(height * (1.0 - wear.front[i])),
                back_mm=float(height * (1.0 - wear.back[i])),
                concavity_mm=float(wear.hollow_mm[i]),
                osteophyte=float(wear.osteophyte[i]),
                disc_narrowing=float(wear.narrowing[i]),
                has_vacuum=bool(wear.vacuum[i]),
            )
        )
    return tuple(vertebrae)


def _typical(names: tuple[str, ...], i: int) -> tuple[float, float]:
    """Mean distances to the neighbours above and below; at the ends the one there is, twice."""
    above = _pair_mm(names[i - 1], names[i])[0] if i > 1 else _pair_mm(names[i], names[i + 1])[0]
    below = _pair_mm(names[i], names[i + 1])[0] if i + 1 < len(names) else above
    return above, below
