"""Annotated synthetic scans -> how they compare with the published statistics of the Microsoft spine CT database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vertloc.centroids import Centroids
from vertloc.phantom.anatomy import LEVEL_SHARES, NEIGHBOUR_MM
from vertloc.phantom.scan import ScanGeometry
from vertloc.vertebrae import REGIONS, region_of

_PUBLISHED_TOP_C1 = 119 / 302
_PUBLISHED_LAST_S2 = 128 / 302
_PUBLISHED_VISIBLE = 12.0


@dataclass(frozen=True)
class CohortStatistics:
    """Figures of a cohort.

    n_scans, n_vertebrae : counts; visible : annotated vertebrae of each scan
    neighbour_mm : of each pair of neighbours the distances, mm
    region_shares : share of each region among the annotated vertebrae
    top_is_c1, last_is_s2 : shares of the scans
    margin_above_mm, margin_below_mm : from the first and last centre to the crop's face, per scan
    width_mm, height_mm : outer size of each crop
    """

    n_scans: int
    n_vertebrae: int
    visible: tuple[int, ...]
    neighbour_mm: dict[tuple[str, str], tuple[float, ...]]
    region_shares: dict[str, float]
    top_is_c1: float
    last_is_s2: float
    margin_above_mm: tuple[float, ...]
    margin_below_mm: tuple[float, ...]
    width_mm: tuple[float, ...]
    height_mm: tuple[float, ...]


def cohort_statistics(scans: Iterable[tuple[ScanGeometry, Centroids]]) -> CohortStatistics:
    """Measure a cohort; no scans, or scans without vertebrae, give zeros and empty tuples."""
    neighbours: dict[tuple[str, str], list[float]] = {pair: [] for pair in NEIGHBOUR_MM}
    regions = dict.fromkeys(REGIONS, 0)
    visible, above, below, widths, heights = [], [], [], [], []
    top = last = 0
    for geometry, centroids in scans:
        visible.append(len(centroids))
        width, _, height = geometry.grid.extent_mm
        widths.append(width)
        heights.append(height)
        for label in centroids.labels:
            regions[region_of(label)] += 1
        for upper, lower in zip(centroids.labels[:-1], centroids.labels[1:], strict=True):
            if (upper, lower) in neighbours:
                neighbours[upper, lower].append(float(np.linalg.norm(centroids[upper] - centroids[lower])))
        if len(centroids):
            top += centroids.labels[0] == "C1"
            last += centroids.labels[-1] == "S2"
            faces = 0.5 * geometry.grid.spacing_mm[2]
            above.append(float(height - faces - centroids.points_mm[0, 2]))
            below.append(float(centroids.points_mm[-1, 2] + faces))
    n_scans, total = len(visible), sum(visible)
    return CohortStatistics(
        n_scans=n_scans,
        n_vertebrae=total,
        visible=tuple(visible),
        neighbour_mm={pair: tuple(values) for pair, values in neighbours.items()},
        region_shares={region: count / max(total, 1) for region, count in regions.items()},
        top_is_c1=top / max(n_scans, 1),
        last_is_s2=last / max(n_scans, 1),
        margin_above_mm=tuple(above),
        margin_below_mm=tuple(below),
        width_mm=tuple(widths),
        height_mm=tuple(heights),
    )


def format_statistics(statistics: CohortStatistics) -> str:
    """Lay the figures out beside the published ones, as plain text."""
    s = statistics
    lines = [
        f"{s.n_scans} scans, {s.n_vertebrae} annotated vertebrae (published: Microsoft spine CT database, 242 scans)",
        f"{'':26}{'here':>10}{'published':>12}",
        _line("visible vertebrae, mean", _mean(s.visible), f"{_PUBLISHED_VISIBLE:.0f}"),
        _line("topmost is C1", 100 * s.top_is_c1, f"{100 * _PUBLISHED_TOP_C1:.0f}", "%"),
        _line("lowest is S2", 100 * s.last_is_s2, f"{100 * _PUBLISHED_LAST_S2:.0f}", "%"),
        *(_line(r, 100 * s.region_shares[r], f"{100 * LEVEL_SHARES[r]:.0f}", "%") for r in REGIONS),
        _line("margin above, median mm", _median(s.margin_above_mm), "30"),
        _line("margin below, median mm", _median(s.margin_below_mm), "24"),
        f"{'width mm':26}{_range(s.width_mm):>10}{'100-234':>12}",
        f"{'height mm':26}{_range(s.height_mm):>10}{'63-648':>12}",
        "distance of neighbours, mean/sd mm",
    ]
    for (upper, lower), (mean, deviation) in NEIGHBOUR_MM.items():
        values = s.neighbour_mm[upper, lower]
        here = f"{_mean(values):.1f}/{np.std(values) if values else 0.0:.1f}"
        lines.append(f"  {upper + '-' + lower:8}{f'({len(values)})':>8}{'':8}{here:>10}{f'{mean}/{deviation}':>12}")
    return "\n".join(lines)


def _line(name: str, value: float, published: str, unit: str = "") -> str:
    return f"{name:26}{f'{value:.1f}{unit}':>10}{published + unit:>12}"


def _mean(values: tuple[float, ...] | tuple[int, ...]) -> float:
    return float(np.mean(values)) if values else 0.0


def _median(values: tuple[float, ...]) -> float:
    return float(np.median(values)) if values else 0.0


def _range(values: tuple[float, ...]) -> str:
    return f"{min(values):.0f}-{max(values):.0f}" if values else "-"
