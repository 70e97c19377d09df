"""Centroids: labelled points that know their frame; read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vertloc.geometry import Grid, Points
from vertloc.vertebrae import anatomical_order, is_vertebra

Frame = Literal["local", "world"]


@dataclass(frozen=True, eq=False)
class Centroids:
    """Vertebral body centroids of one scan, at most one per label, kept from top to bottom.

    labels : n vertebra names
    points_mm : (n, 3) float64, (x, y, z) mm in `frame`; made read-only
    frame : "local" (index times spacing of the stored array) or "world" (LPS)

    Raises ValueError for an unknown or repeated label, a point that is not finite, or lengths that differ.
    """

    labels: tuple[str, ...]
    points_mm: Points
    frame: Frame = "local"

    def __post_init__(self) -> None:
        points = np.array(self.points_mm, dtype=np.float64).reshape(-1, 3)
        if len(points) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels for {len(points)} points")
        for label, point in zip(self.labels, points, strict=True):
            if not is_vertebra(label):
                raise ValueError(f"unknown vertebra name {label!r}")
            if not np.isfinite(point).all():
                raise ValueError(f"{label} has a coordinate that is not finite: {point}")
        if len(set(self.labels)) != len(self.labels):
            repeated = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise ValueError(f"repeated label {', '.join(repeated)}")
        order = sorted(range(len(self.labels)), key=lambda i: anatomical_order(self.labels[i]))
        points = points[order]
        points.flags.writeable = False
        object.__setattr__(self, "labels", tuple(self.labels[i] for i in order))
        object.__setattr__(self, "points_mm", points)

    @classmethod
    def from_points(cls, points: Mapping[str, object], frame: Frame = "local") -> Centroids:
        """Build from a mapping of name to (x, y, z) mm; an empty mapping gives no centroids."""
        return cls(tuple(points), np.array(list(points.values()), dtype=np.float64).reshape(-1, 3), frame)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[str, Points]]:
        return iter(zip(self.labels, self.points_mm, strict=True))

    def __contains__(self, label: object) -> bool:
        return label in self.labels

    def __getitem__(self, label: str) -> Points:
        """Return the (3,) point of a label; KeyError if the label is not there."""
        if label not in self.labels:
            raise KeyError(label)
        point: Points = self.points_mm[self.labels.index(label)]
        return point

    def to_world(self, grid: Grid) -> Centroids:
        """Return the same points in the world frame of the scan's stored grid."""
        if self.frame == "world":
            return self
        return Centroids(self.labels, grid.local_to_world(self.points_mm), "world")

    def to_local(self, grid: Grid) -> Centroids:
        """Return the same points in the local frame of the scan's stored grid."""
        if self.frame == "local":
            return self
        return Centroids(self.labels, grid.world_to_local(self.points_mm), "local")
