"""Published results on the Microsoft / University of Washington spine CT database, to set a report beside.

They are other people's measurements on their own split of that database. Only scores of the same scans, with the same
folds, can be compared with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedResult:
    """One published row; NaN where the paper, or our source for it, gives no figure.

    identified : identification rate in percent, by region
    """

    method: str
    reference: str
    scans: str
    mean_mm: float
    std_mm: float
    identified: dict[str, float]


_TWO_FOLD = "224, two-fold"
_TEST_SET = "60 test scans of 2014"

PUBLISHED: tuple[PublishedResult, ...] = (
    PublishedResult(
        "classification forest",
        "Glocker et al., MICCAI 2013",
        _TWO_FOLD,
        12.4,
        11.2,
        {"all": 70.0, "cervical": 80.0, "thoracic": 62.0, "lumbar": 75.0},
    ),
    PublishedResult("classification forest", "Glocker et al., MICCAI 2013", _TEST_SET, 13.2, 17.8, {"all": 74.0}),
    PublishedResult("J-CNN", "Chen et al., MICCAI 2015", _TEST_SET, 8.8, 13.0, {"all": 84.2}),
    PublishedResult("DI2IN", "Yang et al., 2017", _TEST_SET, 8.6, 7.8, {"all": 85.0}),
    PublishedResult("CNN and LSTM", "Liao et al., IEEE TMI 2018", _TEST_SET, 6.5, 8.6, {"all": 88.3}),
    PublishedResult("Btrfly Net", "Sekuboyina et al., MICCAI 2018", _TEST_SET, math.nan, math.nan, {"all": 88.5}),
    PublishedResult("two-stage CNN", "McCouat and Glocker, 2019", _TEST_SET, 5.6, 7.1, {"all": 85.8}),
    PublishedResult("FCN and HMM", "Chen et al., IEEE TMI 2019", _TEST_SET, 2.6, math.nan, {"all": 94.7}),
    PublishedResult("spine rectification", "Wang et al., CVPR 2021", _TEST_SET, math.nan, math.nan, {"all": 97.4}),
)
