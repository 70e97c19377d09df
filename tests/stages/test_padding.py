"""Padding is outside of the image: a scan is the same with and without it."""

import numpy as np
import pytest

from vertloc.geometry import Grid
from vertloc.io.images import open_image, write_image
from vertloc.stages.padding import Survey
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.volume import Volume

SETTINGS = PreprocessSettings()
GRID = Grid((30, 40, 44), (2.0, 1.5, 2.5), (-10.0, 5.0, 100.0))


def scan(seed=0, shape=GRID.shape):
    voxels = np.random.default_rng(seed).integers(-1000, 1200, shape).astype(np.int16)
    return Volume(voxels, Grid(shape, GRID.spacing_mm, GRID.origin_mm), "scan")


def padded(volume, widths, value):
    voxels = np.pad(volume.voxels, widths, constant_values=value)
    origin = volume.grid.to_world([-before for before, _ in widths])[0]
    return Volume(voxels, Grid(voxels.shape, volume.grid.spacing_mm, tuple(origin)), volume.name)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    np.testing.assert_allclose(found.grid.origin_mm, expected.grid.origin_mm, atol=1e-9)


@pytest.mark.parametrize("value", [-1000, -1024, -2000, -3024, -32768, 0])
@pytest.mark.parametrize(
    "widths",
    [((5, 0), (0, 0), (0, 0)), ((0, 7), (0, 0), (0, 0)), ((0, 0), (3, 9), (0, 0)), ((4, 3), (2, 1), (6, 5))],
)
def test_slices_rows_and_columns_of_one_value_around_a_scan_change_nothing(widths, value):
    assert_same(preprocess(padded(scan(), widths, value), SETTINGS), preprocess(scan(), SETTINGS))


def test_padding_is_cut_from_a_file_that_is_read_in_slabs_too(tmp_path, monkeypatch):
    monkeypatch.setattr("vertloc.io.images.image_file._SLAB_BYTES", 20_000)
    tall = scan(shape=(90, 40, 44))
    for suffix in (".mha", ".nii.gz"):
        write_image(padded(tall, ((12, 30), (3, 0), (0, 4)), -1000), tmp_path / f"x{suffix}")
        assert_same(preprocess(open_image(tmp_path / f"x{suffix}"), SETTINGS, 2), preprocess(tall, SETTINGS))


def test_the_corners_outside_a_scanners_circle_are_air_whatever_fills_them():
    y, x = np.meshgrid(np.linspace(-1, 1, 80), np.linspace(-1, 1, 80), indexing="ij")
    voxels = np.random.default_rng(0).integers(30, 51, (20, 80, 80)).astype(np.int16)
    grid = Grid(voxels.shape, (2.0, 2.0, 3.0))
    results = []
    for value in (-1000, -1024, -2000, -3024):
        voxels[:, np.hypot(y, x) > 1] = value
        results.append(preprocess(Volume(voxels.copy(), grid), SETTINGS).voxels)
    for found in results:
        np.testing.assert_array_equal(found, results[0])
        assert found[0, 0, 0] == -1000


def test_noise_below_the_lowest_ct_number_is_no_padding():
    voxels = np.random.default_rng(0).normal(-1000, 30, GRID.shape).astype(np.int16)
    survey = Survey(voxels.shape)
    survey.see(0, voxels)
    assert voxels.min() < -1024
    assert survey.box == tuple(slice(0, n) for n in voxels.shape)


def test_a_side_that_is_constant_in_some_slices_only_is_kept():
    volume = scan(shape=(40, 40, 44))
    voxels = volume.voxels.copy()
    voxels[:20, :5] = -1000
    survey = Survey(voxels.shape)
    for begin in range(0, 40, 10):
        survey.see(begin, voxels[begin : begin + 10])
    assert survey.box == tuple(slice(0, n) for n in voxels.shape)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 1), (1, 6, 7), (9, 4, 4), (3, 20, 1)])
def test_small_and_constant_images_keep_all_of_themselves(shape):
    voxels = np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)
    for values in (voxels, np.full(shape, 40, np.int16), np.full(shape, -3024, np.int16)):
        survey = Survey(shape)
        survey.see(0, values)
        assert survey.box == tuple(slice(0, n) for n in shape)
        found = preprocess(Volume(values, Grid(shape, (3.0, 3.0, 3.0))), SETTINGS)
        assert found.voxels.shape == shape
        if values is not voxels:
            np.testing.assert_array_equal(found.voxels, np.maximum(values, -1000))
