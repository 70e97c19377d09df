"""Smoothing and peaks against scipy's filters."""

import numba
import numpy as np
import pytest
from scipy import ndimage

from vertloc.kernels.peaks import find_peaks, smooth_slices


def random_masses(seed, shape, share):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < share, rng.random(shape), 0.0)


def weights_of(sigma):
    """The filter that scipy uses: what it makes of a single mass along a line."""
    radius = int(3.0 * sigma + 0.5)
    line = np.zeros(2 * radius + 1)
    line[radius] = 1
    return ndimage.gaussian_filter1d(line, sigma, mode="constant", truncate=3.0)[radius:]


@pytest.mark.parametrize("shape", [(9, 7, 8), (1, 1, 1), (2, 9, 1), (5, 1, 14)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 5 / 3])
def test_slices_are_smoothed_as_scipy_does_it_whatever_the_pieces(shape, share, sigma):
    masses = random_masses(0, shape, share)
    expected = ndimage.gaussian_filter(masses, sigma, mode="constant", truncate=3.0)
    for step in (1, 4, 100):
        found = np.full(shape, np.nan)
        for begin in range(0, shape[0], step):
            smooth_slices(masses, weights_of(sigma), begin, min(begin + step, shape[0]), found)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("shape", [(9, 7, 8), (1, 1, 1), (2, 9, 1), (5, 1, 14)])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_peaks_are_the_cells_that_equal_the_maximum_around_them_ties_included(shape, levels):
    values = np.random.default_rng(1).integers(-1, levels, shape) / 7
    is_peak = (values == ndimage.maximum_filter(values, 3, mode="constant")) & (values > 0)
    cut = (shape[0] + 1) // 2
    found = np.concatenate([find_peaks(values, 0, cut), find_peaks(values, cut, shape[0])])
    np.testing.assert_array_equal(found, np.argwhere(is_peak))


def test_many_peaks_are_all_found():
    values = np.ones((3, 8, 8 if numba.config.DISABLE_JIT else 80))
    assert len(find_peaks(values, 0, 3)) == values.size
