"""Reformats: world points appear where `to_pixel` says, whatever direction the voxels are stored in."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vertloc.geometry import Grid
from vertloc.report.reformat import AIR_HU, Window, reformat, spine_curve, world_bounds
from vertloc.volume import Volume

# A scoliotic, kyphotic column: world mm, top to bottom.
SPINE_MM = np.array([[12.0, -8.0, 60.0], [4.0, 0.0, 35.0], [-5.0, 6.0, 10.0], [-9.0, 4.0, -15.0], [0.0, -4.0, -40.0]])

PLAIN = np.eye(3)
FLIPPED = np.diag([-1.0, -1.0, 1.0])
PERMUTED = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
TILTED = Rotation.from_euler("xyz", [17.0, -9.0, 12.0], degrees=True).as_matrix()
DIRECTIONS = {
    "plain": PLAIN,
    "flipped": FLIPPED,
    "permuted": PERMUTED,
    "tilted": TILTED,
    "tilted, flipped": TILTED @ FLIPPED,
}


def grid_around(direction, spacing_mm=(2.5, 2.0, 3.0), size_mm=150.0):
    """A grid of the given direction with the world origin in its middle."""
    shape = tuple(int(size_mm / s) for s in spacing_mm[::-1])
    half = (np.array(shape[::-1]) - 1) / 2 * np.array(spacing_mm)
    return Grid(shape, spacing_mm, tuple(-(direction @ half)), tuple(direction.ravel()))


def with_balls(grid, centres_mm, sigma_mm=3.0):
    """A volume of air with a bright soft ball at each world point."""
    index = np.stack(np.indices(grid.shape), axis=-1).reshape(-1, 3)
    world = grid.to_world(index)
    values = np.zeros(len(world)) + sum(
        1000 * np.exp(-((world - c) ** 2).sum(axis=1) / (2 * sigma_mm**2)) for c in centres_mm
    )
    return Volume(np.asarray(values, dtype=np.float32).reshape(grid.shape), grid, "balls")


def whole(grid, plane):
    low, high = world_bounds(grid)
    axis = 1 if plane == "sagittal" else 0
    return Window(low[axis], high[axis], low[2], high[2])


def brightest(picture, near):
    """(column, row) of the centre of brightness within 12 pixels of a pixel."""
    column, row = np.indices(picture.values_hu.T.shape)
    weight = picture.values_hu.T * (np.hypot(column - near[0], row - near[1]) < 12)
    return np.array([(column * weight).sum(), (row * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_balls_on_the_spine_appear_at_their_pixels_on_any_grid(name, plane):
    grid = grid_around(DIRECTIONS[name])
    volume = with_balls(grid, SPINE_MM)
    picture = reformat(volume, spine_curve(SPINE_MM, grid), plane, whole(grid, plane), pixel_mm=1.0)
    pixels = picture.to_pixel(SPINE_MM)
    for expected in pixels:
        np.testing.assert_allclose(brightest(picture, expected), expected, atol=0.3)
        assert picture.values_hu[round(expected[1]), round(expected[0])] > 500


def test_a_flat_picture_would_lose_the_balls_of_a_scoliotic_spine():
    grid = grid_around(PLAIN)
    volume = with_balls(grid, SPINE_MM)
    flat = reformat(volume, spine_curve(np.empty((0, 3)), grid), "sagittal", whole(grid, "sagittal"), pixel_mm=1.0)
    column, row = np.round(flat.to_pixel(SPINE_MM)[0]).astype(int)
    assert flat.values_hu[row, column] < 50


def test_the_same_patient_stored_in_another_order_gives_the_same_picture():
    grid = grid_around(PLAIN)
    volume = with_balls(grid, SPINE_MM)
    stored = Volume(
        volume.voxels.transpose(1, 2, 0)[::-1, :, ::-1], grid.permuted((1, 2, 0), (True, False, True)), "other"
    )
    for plane in ("sagittal", "coronal"):
        one, other = (
            reformat(v, spine_curve(SPINE_MM, v.grid), plane, whole(v.grid, plane), pixel_mm=1.3)
            for v in (volume, stored)
        )
        np.testing.assert_allclose(one.values_hu, other.values_hu, atol=0.05)
        assert (one.left_mm, one.top_mm) == pytest.approx((other.left_mm, other.top_mm))


def test_rows_run_from_top_to_bottom_and_columns_to_the_back_or_to_the_left_of_the_patient():
    grid = grid_around(FLIPPED)
    for plane, axis in (("sagittal", 1), ("coronal", 0)):
        picture = reformat(with_balls(grid, []), spine_curve(SPINE_MM, grid), plane, whole(grid, plane), pixel_mm=2.0)
        step = np.zeros(3)
        step[axis] = 10.0
        here, aside, above = picture.to_pixel(np.stack([np.zeros(3), step, [0, 0, 10.0]]))
        np.testing.assert_allclose(aside - here, [5, 0], atol=1e-9)
        np.testing.assert_allclose(above - here, [0, -5], atol=1e-9)


def test_values_are_linear_between_voxels_and_air_outside():
    grid = Grid((20, 20, 20), (2.0, 2.0, 2.0))
    z, y, x = np.indices(grid.shape)
    volume = Volume((100 * z + 10 * y + x).astype(np.int16), grid)
    curve = spine_curve(np.array([[20.0, 20.0, 20.0]]), grid)
    window = Window(-5.0, 43.0, -5.0, 43.0)
    picture = reformat(volume, curve, "sagittal", window, pixel_mm=1.0, slab_mm=1.0)
    column, row = picture.to_pixel(np.array([[20.0, 13.5, 24.5]]))[0]
    assert (column, row) == (round(column), round(row))
    assert picture.values_hu[round(row), round(column)] == pytest.approx(100 * 12.25 + 10 * 6.75 + 10)
    assert picture.values_hu[0, 0] == AIR_HU
    assert picture.values_hu[-1, -1] == AIR_HU
    # The outermost half voxel still belongs to the image.
    column, row = np.round(picture.to_pixel(np.array([[20.0, -0.5, 20.5]]))[0]).astype(int)
    assert picture.values_hu[row, column] > AIR_HU


def test_the_slab_is_averaged_and_only_where_there_is_an_image():
    grid = Grid((10, 10, 9), (1.0, 1.0, 1.0))
    voxels = np.zeros(grid.shape, np.int16)
    voxels[:, :, 4] = 800
    for x_mm, expected in ((4.0, 200.0), (0.0, 0.0)):
        curve = spine_curve(np.array([[x_mm, 5.0, 5.0]]), grid)
        picture = reformat(Volume(voxels, grid), curve, "sagittal", Window(-0.5, 9.5, -0.5, 9.5), 1.0, slab_mm=8.0)
        # Four planes at -3, -1, 1, 3 mm, of which none lies on the bright one.
        assert picture.values_hu.max() == pytest.approx(0.0 if x_mm == 4.0 else expected)
    curve = spine_curve(np.array([[4.0, 5.0, 5.0]]), grid)
    thin = reformat(Volume(voxels, grid), curve, "sagittal", Window(-0.5, 9.5, -0.5, 9.5), 1.0, slab_mm=6.0)
    assert thin.values_hu.max() == pytest.approx(800 / 3)


def test_a_single_slice_can_be_reformatted():
    grid = Grid((1, 12, 12), (1.0, 1.0, 5.0))
    picture = reformat(
        Volume(np.full(grid.shape, 40, np.int16), grid), spine_curve([], grid), "coronal", whole(grid, "coronal"), 1.0
    )
    np.testing.assert_array_equal(picture.values_hu, np.full((5, 12), 40.0))


def test_the_curve_passes_the_landmarks_and_stays_in_the_volume():
    grid = grid_around(PLAIN)
    low, high = world_bounds(grid)
    for points in (SPINE_MM, SPINE_MM[::-1], SPINE_MM[:2], SPINE_MM[:1]):
        curve = spine_curve(points, grid)
        assert curve.z_mm[0] <= low[2]
        assert curve.z_mm[-1] >= high[2]
        np.testing.assert_allclose(curve.across("sagittal", points[:, 2]), points[:, 0], atol=2.5)
        np.testing.assert_allclose(curve.across("coronal", points[:, 2]), points[:, 1], atol=2.5)
        for values, axis in ((curve.x_mm, 0), (curve.y_mm, 1)):
            assert values.min() >= low[axis]
            assert values.max() <= high[axis]
            assert np.abs(np.diff(values)).max() < 1.0


def test_the_curve_goes_on_in_its_direction_past_the_ends():
    grid = Grid((200, 100, 100), (1.0, 1.0, 1.0))
    line = np.array([[40.0, 50.0, 80.0], [46.0, 50.0, 100.0], [52.0, 50.0, 120.0]])
    curve = spine_curve(line, grid)
    below, above = curve.across("sagittal", np.array([60.0, 140.0]))
    assert below < 37.0
    assert above > 55.0
    np.testing.assert_allclose(curve.y_mm, 50.0, atol=1e-9)


def test_without_landmarks_the_curve_is_the_vertical_through_the_middle():
    grid = grid_around(TILTED)
    curve = spine_curve(np.empty((0, 3)), grid)
    np.testing.assert_allclose(curve.x_mm, 0.0, atol=1e-6)
    np.testing.assert_allclose(curve.y_mm, 0.0, atol=1e-6)


def test_landmarks_of_equal_height_and_outside_the_volume_do_no_harm():
    grid = Grid((30, 30, 30), (1.0, 1.0, 1.0))
    curve = spine_curve(np.array([[10.0, 10, 15], [20, 12, 15], [12, 12, 16], [500, 10, 90], [0, 0, -40]]), grid)
    assert np.isfinite(curve.x_mm).all()
    assert curve.x_mm.max() <= 29.5
    assert np.all(np.diff(curve.z_mm) > 0)
