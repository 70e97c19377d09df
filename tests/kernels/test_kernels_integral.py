"""Integral images against plain cumulative sums of a plainly padded array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.kernels import integral

WIDE = (-32768, 32767)


def integral_image(voxels, z_first, n_z, pad, outside, replicate, window=WIDE):
    height, width = voxels.shape[1:]
    out = np.full((n_z + 2 * pad + 1, height + 2 * pad + 1, width + 2 * pad + 1), -1, np.int32)
    integral.integral_image(voxels, z_first, pad, window, outside, replicate, out)
    return out


def padded(voxels, z_first, n_z, pad, outside, replicate, window=WIDE):
    """What the integral image sums, voxel by voxel, in 64 bits."""
    index = [np.arange(z_first - pad, z_first + n_z + pad), *(np.arange(-pad, n + pad) for n in voxels.shape[1:])]
    near = np.ix_(*(np.clip(i, 0, n - 1) for i, n in zip(index, voxels.shape, strict=True)))
    inside = [(i >= 0) & (i < n) for i, n in zip(index, voxels.shape, strict=True)]
    values = np.clip(voxels[near].astype(np.int64), *window) - outside
    return values if replicate else np.where(np.einsum("z,y,x->zyx", *inside), values, 0)


def cumulative(values):
    sums = values.cumsum(0).cumsum(1).cumsum(2)
    return np.pad(sums, ((1, 0),) * 3).astype(np.int32)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6)),
    slab=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    pad=st.integers(0, 3),
    outside=st.sampled_from([0, -1000, 57]),
    replicate=st.booleans(),
    window=st.sampled_from([WIDE, (-4096, 16384), (-150, 350), (-4096, 0), (500, 501), (20_000, 40_000)]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_sums_equal_cumulative_sums_for_any_slab_padding_and_window(shape, slab, pad, outside, replicate, window, seed):
    voxels = np.random.default_rng(seed).integers(-1000, 3072, shape).astype(np.int16)
    found = integral_image(voxels, *slab, pad, outside, replicate, window)
    expected = cumulative(padded(voxels, *slab, pad, outside, replicate, window))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_an_empty_slab_without_padding_has_only_the_zero_plane():
    found = integral_image(np.ones((3, 4, 5), np.int16), 1, 0, 0, 0, False)
    np.testing.assert_array_equal(found, np.zeros((1, 5, 6), np.int32))


@pytest.mark.parametrize("replicate", [False, True])
def test_sums_wrap_around_and_boxes_stay_exact(replicate):
    # An absurd outside value makes every voxel count about a million, so that a small image passes 2^32.
    outside = -1_000_003
    voxels = np.random.default_rng(0).integers(-1000, 3072, (14, 18, 20)).astype(np.int16)
    assert (voxels.astype(np.int64) - outside).sum() > 2**32
    found = integral_image(voxels, 0, 14, 1, outside, replicate)
    plain = padded(voxels, 0, 14, 1, outside, replicate)
    np.testing.assert_array_equal(found, cumulative(plain))
    for low, high in (((0, 0, 0), (9, 9, 9)), ((5, 8, 9), (16, 20, 22)), ((15, 19, 21), (16, 20, 22))):
        (z, y, x), (zz, yy, xx) = low, high
        corners = [found[zz, yy, xx], found[z, y, xx], found[z, yy, x], found[zz, y, x]]
        corners += [-np.int64(found[i]) for i in ((z, y, x), (z, yy, xx), (zz, y, xx), (zz, yy, x))]
        total = np.array(sum(int(c) for c in corners)).astype(np.int32)
        assert total == plain[z:zz, y:yy, x:xx].sum()
