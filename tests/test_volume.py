import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.geometry import Grid
from vertloc.volume import Volume


def test_voxels_are_read_only_without_a_copy_and_the_callers_array_stays_writable():
    voxels = np.zeros((2, 3, 4), np.int16)
    volume = Volume(voxels, Grid((2, 3, 4), (1, 1, 1)), "x")
    assert np.shares_memory(volume.voxels, voxels)
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 1
    voxels[0, 0, 0] = 1


def test_an_array_that_does_not_fit_its_grid_is_refused():
    with pytest.raises(ValueError, match=r"4533808: array of shape \(4, 3, 2\) on a grid of shape \(2, 3, 4\)"):
        Volume(np.zeros((4, 3, 2)), Grid((2, 3, 4), (1, 1, 1)), "4533808")


@settings(deadline=None)
@given(
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    angle=st.floats(-0.7, 0.7, allow_subnormal=False),
)
def test_aligning_moves_no_voxel_and_copies_nothing(axes, signs, angle):
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    direction = turn @ (np.eye(3)[:, list(axes)] * signs)
    grid = Grid((2, 3, 4), (1.0, 2.0, 4.0), (7.0, 8.0, 9.0), tuple(direction.ravel().tolist()))
    volume = Volume(np.arange(24).reshape(2, 3, 4), grid, "x")
    aligned = volume.aligned()
    assert aligned.name == "x"
    assert np.shares_memory(aligned.voxels, volume.voxels)
    np.testing.assert_allclose(aligned.grid.direction_matrix, turn, atol=1e-12)
    for index in np.ndindex(aligned.voxels.shape):
        before = np.round(grid.to_index(aligned.grid.to_world(index))[0]).astype(int)
        assert volume.voxels[tuple(before)] == aligned.voxels[index]


def test_an_aligned_volume_stays_as_it_is():
    volume = Volume(np.arange(24).reshape(2, 3, 4), Grid((2, 3, 4), (1, 1, 1)))
    np.testing.assert_array_equal(volume.aligned().voxels, volume.voxels)
    assert volume.aligned().grid == volume.grid
