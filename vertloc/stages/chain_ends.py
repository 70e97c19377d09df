"""Training centroids -> how often a chain begins and ends at each vertebra.

The head and the coccyx end every spine, so that C1 and S2 are far more frequent ends than their neighbours; elsewhere
it is the scanner operator, or whoever cropped the training scans, who decides. Frequencies are therefore smoothed along
the spine, those two apart, and mixed with even ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vertloc.centroids import Centroids
from vertloc.vertebrae import RANK, VERTEBRAE

_WIDTH = 1.0  # of the smoothing, in vertebrae


def learn_chain_ends(centroids: Sequence[Centroids], even_scans: float) -> NDArray[np.float64]:
    """Return the log frequencies of top and bottom against even ones: (2, 26) float64.

    even_scans : weight, in scans, of frequencies that are the same everywhere
    Scans without any of the 26 vertebrae do not count; without any scan all are 0.
    """
    n = len(VERTEBRAE)
    counts = np.zeros((2, n))
    for scan in centroids:
        ranks = [RANK[label] for label in scan.labels if label in RANK]
        if ranks:
            counts[0, ranks[0]] += 1
            counts[1, ranks[-1]] += 1
    smooth = np.stack([_smoothed(counts[0], 0), _smoothed(counts[1], n - 1)]) + even_scans / n
    return np.asarray(np.log(n * smooth / smooth.sum(axis=1, keepdims=True)))


def _smoothed(counts: NDArray[np.float64], apart: int) -> NDArray[np.float64]:
    """Spread the counts over their neighbours; those of `apart` stay where they are, and none come to it."""
    ranks = np.arange(len(counts))
    kernel = np.exp(-((ranks[:, None] - ranks) ** 2) / (2 * _WIDTH**2))
    kernel[apart] = kernel[:, apart] = 0
    kernel[apart, apart] = 1
    return np.asarray(kernel / kernel.sum(axis=0) @ counts)
