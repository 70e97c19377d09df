"""Context features: mean intensities of displaced boxes, and differences of two of them (Glocker et al. 2013, 2.2).

A feature is one of: the mean of box A; mean of box A minus mean of box B; mean of box A minus the local value. Offsets
and sizes are in millimetres, so that a pool does not depend on the voxel size. Outside the image a fixed rule holds
(see `OutsideRule`), because in cropped images the outside is the normal case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.kernels.boxes import box_features, box_means, box_offsets, difference_steps
from vertloc.kernels.entries import padded_positions
from vertloc.kernels.integral import integral_image
from vertloc.settings import CHECKED, Share
from vertloc.stages.preprocess import IsotropicVolume

STEPS_PER_HU = 8
"""Trees are grown on feature values in eighths of a Hounsfield unit, rounded down, within -4096 and 4095.875 HU."""

OutsideRule = Literal["replicate", "constant"]
"""What lies outside the image: the nearest voxel of the image again, or one intensity."""
Offset = Annotated[float, Field(ge=1, le=400)]
Size = Annotated[float, Field(ge=0.5, le=200)]
Intensity = Annotated[float, Field(ge=-4096, le=16384)]
_LOWEST_HU, _HIGHEST_HU = -4096.0, 16384.0


def _check_window(lowest_hu: float, highest_hu: float) -> None:
    if not lowest_hu < highest_hu:
        raise ValueError(f"lowest_hu {lowest_hu} must lie below highest_hu {highest_hu}")


@checked(frozen=True, config=CHECKED)
class FeatureRule:
    """What the values of features rest on, beside the features themselves.

    largest_offset_mm : no box centre lies further from the voxel than this, along each axis
    largest_size_mm : no edge of a box is longer
    outside : the rule for what lies outside the image
    outside_hu : the intensity of the outside under the rule "constant"
    lowest_hu, highest_hu : intensities are clipped to this window before boxes are averaged
    """

    largest_offset_mm: Offset = 90.0
    largest_size_mm: Size = 40.0
    outside: OutsideRule = "replicate"
    outside_hu: Intensity = -1000.0
    lowest_hu: Intensity = _LOWEST_HU
    highest_hu: Intensity = _HIGHEST_HU

    def __post_init__(self) -> None:
        _check_window(self.lowest_hu, self.highest_hu)

    @property
    def reach_mm(self) -> float:
        """No box reaches further from its voxel than this."""
        return self.largest_offset_mm + self.largest_size_mm / 2

    def padding(self, spacing_mm: float) -> int:
        """Voxels around a volume that its features can reach."""
        return int(np.ceil(self.reach_mm / spacing_mm)) + 1


@checked(frozen=True, config=CHECKED)
class ContextFeatureSettings:
    """From which distribution features are drawn, and what lies outside the image.

    largest_offset_mm : a box centre lies within this distance of the voxel, along each axis
    near_share : share of boxes whose offset is drawn on a log scale, so that the neighbourhood is well covered
    smallest_size_mm : shortest edge of a box; edges are log-uniform, each axis on its own
    largest_size_mm : longest edge of a box
    boxes_per_feature : boxes drawn for each feature of a pool; below 2, features share them. Reading boxes is what
        training spends its time on
    single_share : share of features that are one box: absolute Hounsfield units mean something
    local_share : share of features that are a box minus the voxel's own value; the rest compares two boxes
    outside : what lies past the image's border: its nearest voxel again (replicate), or `outside_hu` (constant)
    outside_hu : the intensity of the outside under the rule "constant"
    lowest_hu : intensities are clipped to a window before boxes are averaged, so that air and metal do not outweigh
        the difference between muscle and bone; the default window clips nothing
    highest_hu : upper end of the window
    """

    largest_offset_mm: Offset = 90.0
    near_share: Share = 0.5
    smallest_size_mm: Size = 3.0
    largest_size_mm: Size = 40.0
    boxes_per_feature: Annotated[float, Field(ge=0.01, le=2)] = 0.5
    single_share: Share = 0.4
    local_share: Share = 0.2
    outside: OutsideRule = "replicate"
    outside_hu: Intensity = -1000.0
    lowest_hu: Intensity = _LOWEST_HU
    highest_hu: Intensity = _HIGHEST_HU

    def __post_init__(self) -> None:
        _check_window(self.lowest_hu, self.highest_hu)
        if not self.smallest_size_mm <= self.largest_size_mm:
            found = f"smallest_size_mm {self.smallest_size_mm}, largest_size_mm {self.largest_size_mm}"
            raise ValueError(f"smallest_size_mm <= largest_size_mm must hold, got {found}")
        if self.single_share + self.local_share > 1:
            found = f"single_share {self.single_share}, local_share {self.local_share}"
            raise ValueError(f"single_share + local_share <= 1 must hold, got {found}")

    @property
    def rule(self) -> FeatureRule:
        """The part that prediction needs."""
        window = (self.lowest_hu, self.highest_hu)
        return FeatureRule(self.largest_offset_mm, self.largest_size_mm, self.outside, self.outside_hu, *window)


@dataclass(frozen=True, eq=False)
class FeaturePool:
    """F features in millimetres, and the rule that their values rest on.

    offset_mm : (F, 2, 3) float32, (x, y, z) displacement of the centres of box A and box B
    size_mm : (F, 2, 3) float32, (x, y, z) edges; size 0 for B: there is no box B; a B of one voxel is the local value
    """

    offset_mm: NDArray[np.float32]
    size_mm: NDArray[np.float32]
    rule: FeatureRule

    def __len__(self) -> int:
        return len(self.offset_mm)

    @cached_property
    def distinct_boxes(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Offsets and sizes of the distinct boxes, (B, 1, 3) each; for each feature, which are its A and B: (F, 2)."""
        boxes = np.concatenate([self.offset_mm, self.size_mm], axis=2).reshape(-1, 6)
        _, first, which = np.unique(boxes, axis=0, return_index=True, return_inverse=True)
        offset_mm, size_mm = (array.reshape(-1, 1, 3)[first] for array in (self.offset_mm, self.size_mm))
        return offset_mm, size_mm, which.reshape(-1, 2)

    def transformed(self, matrix: NDArray[np.float64]) -> FeaturePool:
        """Turn and scale the features, the boxes' sizes by the mean scale; boxes stay along the axes.

        matrix : (3, 3), from the features' frame to the volume's
        """
        return FeaturePool(*_transformed(self.offset_mm, self.size_mm, matrix), self.rule)


