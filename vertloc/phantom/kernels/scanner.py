"""The last steps of a synthetic CT scan: projections for metal streaks, noise, and integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel


@kernel
def finish_slices(
    voxels: NDArray[np.float32],
    planes: NDArray[np.float32],
    picks: NDArray[np.int64],
    deviations: NDArray[np.float32],
    z_from: int,
    z_to: int,
    out: NDArray[np.int16],
) -> None:
    """Add noise to slices and round them to integers within -1024..3071.

    planes : (k, >= y, >= x) float32 noise of unit variance
    picks : (z, 3) plane, first row and first column for each slice, so that no two neighbours look alike
    deviations : (z,) float32 HU
    out : (z, y, x) int16, filled between z_from and z_to
    """
    for z in range(z_from, z_to):
        plane, y0, x0 = picks[z, 0], picks[z, 1], picks[z, 2]
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                value = voxels[z, y, x] + deviations[z] * planes[plane, y0 + y, x0 + x]
                out[z, y, x] = np.int16(
                    np.floor(min(max(value, np.float32(-1024)), np.float32(3071)) + np.float32(0.5))
                )


@kernel
def project_slice(image: NDArray[Any], angles: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Add the parallel projections of a square image to `out`, pixel by pixel with linear interpolation.

    image : (n, n), sparse; angles : (a,) radians; out : (a, bins), pixel units, the centre at (bins - 1) / 2
    """
    middle, centre = (image.shape[0] - 1) / 2.0, (out.shape[1] - 1) / 2.0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if image[y, x] == 0:
                continue
            for a in range(len(angles)):
                s = (x - middle) * np.cos(angles[a]) + (y - middle) * np.sin(angles[a]) + centre
                b = int(np.floor(s))
                if 0 <= b < out.shape[1] - 1:
                    out[a, b] += image[y, x] * (b + 1 - s)
                    out[a, b + 1] += image[y, x] * (s - b)


@kernel
def back_project(
    filtered: NDArray[np.float64], cosines: NDArray[np.float64], sines: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Add the back-projection of filtered parallel projections to the square image `out` (sum over angles)."""
    middle, centre = (out.shape[0] - 1) / 2.0, (filtered.shape[1] - 1) / 2.0
    for a in range(filtered.shape[0]):
        for y in range(out.shape[0]):
            s = (y - middle) * sines[a] - middle * cosines[a] + centre
            for x in range(out.shape[1]):
                b = int(np.floor(s))
                if 0 <= b < filtered.shape[1] - 1:
                    out[y, x] += filtered[a, b] * (b + 1 - s) + filtered[a, b + 1] * (s - b)
                s += cosines[a]
