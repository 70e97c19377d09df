"""Flat voxels and sparse entries against numpy's own index arithmetic."""

import numpy as np
import pytest

from vertloc.kernels.entries import padded_positions, probable_classes, row_starts

SHAPE = (4, 5, 6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(("pad", "z_first"), [(2, 0), (2, 1), (1, 3)])
def test_positions_lie_where_the_padded_image_has_the_voxels(dtype, pad, z_first):
    voxels = np.arange(z_first * 30, np.prod(SHAPE), dtype=dtype)[::-1]
    padded = tuple(n + 2 * pad + 1 for n in (SHAPE[0] - z_first, *SHAPE[1:]))
    z, y, x = np.unravel_index(voxels, SHAPE)
    expected = np.ravel_multi_index((z - z_first + pad, y + pad, x + pad), padded)
    first = ((pad - z_first) * padded[1] + pad) * padded[2] + pad
    found = padded_positions(voxels, *SHAPE[1:], first, *padded[1:])
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("smallest", [0.0, 0.1, 0.3, 2.0])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_classes_are_listed_by_voxel_then_class_without_the_background(smallest, dtype):
    rng = np.random.default_rng(0)
    sums = rng.random((50, 5), np.float32)
    voxels = np.sort(rng.choice(1000, 50, replace=False)).astype(dtype)
    scaled = sums[:, 1:] * np.float32(0.4)
    row, rank = np.nonzero(scaled >= np.float32(smallest))
    found = probable_classes(voxels, sums, np.float32(0.4), np.float32(smallest))
    assert [column.dtype for column in found] == [dtype, np.uint8, np.float32]
    for column, expected in zip(found, (voxels[row], rank, scaled[row, rank]), strict=True):
        np.testing.assert_array_equal(column, expected)


def test_whole_numbers_are_scaled_in_single_precision():
    sums = np.random.default_rng(1).integers(0, 5101, (50, 5)).astype(np.int32)
    expected = probable_classes(np.arange(50), sums.astype(np.float32), np.float32(1 / 5100), np.float32(0.1))
    found = probable_classes(np.arange(50), sums, np.float32(1 / 5100), np.float32(0.1))
    for column, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(column, other, strict=True)


def test_a_value_at_the_limit_is_kept_and_no_voxel_is_no_entry():
    sums = np.array([[9, 1, 2, 3]], np.float32)
    _, rank, value = probable_classes(np.array([7]), sums, np.float32(0.5), np.float32(1))
    assert rank.tolist() == [1, 2]
    assert value.tolist() == [1.0, 1.5]
    assert all(len(column) == 0 for column in probable_classes(np.empty(0, int), sums[:0], *np.float32([1, 1])))


@pytest.mark.parametrize("n", [0, 1, 3, 40])
def test_rows_begin_where_a_search_finds_them(n):
    voxels = np.sort(np.random.default_rng(n).integers(0, np.prod(SHAPE), n)).astype(np.int32)
    found = row_starts(voxels, 6, 20)
    np.testing.assert_array_equal(found, np.searchsorted(voxels, 6 * np.arange(21)))
