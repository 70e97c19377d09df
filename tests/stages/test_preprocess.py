import itertools

import numpy as np
import pytest

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.volume import Volume


def ball(grid, centre_mm, radius_mm=9.0):
    index = np.indices(grid.shape).reshape(3, -1).T
    inside = ((grid.to_world(index) - centre_mm) ** 2).sum(axis=1) < radius_mm**2
    air = np.random.default_rng(0).integers(-1003, -996, len(index))  # of one value, it would be padding
    return Volume(np.where(inside, 1000, air).reshape(grid.shape).astype(np.int16), grid)


def centre_of_mass_mm(small):
    weight = np.maximum(small.voxels.astype(float) + 980, 0)
    index = np.argwhere(weight > 0)
    return np.average(small.to_world(small.grid.to_world(index)), axis=0, weights=weight[weight > 0])


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_the_stored_orientation_does_not_change_the_result(axes, signs):
    upright = Grid((24, 20, 22), (1.5, 1.5, 2.0), (-10.0, 5.0, 100.0))
    voxels = np.random.default_rng(0).integers(-1000, 1000, upright.shape).astype(np.int16)
    expected = preprocess(Volume(voxels, upright), PreprocessSettings())
    flips = tuple(sign < 0 for sign in signs)
    stored = np.transpose(voxels, axes)[tuple(slice(None, None, s) for s in signs)]
    found = preprocess(Volume(stored, upright.permuted(axes, flips)), PreprocessSettings())
    np.testing.assert_allclose(found.voxels, expected.voxels, atol=1)
    np.testing.assert_allclose(found.grid.origin_mm, expected.grid.origin_mm, atol=1e-9)
    assert found.grid.direction == Grid((1, 1, 1), (1, 1, 1)).direction


@pytest.mark.parametrize("angle", [0, 1, 10, 30, 44])
def test_a_tilted_scan_keeps_its_anatomy_in_place(angle):
    a = np.radians(angle)
    direction = (1, 0, 0, 0, np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a))
    grid = Grid((50, 60, 55), (1.4, 1.3, 1.5), (10.0, -20.0, 30.0), direction)
    centre = grid.to_world((25, 28, 30))[0]
    small = preprocess(ball(grid, centre), PreprocessSettings(spacing_mm=2.0))
    assert small.grid.tilt_degrees == 0
    np.testing.assert_allclose(centre_of_mass_mm(small), centre, atol=0.7)


def test_a_spacing_that_no_patient_has_is_refused():
    grid = Grid((2, 2000, 2000), (3000.0, 3000.0, 3000.0))
    voxels = np.broadcast_to(np.int16(0), grid.shape)
    with pytest.raises(ImageError, match="check the spacing"):
        preprocess(Volume(voxels, grid, "huge"), PreprocessSettings())


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="spacing_mm"):
        PreprocessSettings(spacing_mm=0)
    with pytest.raises(ValueError, match="lowest_hu"):
        PreprocessSettings(lowest_hu=100, highest_hu=0)
