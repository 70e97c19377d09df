"""A scan without a vertebra found -> why, as far as the scan itself tells."""

from __future__ import annotations

import numpy as np

from vertloc.model import Model
from vertloc.volume import Volume

_SMALLEST_MM = 30.0
_BONE_HU = 150.0
_AIR_HU = -200.0
_LEAST_RANGE = 300.0
_BODY_MM3 = 5_000.0


def why_empty(volume: Volume, model: Model) -> str:
    """Say why no vertebra may have been found: size, intensities, bone, or a model that knows other levels."""
    size = np.array(volume.grid.shape[::-1]) * np.array(volume.grid.spacing_mm)
    if min(size) < _SMALLEST_MM:
        return f"the scan is {' x '.join(f'{edge:.0f}' for edge in size)} mm, too small to show a vertebra whole"
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        return "the scan holds values that are not finite"
    if high - low < _LEAST_RANGE:
        return f"its values run from {low:g} to {high:g}; these are no Hounsfield units (a mask, or a scaled image?)"
    if low > _AIR_HU:
        return f"its lowest value is {low:g}; Hounsfield units have air near -1000 (a shifted or windowed image?)"
    bone_mm3 = float((volume.voxels > _BONE_HU).sum()) * float(np.prod(volume.grid.spacing_mm))
    if bone_mm3 < _BODY_MM3:
        return f"only {bone_mm3 / 1000:.1f} ml of the scan are as dense as bone (above {_BONE_HU:.0f} HU)"
    known = list(model.provenance.labels)
    levels = f" (trained on {known[0]} to {known[-1]})" if known else ""
    return f"nothing in the scan looks like the vertebrae of this model{levels}"
