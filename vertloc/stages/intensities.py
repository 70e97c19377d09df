"""Sample of a scan's voxels -> a warning if they cannot be Hounsfield units.

On that scale air is -1000, fat -100, muscle 50 and dense bone up to 1500; only metal lies higher. The forests know no
other scale: a scan that was shifted, scaled to 8 bits or normalised shows them nothing that they have learnt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMALLEST_RANGE = 300.0
_FEW_VALUES = 48
# Every field of view on a spine holds some fat or gas.
_HIGHEST_OF_FAT = -20.0
_SHARE_OF_FAT = 0.002
_DENSE_BONE, _LARGEST_SHARE_OF_BONE = (800.0, 1300.0), 0.2
_ABOVE_METAL, _LARGEST_SHARE_OF_METAL = 3100.0, 0.05


def unit_warning(sample: NDArray[np.float32]) -> str | None:
    """Return what is wrong with intensities that cannot be Hounsfield units; None if they can.

    sample : (n,) voxels from everywhere in the scan
    """
    reason = _what_is_wrong(sample)
    if reason is None:
        return None
    low, high = (float(v) for v in (sample.min(), sample.max())) if len(sample) else (0.0, 0.0)
    return (
        f"intensities from {low:g} to {high:g} are no Hounsfield units: {reason};"
        " results cannot be trusted, store the scan with its rescale slope and intercept applied"
    )


def _what_is_wrong(sample: NDArray[np.float32]) -> str | None:
    if len(sample) == 0 or sample.min() == sample.max():
        return "all voxels are the same"
    if float(sample.max()) - float(sample.min()) < _SMALLEST_RANGE:
        return f"they span less than {_SMALLEST_RANGE:.0f}"
    share_above = float((sample > _ABOVE_METAL).mean())
    if share_above > _LARGEST_SHARE_OF_METAL:
        return f"{100 * share_above:.0f} % lie above all metal (negative ones wrapped round?)"
    some = sample[:: len(sample) // 20_000 + 1]
    if len(some) > 1000 and len(np.unique(some)) < _FEW_VALUES and sample.min() >= 0:
        return f"there are only {len(np.unique(some))} different ones, as in a mask"
    share_dense = float(((sample > _DENSE_BONE[0]) & (sample < _DENSE_BONE[1])).mean())
    if share_dense > _LARGEST_SHARE_OF_BONE:
        return f"{100 * share_dense:.0f} % are as dense as the hardest bone (1024 too high?)"
    if float((sample < _HIGHEST_OF_FAT).mean()) < _SHARE_OF_FAT:
        return "neither air, at -1000, nor fat, at -100, is there"
    return None
