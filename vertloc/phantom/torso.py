"""A patient -> the course of the spine and the size of the trunk around it as functions of height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from vertloc.phantom.patient import Patient
from vertloc.vertebrae import anatomical_order

Values = NDArray[np.float64]

# Level (C1 0, T1 7, L1 19, S1 24) -> half width, front and rear distance from the middle of the spine to the skin, mm.
_OUTLINE = np.array(
    [
        (-9.0, 62.0, 70.0, 62.0),
        (-7.0, 74.0, 92.0, 84.0),
        (-4.0, 77.0, 98.0, 92.0),
        (-2.0, 75.0, 96.0, 84.0),
        (0.0, 70.0, 90.0, 66.0),
        (1.5, 64.0, 86.0, 58.0),
        (3.0, 63.0, 66.0, 58.0),
        (4.5, 63.0, 54.0, 60.0),
        (6.0, 84.0, 54.0, 68.0),
        (6.6, 108.0, 58.0, 70.0),
        (7.4, 165.0, 68.0, 72.0),
        (8.5, 205.0, 84.0, 70.0),
        (10.0, 200.0, 108.0, 68.0),
        (13.0, 165.0, 138.0, 66.0),
        (16.0, 155.0, 142.0, 68.0),
        (19.0, 150.0, 130.0, 72.0),
        (21.0, 150.0, 118.0, 74.0),
        (23.0, 165.0, 118.0, 72.0),
        (25.0, 178.0, 128.0, 62.0),
        (28.0, 184.0, 140.0, 60.0),
        (34.0, 175.0, 130.0, 70.0),
    ]
)

# Level -> half width, front and rear distance from the spine to the inner wall of the rib cage, mm.
_RIB_CAGE = np.array(
    [
        (6.5, 30.0, 14.0, 14.0),
        (7.0, 48.0, 26.0, 22.0),
        (8.0, 70.0, 46.0, 30.0),
        (9.0, 88.0, 62.0, 34.0),
        (10.0, 102.0, 78.0, 36.0),
        (12.0, 118.0, 100.0, 36.0),
        (14.0, 128.0, 116.0, 36.0),
        (16.0, 132.0, 122.0, 36.0),
        (18.0, 130.0, 118.0, 36.0),
        (20.0, 126.0, 105.0, 36.0),
        (22.0, 124.0, 96.0, 36.0),
    ]
)


@dataclass(frozen=True, eq=False)
class Torso:
    """The spine's middle line and the trunk, tabulated every 2 mm from the feet upwards.

    heights_mm : (n,) increasing z; level : (n,) fractional level; spine_mm : (n, 2) x, y of the middle of the spine
    outline_mm : (n, 2) the same, smoothed: the skin does not follow every bend
    size, fat_mm : of the patient
    """

    heights_mm: Values
    level: Values
    spine_mm: Values
    outline_mm: Values
    size: float
    fat_mm: float

    def level_at(self, z_mm: Values | float) -> Values:
        """Fractional level at heights."""
        return np.asarray(np.interp(z_mm, self.heights_mm, self.level))

    def spine_at(self, z_mm: Values | float) -> tuple[Values, Values]:
        """X and y of the middle of the spine at heights."""
        return tuple(np.interp(z_mm, self.heights_mm, self.spine_mm[:, axis]) for axis in (0, 1))  # type: ignore[return-value]

    def smooth_at(self, z_mm: Values | float) -> tuple[Values, Values]:
        """X and y of the smoothed middle line at heights."""
        return tuple(np.interp(z_mm, self.heights_mm, self.outline_mm[:, axis]) for axis in (0, 1))  # type: ignore[return-value]

    def height_of(self, level: float) -> float:
        """Z of a fractional level."""
        return float(np.interp(-level, -self.level, self.heights_mm))

    def skin(self, z_mm: Values | float) -> tuple[Values, Values, Values]:
        """Half width, front and rear distance of the skin from the smoothed line at heights, mm."""
        level = self.level_at(z_mm)
        half, front, rear = (np.interp(level, _OUTLINE[:, 0], _OUTLINE[:, c]) * self.size for c in (1, 2, 3))
        abdomen = np.interp(level, [5.0, 9.0, 15.0, 20.0, 26.0], [0.2, 0.5, 0.8, 1.6, 1.2]) * (self.fat_mm - 20.0)
        # Where the spine bends back further than the smoothed line, the skin gives way.
        bulge = np.maximum(self.spine_at(z_mm)[1] - self.smooth_at(z_mm)[1], 0.0)
        return half + 0.6 * abdomen, front + abdomen, rear + 0.35 * np.maximum(abdomen, -15.0) + 0.8 * bulge

    def fat(self, z_mm: Values | float) -> Values:
        """Thickness of the fat under the skin at heights, mm."""
        share = np.interp(
            self.level_at(z_mm),
            [-6.0, -1.0, 3.0, 6.0, 10.0, 15.0, 19.0, 25.0],
            [0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.9, 1.1],
        )
        return np.clip(share * self.fat_mm, 2.5, None)

    def rib_cage(self, z_mm: Values | float) -> tuple[Values, Values, Values]:
        """Half width, front and rear distance of the rib cage's inner wall from the spine at heights, mm."""
        level = self.level_at(z_mm)
        half, front, rear = (np.interp(level, _RIB_CAGE[:, 0], _RIB_CAGE[:, c]) * self.size for c in (1, 2, 3))
        return half, front, rear


def make_torso(patient: Patient) -> Torso:
    """Tabulate a patient's trunk."""
    points = np.array([v.centre_mm for v in patient.labelled])
    levels = np.array([anatomical_order(v.name) for v in patient.labelled])
    # S2 lies far behind the axis of the trunk: follow the sacrum by a third only.
    sacral = levels >= 24
    spine = points.copy()
    anchor = points[levels < 24][-1]
    spine[sacral, 1] = anchor[1] + 0.55 * (points[sacral, 1] - anchor[1])
    z, level = points[:, 2], levels
    above = np.arange(1, 11) * 17.0
    below = np.arange(1, 11) * 24.0
    z = np.concatenate([z[0] + above[::-1], z, z[-1] - below])
    level = np.concatenate([-np.arange(1, 11)[::-1], level, 25.0 + np.arange(1, 11)])
    spine = np.concatenate([np.repeat(spine[:1], 10, 0), spine, np.repeat(spine[-1:], 10, 0)])
    order = np.argsort(z)
    heights = np.arange(z.min(), z.max(), 2.0)
    line = np.stack([np.interp(heights, z[order], spine[order, axis]) for axis in (0, 1)], axis=1)
    outline = np.stack(
        [gaussian_filter1d(line[:, axis], sigma, mode="nearest") for axis, sigma in ((0, 20.0), (1, 11.0))], axis=1
    )
    return Torso(
        heights_mm=heights,
        level=np.interp(heights, z[order], level[order]),
        spine_mm=gaussian_filter1d(line, 3.0, axis=0, mode="nearest"),
        outline_mm=outline,
        size=patient.build.size,
        fat_mm=patient.build.fat_mm,
    )
