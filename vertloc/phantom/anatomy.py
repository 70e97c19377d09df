"""Typical sizes of vertebrae, in mm, by level.

Neighbour distances: annotations of the Microsoft spine CT database (mean and standard deviation over 242 scans). Sizes
of bodies, canals and processes: rounded from quantitative anatomy (Panjabi et al., Spine 1991 and 1992). The sizes are
typical values to draw from, not a model of any one patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from vertloc.vertebrae import VERTEBRAE

NEIGHBOUR_MM: dict[tuple[str, str], tuple[float, float]] = dict(
    zip(
        pairwise(VERTEBRAE),
        (
            *((19.7, 3.4), (18.0, 2.6), (17.6, 2.1), (17.0, 2.6), (16.8, 2.4), (17.4, 3.1), (19.4, 2.8)),
            *((20.7, 2.9), (21.2, 2.6), (21.1, 2.8), (21.6, 2.9), (21.7, 2.9), (22.4, 3.2), (23.3, 2.9)),
            *((24.5, 3.4), (26.1, 3.6), (27.6, 3.8), (29.7, 3.8), (32.1, 3.8), (34.0, 4.4), (35.3, 4.6)),
            *((35.6, 4.3), (35.5, 4.9), (35.9, 6.3), (29.4, 4.8)),
        ),
        strict=True,
    )
)
"""Mean and standard deviation of the distance between neighbouring annotated centroids, mm."""

LEVEL_SHARES: dict[str, float] = {"cervical": 0.233, "thoracic": 0.468, "lumbar": 0.220, "sacral": 0.079}
"""Share of each region among the 2,895 annotated vertebrae of the 242 scans."""


@dataclass(frozen=True)
class VertebraSize:
    """Sizes of one vertebra of an average adult, mm and degrees.

    height_share : body height as a share of the distance between neighbouring centres; the rest is disc
    spinous_mm : from the rear of the canal to the tip; spinous_degrees : below the horizontal
    transverse_mm : from the midline to the tip of a transverse process
    """

    width: float
    depth: float
    height_share: float
    canal_width: float
    canal_depth: float
    spinous_mm: float
    spinous_degrees: float
    spinous_height: float
    transverse_mm: float


def _size(*values: float) -> VertebraSize:
    return VertebraSize(*values)


SIZES: dict[str, VertebraSize] = {
    "C1": _size(20.0, 12.0, 0.60, 28.0, 20.0, 4.0, 5.0, 6.0, 38.0),
    "C2": _size(18.0, 15.0, 0.80, 24.0, 17.5, 23.0, 25.0, 11.0, 27.0),
    "C3": _size(18.5, 16.0, 0.72, 23.5, 15.5, 15.0, 30.0, 8.0, 26.0),
    "C4": _size(19.0, 16.0, 0.71, 24.0, 15.5, 15.0, 32.0, 8.0, 26.0),
    "C5": _size(20.0, 16.5, 0.70, 24.5, 15.5, 17.0, 36.0, 8.5, 27.0),
    "C6": _size(22.0, 17.0, 0.70, 25.0, 15.5, 23.0, 42.0, 9.5, 29.0),
    "C7": _size(25.0, 17.5, 0.72, 24.0, 15.5, 32.0, 44.0, 11.0, 34.0),
    "T1": _size(28.0, 18.5, 0.76, 21.0, 15.5, 34.0, 46.0, 11.5, 37.0),
    "T2": _size(28.0, 20.0, 0.79, 18.5, 15.5, 34.0, 48.0, 11.0, 34.0),
    "T3": _size(27.5, 22.0, 0.80, 17.5, 15.5, 34.0, 50.0, 11.0, 32.0),
    "T4": _size(27.5, 24.0, 0.80, 17.0, 15.5, 35.0, 53.0, 11.0, 31.0),
    "T5": _size(28.5, 26.0, 0.81, 17.0, 15.5, 37.0, 56.0, 11.0, 31.0),
    "T6": _size(29.5, 27.5, 0.81, 17.0, 15.5, 38.0, 58.0, 11.0, 31.0),
    "T7": _size(31.0, 29.5, 0.81, 17.0, 15.5, 38.0, 58.0, 11.0, 31.0),
    "T8": _size(32.5, 31.0, 0.81, 17.0, 15.5, 37.0, 54.0, 11.0, 31.0),
    "T9": _size(34.0, 32.0, 0.81, 17.0, 15.5, 33.0, 46.0, 11.0, 31.0),
    "T10": _size(36.0, 33.0, 0.80, 17.0, 15.5, 29.0, 34.0, 13.0, 29.0),
    "T11": _size(38.5, 33.0, 0.79, 18.0, 16.0, 27.0, 22.0, 16.0, 24.0),
    "T12": _size(41.0, 33.0, 0.78, 21.0, 17.0, 26.0, 14.0, 18.0, 21.0),
    "L1": _size(42.0, 33.0, 0.77, 23.0, 17.5, 30.0, 9.0, 21.0, 36.0),
    "L2": _size(43.5, 34.0, 0.76, 23.5, 17.0, 31.0, 8.0, 22.0, 41.0),
    "L3": _size(45.5, 34.5, 0.75, 24.0, 17.0, 31.0, 7.0, 22.0, 46.0),
    "L4": _size(47.5, 35.0, 0.74, 25.0, 17.0, 28.0, 7.0, 19.0, 43.0),
    "L5": _size(50.0, 35.0, 0.72, 27.0, 17.0, 22.0, 10.0, 15.0, 45.0),
    "S1": _size(49.0, 30.0, 0.88, 29.0, 15.0, 9.0, 20.0, 12.0, 50.0),
    "S2": _size(34.0, 18.0, 0.95, 24.0, 11.0, 8.0, 20.0, 12.0, 40.0),
    "S3": _size(28.0, 13.0, 0.92, 20.0, 8.0, 5.0, 20.0, 9.0, 32.0),
    "S4": _size(24.0, 10.0, 0.94, 16.0, 6.0, 4.0, 20.0, 7.0, 24.0),
    "S5": _size(18.0, 8.0, 0.90, 10.0, 4.0, 3.0, 20.0, 5.0, 16.0),
}
SIZES["L6"] = SIZES["L5"]
