"""Why no vertebra was found, as far as the scan tells."""

import re

import numpy as np
import pytest

from vertloc.batch.empty import why_empty
from vertloc.geometry import Grid
from vertloc.volume import Volume


def scan(voxels, spacing_mm=(3.0, 3.0, 3.0)):
    return Volume(voxels, Grid(voxels.shape, spacing_mm))


def body(bone=60):
    """Air, flesh, and some slices of something as dense as bone."""
    voxels = np.full((40, 40, 40), -1000, np.int16)
    voxels[:, 8:32, 8:32] = 40
    voxels[:bone, 16:24, 16:24] = 500
    return voxels


@pytest.mark.parametrize(
    ("voxels", "reason"),
    [
        (body()[:5], r"120 x 120 x 15 mm, too small to show a vertebra whole"),
        ((body() > 100).astype(np.uint8), r"values run from 0 to 1; these are no Hounsfield units \(a mask"),
        (np.full((20, 20, 20), 7, np.int16), r"run from 7 to 7; these are no Hounsfield units"),
        (body() + np.int16(1024), r"lowest value is 24; Hounsfield units have air near -1000 \(a shifted"),
        (body(bone=0), r"only 0\.0 ml of the scan are as dense as bone"),
        (body(), r"nothing in the scan looks like the vertebrae of this model \(trained on T10 to L4\)"),
    ],
)
def test_the_reason_is_what_can_be_seen_in_the_scan(toy_model, voxels, reason):
    with np.errstate(all="raise"):
        assert re.search(reason, why_empty(scan(voxels), toy_model))
