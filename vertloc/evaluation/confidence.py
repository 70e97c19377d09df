"""Confidences and whether each name was right -> how far the confidences can be trusted.

Reliability: among names given with confidence p, a share p should be right (DeGroot and Fienberg, 1983). Risk and
coverage: if only the surest part of the names is kept, how many of them are wrong (El-Yaniv and Wiener, 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidences in bins of equal width over 0..1; empty bins are left out.

    mean_confidence, share_right : (k,) float64, of the names in each bin
    count : (k,) int64, names in each bin
    """

    mean_confidence: NDArray[np.float64]
    share_right: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean distance of the two, weighted by names; NaN without names."""
        if not self.count.sum():
            return float("nan")
        return float(np.average(np.abs(self.mean_confidence - self.share_right), weights=self.count))


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What is wrong among the surest names.

    coverage : (n,) float64, share of the names kept, rising to 1
    risk : (n,) float64, share of wrong ones among those kept
    threshold : (n,) float64, confidence of the least sure one kept
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    threshold: NDArray[np.float64]


def reliability(confidence: NDArray[Any], is_right: NDArray[np.bool_], n_bins: int = 10) -> Reliability:
    """Sort confidences into bins and compare each bin's mean with its share of right names.

    confidence : (n,) in 0..1; is_right : (n,); n may be 0. A confidence on the edge of two bins belongs to the upper.
    """
    which = np.minimum((np.asarray(confidence, dtype=np.float64) * n_bins).astype(np.int64), n_bins - 1)
    count = np.bincount(which, minlength=n_bins)
    is_used = count > 0
    sums = (np.bincount(which, weights=values, minlength=n_bins)[is_used] for values in (confidence, is_right))
    mean, share = (total / count[is_used] for total in sums)
    return Reliability(mean, share, count[is_used])


def risk_coverage(confidence: NDArray[Any], is_right: NDArray[np.bool_]) -> RiskCoverage:
    """Follow the share of wrong names while less and less sure ones are kept.

    confidence : (n,); is_right : (n,). Names of equal confidence are kept together: one entry for each confidence.
    """
    order = np.argsort(-np.asarray(confidence, dtype=np.float64), kind="stable")
    sorted_confidence = np.asarray(confidence, dtype=np.float64)[order]
    kept = np.arange(1, len(order) + 1)
    risk = np.cumsum(~np.asarray(is_right, dtype=np.bool_)[order]) / kept
    is_last = np.append(sorted_confidence[1:] != sorted_confidence[:-1], True)[: len(order)]
    return RiskCoverage((kept / max(1, len(order)))[is_last], risk[is_last], sorted_confidence[is_last])