def _transformed(
    offset_mm: NDArray[np.float32], size_mm: NDArray[np.float32], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Turn and scale boxes, (..., 3) each; see `FeaturePool.transformed`."""
    scale = np.cbrt(abs(np.linalg.det(matrix)))
    # Term by term: a library's product may round otherwise, depending on the processor and on the number of boxes.
    x, y, z = (offset_mm[..., axis, None] * matrix[:, axis] for axis in range(3))
    return (x + y + z).astype(np.float32), (size_mm * scale).astype(np.float32)


def draw_feature_pool(n: int, settings: ContextFeatureSettings, rng: np.random.Generator) -> FeaturePool:
    """Draw n features."""
    if settings.boxes_per_feature < 2:
        offset, size = _draw_boxes((max(2, round(settings.boxes_per_feature * n)), 1), settings, rng)
        # Two different ones for each feature.
        first = rng.integers(len(offset), size=n)
        second = (first + rng.integers(1, len(offset), size=n)) % len(offset)
        offset, size = (boxes[np.stack([first, second], axis=1), 0] for boxes in (offset, size))
    else:
        offset, size = _draw_boxes((n, 2), settings, rng)
    kind = rng.random(n)
    is_single = kind < settings.single_share
    is_local = (kind >= settings.single_share) & (kind < settings.single_share + settings.local_share)
    size[is_single, 1] = 0
    # The smallest box anywhere is one voxel, so a vanishing size reads the voxel itself.
    size[is_local, 1] = 1e-3
    offset[is_single | is_local, 1] = 0
    return FeaturePool(offset.astype(np.float32), size.astype(np.float32), settings.rule)


def _draw_boxes(
    shape: tuple[int, int], settings: ContextFeatureSettings, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw offsets and sizes of boxes: two arrays (*shape, 3), mm."""
    low, high = np.log(settings.smallest_size_mm), np.log(settings.largest_size_mm)
    size = np.exp(rng.uniform(low, high, (*shape, 3)))
    far = rng.uniform(-1, 1, (*shape, 3)) * settings.largest_offset_mm
    near = np.sign(far) * np.exp(rng.uniform(np.log(1.0), np.log(settings.largest_offset_mm), (*shape, 3)))
    is_near = rng.random((*shape, 1)) < settings.near_share
    return np.where(is_near, near, far), size


def join_pools(pools: list[FeaturePool]) -> FeaturePool:
    """Put pools of one rule behind each other."""
    rule = pools[0].rule
    if any(pool.rule != rule for pool in pools):
        raise ValueError("pools of different rules cannot be joined: their features would change their meaning")
    offset_mm, size_mm = np.concatenate([p.offset_mm for p in pools]), np.concatenate([p.size_mm for p in pools])
    return FeaturePool(offset_mm, size_mm, rule)


Positions = NDArray[np.unsignedinteger[Any]]
"""Flat positions in an integral image, (n,): uint32 if its size allows, else uint64."""


@dataclass(frozen=True, eq=False)
class IntegralImage:
    """A padded integral image of some slices of a volume.

    sums : (z, y, x) int32
    pad : voxels of padding on each side; z_first : the first slice covered
    """

    sums: NDArray[np.int32]
    pad: int
    z_first: int

    def positions(self, z: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]) -> Positions:
        """Flat positions of voxels (indices of the volume)."""
        height, width = self.sums.shape[1:]
        flat = ((z - self.z_first + self.pad) * height + y + self.pad) * width + x + self.pad
        return np.asarray(flat, dtype=self._position_type)

    def positions_of(self, voxels: NDArray[np.integer[Any]], shape: tuple[int, int, int]) -> Positions:
        """Flat positions of flat voxels of a volume of this shape."""
        height, width = self.sums.shape[1:]
        first = ((self.pad - self.z_first) * height + self.pad) * width + self.pad
        found = padded_positions(voxels, shape[1], shape[2], first, height, width)
        return found.astype(self._position_type, copy=False)

    @property
    def _position_type(self) -> type[np.unsignedinteger[Any]]:
        # The narrower, the more of them stay in the processor's cache.
        return np.uint32 if self.sums.size < 2**32 else np.uint64


