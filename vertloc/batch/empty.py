"""A scan without a vertebra found -> why, as far as the scan itself tells."""

from __future__ import annotations

import numpy as np

from vertloc.model import Model
from vertloc.volume import Scan

_SMALLEST_MM = 30.0
_BONE_HU = 150.0
_AIR_HU = -200.0
_LEAST_RANGE = 300.0
_BODY_MM3 = 5_000.0


def why_empty(scan: Scan, model: Model) -> str:
    """Say why no vertebra may have been found: size, intensities, bone, or a model that knows other levels."""
    size = np.array(scan.grid.extent_mm)
    if min(size) < _SMALLEST_MM:
        return f"the scan is {' x '.join(f'{edge:.0f}' for edge in size)} mm, too small to show a vertebra whole"
    low, high, n_bone = _survey(scan)
    if not (np.isfinite(low) and np.isfinite(high)):
        return "the scan holds values that are not finite"
    if high - low < _LEAST_RANGE:
        return f"its values run from {low:g} to {high:g}; these are no Hounsfield units (a mask, or a scaled image?)"
    if low > _AIR_HU:
        return f"its lowest value is {low:g}; Hounsfield units have air near -1000 (a shifted or windowed image?)"
    bone_mm3 = n_bone * float(np.prod(scan.grid.spacing_mm))
    if bone_mm3 < _BODY_MM3:
        return f"only {bone_mm3 / 1000:.1f} ml of the scan are as dense as bone (above {_BONE_HU:.0f} HU)"
    known = list(model.provenance.labels)
    levels = f" (trained on {known[0]} to {known[-1]})" if known else ""
    return f"nothing in the scan looks like the vertebrae of this model{levels}"


def _survey(scan: Scan) -> tuple[float, float, int]:
    """Return the lowest and highest intensity, and how many voxels are as dense as bone; a few slices at a time."""
    step = max(1, scan.slab_bytes // max(1, scan.slice_bytes))
    n = scan.grid.shape[0]
    low, high, n_bone = np.inf, -np.inf, 0
    for slab in scan.slabs([(begin, min(begin + step, n)) for begin in range(0, n, step)]):
        low, high = min(low, float(slab.min())), max(high, float(slab.max()))
        n_bone += int(np.count_nonzero(slab > _BONE_HU))
    return low, high, n_bone
