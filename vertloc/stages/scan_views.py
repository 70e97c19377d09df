"""Training scan -> the same scan as another hospital would have cropped and scanned it.

A scan shows a few successive vertebrae or all, in a field as narrow as a sagittal series or as wide as it was; its
slices are thicker, its bone brighter, its noise stronger, and air may have been put around it. What is learnt from such
views does not rest on how the training scans happened to be cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.geometry import Grid, Points
from vertloc.settings import CHECKED, Share
from vertloc.stages.preprocess import IsotropicVolume

_AIR_HU = -1000
_FEWEST, _MOST = 3, 12  # vertebrae of a view that is cropped along the spine
_MARGINS_MM = (5.0, 30.0)
_BESIDE_MM = 12.0  # of every centroid that a narrow view keeps
_BONE_BRIGHTNESS = (0.85, 1.2)
_BLURRED_SLICES = (2, 3)
_LEAST_NOISE_HU = 10.0


@checked(frozen=True, config=CHECKED)
class ScanViewSettings:
    """How the views of a scan differ from it; each change happens in a share of the views, whatever else does.

    cropped : share of views that are cropped along the spine, to 3 to 12 vertebrae
    narrowed : share of views whose field is narrowed around the spine
    narrowest_mm : width and depth of the narrowest field
    widest_mm : of the widest field of a narrowed view
    brightened : share of views whose bone is darker or brighter, by up to a fifth
    blurred : share of views with thick slices
    noisy : share of views with noise
    largest_noise_hu : its largest standard deviation, in voxels of the preprocessed scan
    padded : share of views with air around them
    largest_padding_mm : of air, on each side
    """

    cropped: Share = 0.7
    narrowed: Share = 0.5
    narrowest_mm: Annotated[float, Field(ge=30, le=500)] = 80.0
    widest_mm: Annotated[float, Field(ge=30, le=1000)] = 220.0
    brightened: Share = 0.3
    blurred: Share = 0.3
    noisy: Share = 0.3
    largest_noise_hu: Annotated[float, Field(ge=10, le=1000)] = 120.0
    padded: Share = 0.25
    largest_padding_mm: Annotated[float, Field(ge=0, le=100)] = 24.0

    def __post_init__(self) -> None:
        if not self.narrowest_mm <= self.widest_mm:
            found = f"narrowest_mm {self.narrowest_mm}, widest_mm {self.widest_mm}"
            raise ValueError(f"narrowest_mm <= widest_mm must hold, got {found}")


@dataclass(frozen=True, eq=False)
class ScanView:
    """A view of a scan, in the scan's world frame, and which of the centroids its voxels show: (n,) bool.

    A centroid that was cut off is not shown, even if air was put where it was.
    """

    volume: IsotropicVolume
    is_shown: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Part:
    """Voxels low .. end - 1 of a volume, (z, y, x)."""

    low: NDArray[np.int64]
    end: NDArray[np.int64]

    def holds(self, index: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which continuous indices, (n, 3), lie between the centres of the part's outermost voxels."""
        return np.asarray(((index >= self.low) & (index <= self.end - 1)).all(axis=1))


def draw_scan_view(
    volume: IsotropicVolume, centroids_mm: Points, settings: ScanViewSettings, rng: np.random.Generator
) -> ScanView:
    """Draw a view of a scan.

    centroids_mm : (n, 3) world, n > 0: the spine that the view keeps, or a part of it
    """
    at = volume.grid.to_index(centroids_mm)
    part = _drawn_part(volume, at, settings, rng)
    voxels = volume.voxels[tuple(map(slice, part.low, part.end))].astype(np.float32)
    if rng.random() < settings.brightened:
        voxels = np.where(voxels > 0, voxels * np.float32(rng.uniform(*_BONE_BRIGHTNESS)), voxels)
    if rng.random() < settings.blurred:
        voxels = _mean_of_slices(voxels, int(rng.choice(_BLURRED_SLICES)))
    if rng.random() < settings.noisy:
        deviation = rng.uniform(_LEAST_NOISE_HU, settings.largest_noise_hu)
        voxels = voxels + np.float32(deviation) * rng.standard_normal(voxels.shape, np.float32)
    low = part.low
    if rng.random() < settings.padded:
        most = int(settings.largest_padding_mm / volume.spacing_mm)
        air = rng.integers(0, most + 1, (3, 2)) * (rng.random((3, 2)) < 0.5)
        voxels, low = np.pad(voxels, air, constant_values=_AIR_HU), low - air[:, 0]
    limits = np.iinfo(np.int16)
    whole = np.rint(np.clip(voxels, limits.min, limits.max)).astype(np.int16)
    x, y, z = (float(mm) for mm in volume.grid.to_world(low[None])[0])
    view = IsotropicVolume(whole, Grid(whole.shape, volume.grid.spacing_mm, (x, y, z)))
    return ScanView(view, part.holds(at))


def _drawn_part(
    volume: IsotropicVolume, at: NDArray[np.float64], settings: ScanViewSettings, rng: np.random.Generator
) -> _Part:
    """Draw what a view keeps; `at` are the centroids, (n, 3) continuous indices."""
    shape = np.array(volume.voxels.shape)
    low, end = np.zeros(3, np.int64), shape.copy()
    if len(at) > _FEWEST and rng.random() < settings.cropped:
        z = np.sort(at[:, 0])
        n = int(rng.integers(_FEWEST, min(_MOST, len(z)) + 1))
        lowest = int(rng.integers(0, len(z) - n + 1))
        below, above = rng.uniform(*_MARGINS_MM, 2) / volume.spacing_mm
        low[0] = np.clip(z[lowest] - below, 0, shape[0] - 1)
        end[0] = np.clip(z[lowest + n - 1] + above + 1, low[0] + 1, shape[0])
    kept = at[(at[:, 0] >= low[0]) & (at[:, 0] < end[0])]
    if len(kept) and rng.random() < settings.narrowed:
        width = rng.uniform(settings.narrowest_mm, settings.widest_mm)
        depth = np.clip(width * rng.uniform(0.7, 1.4), settings.narrowest_mm, settings.widest_mm)
        for axis, size_mm in ((2, width), (1, depth)):
            first, last = kept[:, axis].min(), kept[:, axis].max()
            beside = _BESIDE_MM / volume.spacing_mm
            size = max(size_mm / volume.spacing_mm, last - first + 2 * beside)
            # Somewhere between centred on the spine and as far off it as the centroids allow.
            room = max(size - (last - first) - 2 * beside, 0) / 2
            middle = (first + last) / 2 + rng.uniform(-room, room) / 2
            low[axis] = np.clip(middle - size / 2, 0, shape[axis] - 1)
            end[axis] = np.clip(middle + size / 2 + 1, low[axis] + 1, shape[axis])
    return _Part(low, end)


def _mean_of_slices(voxels: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Replace every slice by the mean of n successive ones around it; the outermost ones go on past the ends."""
    edges = np.pad(voxels, ((n // 2, (n - 1) // 2), (0, 0), (0, 0)), mode="edge")
    mean: NDArray[np.float32] = np.mean([edges[k : k + len(voxels)] for k in range(n)], axis=0, dtype=np.float32)
    return mean
