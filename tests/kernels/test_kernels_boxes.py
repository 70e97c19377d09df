"""Box features against plain slices of the array, with corners written out by hand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.kernels.boxes import box_features, box_means, box_offsets, box_sum, difference_steps


def integral_of(values):
    return np.pad(values.astype(np.int64).cumsum(0).cumsum(1).cumsum(2), ((1, 0),) * 3).astype(np.int32)


def flat_corners(low, high, shape):
    """Flat offsets of a box's corners: those with an odd number of upper ends first."""
    odd, even = [], []
    for upper in np.ndindex(2, 2, 2):
        at = [h if u else lo for u, lo, h in zip(upper, low, high, strict=True)]
        (odd if sum(upper) % 2 else even).append((at[0] * shape[1] + at[1]) * shape[2] + at[2])
    return odd + even


@given(seed=st.integers(0, 10_000), largest=st.sampled_from([300, 2_000_000]))
@settings(max_examples=40, deadline=None)
def test_features_equal_slices_also_where_the_integral_image_has_wrapped(seed, largest):
    rng = np.random.default_rng(seed)
    values = rng.integers(-largest // 10, largest, (9, 12, 21))
    integral = integral_of(values)
    boxes = np.sort(np.stack([rng.integers(0, n - 2, (6, 2, 2)) for n in values.shape], axis=-1), axis=2)
    boxes[:, :, 1] = np.minimum(boxes[:, :, 1], boxes[:, :, 0] + 6) + 1
    corners = np.array([[flat_corners(*box, integral.shape) for box in pair] for pair in boxes]).reshape(6, 16)
    # A voxel at (1, 1, 1): offsets may be negative.
    position = (integral.shape[1] + 1) * integral.shape[2] + 1
    scales = (1.0 / np.prod(boxes[:, :, 1] - boxes[:, :, 0], axis=2)).astype(np.float32)
    scales[::2, 1] = 0
    out = np.full((1, 6), np.nan, np.float32)
    box_features(integral.ravel(), np.array([position], np.uint64), corners - position, scales, out)
    for f, pair in enumerate(boxes):
        sums = [np.float32(values[tuple(slice(*edge) for edge in box.T)].sum()) for box in pair]
        expected = sums[0] * scales[f, 0]
        if f % 2:
            expected = np.float32(expected - sums[1] * scales[f, 1])
        assert out[0, f] == expected


def test_no_position_and_no_feature_give_an_empty_result():
    integral = np.zeros(8, np.int32)
    for n, f in ((0, 3), (2, 0)):
        out = np.empty((n, f), np.float32)
        box_features(integral, np.zeros(n, np.uint64), np.zeros((f, 16), np.int64), np.ones((f, 2), np.float32), out)
        assert out.shape == (n, f)


def test_a_box_of_one_voxel_is_that_voxel():
    values = np.random.default_rng(0).integers(-1000, 3000, (3, 4, 5))
    integral = integral_of(values)
    corner = np.array(flat_corners((0, 0, 0), (1, 1, 1), integral.shape) * 2)
    for z, y, x in np.ndindex(values.shape):
        position = np.uint64((z * integral.shape[1] + y) * integral.shape[2] + x)
        assert box_sum(integral.ravel(), position, corner, 0) == values[z, y, x]


def test_means_of_boxes_are_those_of_single_features():
    rng = np.random.default_rng(0)
    integral = integral_of(rng.integers(-1000, 3000, (6, 7, 8)))
    corners = np.array([flat_corners((0, 0, 0), high, integral.shape) for high in ((1, 2, 3), (3, 1, 1))])
    scales = np.array([1 / 6, 1 / 3], np.float32)
    positions = rng.integers(0, 2 * integral[0].size, 9).astype(np.uint64)
    means, single = np.empty((2, 9), np.float32), np.empty((9, 2), np.float32)
    box_means(integral.ravel(), positions, corners, scales, means)
    no_second = np.stack([scales, 0 * scales], axis=1)
    box_features(integral.ravel(), positions, np.concatenate([corners, corners], axis=1), no_second, single)
    np.testing.assert_array_equal(means, single.T)


def test_differences_are_rounded_down_to_steps_and_kept_within_an_int16():
    means = np.array([[0, 0.3, -0.3, 9000, -9000], [0, 0.05, 0, 0, 0], [1, 1, 1, 1, 1]], np.float32)
    out = np.empty((3, 5), np.int16)
    difference_steps(means, np.array([[0, 1], [1, 0], [2, 2]]), np.float32(4), out)
    expected = [[0, 1, -2, 32767, -32768], [0, -1, 1, -32768, 32767], [0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(out, expected)


@given(seed=st.integers(0, 10_000), spacing=st.sampled_from([1.0, 2.5, 3.0]), pad=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_boxes_in_whole_voxels_are_rounded_shifted_and_cut_to_stay_within_the_padding(seed, spacing, pad):
    rng = np.random.default_rng(seed)
    offset, size = rng.normal(0, 8, (5, 2, 3)).astype(np.float32), rng.uniform(0, 30, (5, 2, 3)).astype(np.float32)
    corners, scales = np.empty((5, 16), np.int64), np.empty((5, 2), np.float32)
    box_offsets(offset, size, spacing, pad, 40, 50, corners, scales)
    voxels = np.clip(np.rint(size.astype(np.float64)[..., ::-1] / spacing), 1, 2 * pad + 1).astype(int)
    low = np.rint(offset.astype(np.float64)[..., ::-1] / spacing - (voxels - 1) / 2).astype(int)
    low = np.clip(low, -pad, pad + 1 - voxels)
    for f, box in np.ndindex(5, 2):
        expected = flat_corners(low[f, box], low[f, box] + voxels[f, box], (99, 40, 50))
        found = corners[f, 8 * box : 8 * box + 8]
        assert sorted(found[:4]) == sorted(expected[:4])
        assert sorted(found[4:]) == sorted(expected[4:])
        assert scales[f, box] == np.float32(1 / voxels[f, box].prod())
