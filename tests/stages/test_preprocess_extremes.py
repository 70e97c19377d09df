"""Preprocessing at the edges: any orientation and spacing, images one voxel thin, images smaller than a voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vertloc.geometry import Grid
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.volume import Volume


def ramp(world):
    return 2.0 * world[:, 0] - 3.0 * world[:, 1] + 1.5 * world[:, 2]


@given(
    shape=st.tuples(st.integers(12, 24), st.integers(12, 24), st.integers(12, 24)),
    spacing=st.tuples(st.floats(1, 5), st.floats(1, 5), st.floats(1, 5)),
    turn=st.one_of(
        st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(87, 93)] * 3)
    ),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    target=st.floats(1.5, 4),
)
@settings(max_examples=40, deadline=None)
def test_a_ramp_in_the_patient_stays_in_its_place_from_any_stored_grid(shape, spacing, turn, flips, target):
    direction = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.diag(
        [-1.0 if f else 1.0 for f in flips]
    )
    grid = Grid(shape, spacing, (0.0, 0.0, 0.0), tuple(direction.ravel()))
    index = np.indices(shape).reshape(3, -1).T
    voxels = ramp(grid.to_world(index)).astype(np.float32).reshape(shape)
    small = preprocess(Volume(voxels, grid), PreprocessSettings(spacing_mm=target))
    assert small.grid.tilt_degrees == 0
    assert small.voxels.dtype == np.int16
    at = np.indices(small.grid.shape).reshape(3, -1).T
    world = small.to_world(small.grid.to_world(at))
    # Away from the faces by more than what an output voxel and its interpolation reach.
    reach = (np.sqrt(3) * 2 * target + np.array(spacing)[::-1]) / np.array(spacing)[::-1]
    stored = grid.to_index(world)
    inner = ((stored >= reach) & (stored <= np.array(shape) - 1 - reach)).all(axis=1)
    found = small.voxels.reshape(-1)[inner]
    np.testing.assert_allclose(found, ramp(world[inner]), atol=0.6)  # rounded to whole numbers
    np.testing.assert_allclose(small.from_world(world), small.grid.to_world(at), atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_image_one_voxel_thin_is_like_the_inside_of_one_that_repeats_it(axis):
    shape = [12, 14, 16]
    shape[axis] = 1
    values = np.random.default_rng(0).integers(-900, 900, shape).astype(np.int16)
    options = PreprocessSettings(spacing_mm=3)
    small = preprocess(Volume(values, Grid(tuple(shape), (3.0, 3.0, 3.0), (1.0, 2.0, 3.0))), options)
    thick = np.repeat(values, 5, axis)
    expected = preprocess(Volume(thick, Grid(thick.shape, (3.0, 3.0, 3.0))), options).voxels.take([2], axis)
    np.testing.assert_array_equal(small.voxels, expected)
    np.testing.assert_allclose(small.grid.origin_mm, (1, 2, 3))


def test_one_thick_slice_becomes_the_slices_that_it_covers():
    values = np.random.default_rng(1).integers(-900, 900, (1, 5, 6)).astype(np.int16)
    thick, thin = (
        preprocess(Volume(values, Grid((1, 5, 6), (2.0, 2.0, depth))), PreprocessSettings(spacing_mm=2))
        for depth in (10.0, 2.0)
    )
    assert thick.voxels.shape == (5, 5, 6)
    assert (thick.voxels == thin.voxels).all()
    np.testing.assert_allclose(thick.grid.origin_mm, (0, 0, -4))


@pytest.mark.parametrize("turned", [False, True])
def test_a_scan_smaller_than_a_voxel_of_the_target_is_one_voxel_around_its_middle(turned):
    direction = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix() if turned else np.eye(3)
    values = np.array([[[100, 300]]], np.int16)
    grid = Grid((1, 1, 2), (0.4, 0.4, 0.4), (7.0, 8.0, 9.0), tuple(direction.ravel()))
    small = preprocess(Volume(values, grid), PreprocessSettings(spacing_mm=4))
    assert small.voxels.tolist() == [[[200]]]
    np.testing.assert_allclose(small.grid.origin_mm, grid.to_world((0, 0, 0.5))[0])


@pytest.mark.parametrize("degrees", [0.05, 0.5, 1, 1.9, 2.1, 20])
def test_a_tilt_of_a_tall_scan_changes_no_voxel_and_puts_every_point_back(degrees):
    a = np.radians(degrees)
    direction = (1, 0, 0, 0, np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a))
    voxels = np.random.default_rng(0).integers(-900, 900, (194, 20, 20)).astype(np.int16)
    flat_grid = Grid(voxels.shape, (3.0, 3.0, 3.0), (10.0, 20.0, -800.0))
    flat, tilted = (
        preprocess(Volume(voxels, grid), PreprocessSettings())
        for grid in (flat_grid, Grid(voxels.shape, flat_grid.spacing_mm, flat_grid.origin_mm, direction))
    )
    np.testing.assert_array_equal(tilted.voxels, flat.voxels)
    index = np.array([(0, 0, 0), (193, 0, 0), (193, 19, 19), (97, 10, 10)])
    expected = Grid(voxels.shape, flat_grid.spacing_mm, flat_grid.origin_mm, direction).to_world(index)
    found = tilted.to_world(tilted.grid.to_world(index))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("value", [-32768, -1000, 3071, 32767])
def test_a_constant_image_is_that_value_within_the_clipping_range(value):
    volume = Volume(np.full((6, 5, 4), value, np.int16), Grid((6, 5, 4), (1.1, 2.3, 4.7)))
    found = preprocess(volume, PreprocessSettings(lowest_hu=-1000, highest_hu=1500)).voxels
    np.testing.assert_array_equal(found, np.clip(value, -1000, 1500))


def test_the_input_is_not_changed_and_may_lie_in_memory_in_any_order():
    values = np.random.default_rng(2).integers(-1000, 1000, (9, 10, 11)).astype(np.int16)
    kept = values.copy()
    grid = Grid(values.shape, (2.0, 1.5, 2.5))
    expected = preprocess(Volume(values, grid), PreprocessSettings()).voxels
    np.testing.assert_array_equal(values, kept)
    strided = np.asfortranarray(values)
    backwards = values[::-1][::-1]
    for other in (strided, backwards):
        np.testing.assert_array_equal(preprocess(Volume(other, grid), PreprocessSettings()).voxels, expected)
