import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.geometry import Grid
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.stages.resampling import _axis_weights
from vertloc.volume import Volume


def naive_mean_of_linear_interpolant(values, spacing_in, n_out, spacing_out, steps=2000):
    """Sample the interpolant finely inside each output voxel, cut to the input's extent, and average."""
    n_in = len(values)
    edges = (n_in - 1) / 2 + (np.arange(n_out + 1) - n_out / 2) * spacing_out / spacing_in
    edges = np.clip(edges, -0.5, n_in - 0.5)
    out = []
    for low, high in itertools.pairwise(edges):
        x = low + (np.arange(steps) + 0.5) / steps * (high - low)
        out.append(np.interp(x, np.arange(n_in), values).mean())
    return np.array(out)


@given(
    n_in=st.integers(1, 30),
    spacing_in=st.floats(0.3, 6),
    spacing_out=st.floats(0.8, 6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_axis_weights_average_the_linear_interpolant(n_in, spacing_in, spacing_out, seed):
    values = np.random.default_rng(seed).normal(size=n_in)
    n_out = max(1, int(np.ceil(n_in * spacing_in / spacing_out - 1e-6)))
    first, weights = _axis_weights(n_in, spacing_in, n_out, spacing_out)
    padded = np.append(values, np.zeros(weights.shape[1]))
    found = np.array([weights[i] @ padded[first[i] : first[i] + weights.shape[1]] for i in range(n_out)])
    expected = naive_mean_of_linear_interpolant(values, spacing_in, n_out, spacing_out)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_a_constant_image_stays_constant_at_any_spacing():
    volume = Volume(np.full((7, 9, 11), 123, np.int16), Grid((7, 9, 11), (0.7, 1.3, 2.9)))
    for spacing in (1.0, 2.5, 3.0, 8.0):
        assert (preprocess(volume, PreprocessSettings(spacing_mm=spacing)).voxels == 123).all()


def test_a_linear_ramp_keeps_its_value_at_every_inner_voxel():
    z, y, x = np.indices((20, 30, 40)).astype(np.float32)
    grid = Grid((20, 30, 40), (1.0, 1.2, 2.0), (5.0, -7.0, 11.0))
    world = grid.to_world(np.stack([z, y, x], -1).reshape(-1, 3))
    ramp = (3 * world[:, 0] - 2 * world[:, 1] + 4 * world[:, 2]).reshape(20, 30, 40).astype(np.float32)
    small = preprocess(Volume(ramp, grid), PreprocessSettings(spacing_mm=3.0))
    inner = np.stack(np.meshgrid(*[np.arange(2, n - 2) for n in small.grid.shape], indexing="ij"), -1).reshape(-1, 3)
    at = small.grid.to_world(inner)
    expected = 3 * at[:, 0] - 2 * at[:, 1] + 4 * at[:, 2]
    np.testing.assert_allclose(small.voxels[tuple(inner.T)], expected, atol=0.51)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.float32, np.float64, ">i2"])
def test_every_stored_type_gives_the_same_result(dtype):
    values = np.random.default_rng(0).integers(0, 100, (6, 7, 8))
    grid = Grid((6, 7, 8), (1.0, 1.0, 1.0))
    expected = preprocess(Volume(values.astype(np.int16), grid), PreprocessSettings()).voxels
    np.testing.assert_array_equal(preprocess(Volume(values.astype(dtype), grid), PreprocessSettings()).voxels, expected)


def test_threads_do_not_change_the_result():
    values = np.random.default_rng(1).integers(-1000, 2000, (50, 20, 30)).astype(np.int16)
    volume = Volume(values, Grid(values.shape, (0.9, 0.9, 1.1)))
    one, two = (preprocess(volume, PreprocessSettings(), n) for n in (1, 2))
    np.testing.assert_array_equal(one.voxels, two.voxels)


def test_intensities_are_clipped_before_they_are_averaged():
    values = np.array([[[0, 30000]]], np.int16)
    volume = Volume(values, Grid((1, 1, 2), (1.5, 3.0, 3.0)))
    found = preprocess(volume, PreprocessSettings(spacing_mm=3.0, lowest_hu=-1000, highest_hu=1000)).voxels
    assert found.shape == (1, 1, 1)
    assert found[0, 0, 0] == 500