def make_integral_image(
    volume: IsotropicVolume, rule: FeatureRule, z_first: int = 0, n_z: int | None = None
) -> IntegralImage:
    """Sum the slices z_first .. z_first + n_z - 1 and everything around them that a feature can reach."""
    pad = rule.padding(volume.spacing_mm)
    n_z = volume.voxels.shape[0] - z_first if n_z is None else n_z
    # Subtracting the outside intensity makes the outside count as zero.
    outside = round(min(max(rule.outside_hu, rule.lowest_hu), rule.highest_hu))
    _, height, width = volume.voxels.shape
    # numpy asks the system for large pages, a kernel would not: the walk reads all over the image.
    sums = np.empty((n_z + 2 * pad + 1, height + 2 * pad + 1, width + 2 * pad + 1), np.int32)
    window = round(rule.lowest_hu), round(rule.highest_hu)
    integral_image(volume.voxels, z_first, pad, window, outside, rule.outside == "replicate", sums)
    return IntegralImage(sums, pad, z_first)


def box_corners(
    pool: FeaturePool, spacing_mm: float, image: IntegralImage
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32]]:
    """Turn features into flat corner offsets for one integral image.

    Boxes are shifted, and if need be cut, to stay within the image's padding.
    returns : corners (F, 16) int32, for images of 2^31 voxels or more int64, and scales (F, 2) float32, as
        `kernels.boxes.box_features` wants them
    """
    corners, scales = _offsets(pool.offset_mm, pool.size_mm, spacing_mm, image)
    scales[pool.size_mm[:, 1, 0] == 0, 1] = 0
    return corners, scales


def _offsets(
    offset_mm: NDArray[np.float32], size_mm: NDArray[np.float32], spacing_mm: float, image: IntegralImage
) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32]]:
    """Flat offsets of the corners of boxes, (n, boxes, 3) each: (n, 8 boxes), and scales (n, boxes)."""
    n, n_boxes, _ = offset_mm.shape
    # The narrower, the more of them stay in the processor's cache.
    corners = np.empty((n, 8 * n_boxes), np.int32 if image.sums.size < 2**31 else np.int64)
    scales = np.empty((n, n_boxes), np.float32)
    _, height, width = image.sums.shape
    box_offsets(offset_mm, size_mm, spacing_mm, image.pad, height, width, corners, scales)
    return corners, scales


def feature_values(
    image: IntegralImage, positions: Positions, corners: NDArray[np.integer[Any]], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Evaluate all features at all positions: (n, F) float32, HU: the plain way, to which the faster ones are held."""
    out = np.empty((len(positions), len(corners)), np.float32)
    box_features(image.sums.ravel(), positions, corners, scales, out)
    return out


def fill_feature_columns(
    image: IntegralImage,
    positions: Positions,
    pool: FeaturePool,
    spacing_mm: float,
    out: NDArray[np.int16],
    frame: NDArray[np.float64] | None = None,
) -> None:
    """Fill `out`, (F, n) int16, with all features at all positions, in steps of 1 / STEPS_PER_HU: to grow trees on.

    frame : (3, 3) for `FeaturePool.transformed`; None leaves the pool as it is
    A box that several features share is read once.
    """
    offset_mm, size_mm, boxes = pool.distinct_boxes
    if frame is not None:
        offset_mm, size_mm = _transformed(offset_mm, size_mm, frame)
    corners, scales = _offsets(offset_mm, size_mm, spacing_mm, image)
    scales[size_mm[..., 0] == 0] = 0
    means = np.empty((len(corners), len(positions)), np.float32)
    box_means(image.sums.ravel(), positions, corners, scales[:, 0], means)
    difference_steps(means, boxes, np.float32(STEPS_PER_HU), out)


def thresholds_in_hu(steps: NDArray[np.int16]) -> NDArray[np.float32]:
    """Turn thresholds in steps into HU: (n,) float32, such that value <= threshold says the same of both values.

    Rounded down to steps, a value is at most t if it is less than t + 1 steps; below 32767 that is exact.
    """
    next_step = (steps.astype(np.float32) + 1) / np.float32(STEPS_PER_HU)
    below: NDArray[np.float32] = np.nextafter(next_step, np.float32(-np.inf))
    return below


def steps_of_thresholds(thresholds: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return what `thresholds_in_hu` made thresholds of: (n,) int16. Raises ValueError for others."""
    steps = np.clip(np.floor(thresholds.astype(np.float64) * STEPS_PER_HU), -32768, 32767).astype(np.int16)
    if not np.array_equal(thresholds_in_hu(steps), thresholds):
        raise ValueError("thresholds that are no whole steps")
    return steps
