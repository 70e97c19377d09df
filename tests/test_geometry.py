import itertools

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vertloc.geometry import Grid

numbers = st.floats(-500, 500, allow_subnormal=False)
points = hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(3)), elements=numbers)


@st.composite
def grids(draw):
    """Anisotropic, oblique, left- and right-handed grids."""
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1, allow_subnormal=False)] * 4)))
    norm = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / norm if norm > 1e-3 else (1.0, 0.0, 0.0, 0.0)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    columns = list(draw(st.permutations(range(3))))
    direction = (rotation * draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3)))[:, columns]
    return Grid(
        shape=draw(st.tuples(*[st.integers(1, 40)] * 3)),
        spacing_mm=draw(st.tuples(*[st.floats(0.1, 10)] * 3)),
        origin_mm=draw(st.tuples(*[numbers] * 3)),
        direction=tuple(direction.ravel().tolist()),
    )


def corners(grid):
    return np.array(list(itertools.product(*[(-0.5, n - 0.5) for n in grid.shape])))


@settings(deadline=None)
@given(grids(), points)
def test_index_local_and_world_round_trip_on_any_grid(grid, index):
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, atol=1e-9)
    np.testing.assert_allclose(grid.local_to_index(grid.index_to_local(index)), index, atol=1e-9)
    np.testing.assert_allclose(grid.world_to_local(grid.local_to_world(index)), index, atol=1e-9)


@settings(deadline=None)
@given(grids(), points)
def test_world_points_agree_with_simpleitk(grid, index):
    image = sitk.Image(grid.shape[::-1], sitk.sitkUInt8)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    expected = [image.TransformContinuousIndexToPhysicalPoint(row[::-1].tolist()) for row in index]
    np.testing.assert_allclose(grid.to_world(index), np.reshape(expected, (-1, 3)), atol=1e-9)


@settings(deadline=None)
@given(grids())
def test_local_is_index_times_spacing_whatever_origin_and_direction(grid):
    np.testing.assert_allclose(grid.index_to_local((3, 2, 1)), [np.array(grid.spacing_mm) * (1, 2, 3)])


def test_one_point_and_no_points_give_rows():
    grid = Grid((3, 4, 5), (1, 2, 3))
    assert grid.to_world((0, 0, 0)).shape == (1, 3)
    assert grid.to_index([]).shape == (0, 3)


@settings(deadline=None)
@given(grids(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_permuting_and_flipping_keeps_every_voxel_where_it_is(grid, permutation, flips):
    index = np.indices(grid.shape).reshape(3, -1).T.reshape(*grid.shape, 3)
    moved = np.transpose(index, (*permutation, 3))[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    permuted = grid.permuted(tuple(permutation), flips)
    assert permuted.shape == moved.shape[:3]
    new_index = np.indices(permuted.shape).reshape(3, -1).T
    np.testing.assert_allclose(permuted.to_world(new_index), grid.to_world(moved.reshape(-1, 3)), atol=1e-8)


@settings(deadline=None)
@given(grids())
def test_nearest_axes_run_along_the_patient(grid):
    permutation, flips = grid.nearest_axes()
    assert sorted(permutation) == [0, 1, 2]
    aligned = grid.permuted(permutation, flips)
    assert (np.diag(aligned.direction_matrix) >= 0).all()
    if grid.tilt_degrees < 44:  # beyond, two axes may be equally near
        assert aligned.nearest_axes() == ((0, 1, 2), (False, False, False))
    assert aligned.tilt_degrees == pytest.approx(grid.tilt_degrees, abs=1e-6)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1.0, -1.0), repeat=3)))
def test_axes_that_are_swapped_and_flipped_are_put_right_exactly(axes, signs):
    direction = np.eye(3)[:, list(axes)] * signs
    grid = Grid((3, 4, 5), (1.0, 2.0, 4.0), (7.0, 8.0, 9.0), tuple(direction.ravel()))
    assert grid.tilt_degrees == 0
    np.testing.assert_array_equal(grid.permuted(*grid.nearest_axes()).direction_matrix, np.eye(3))


@pytest.mark.parametrize("angle", [0.0, 1.0, 30.0, 44.0])
def test_the_tilt_is_the_angle_of_the_gantry(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    grid = Grid((1, 1, 1), (1, 1, 1), direction=(1, 0, 0, 0, c, -s, 0, s, c))
    assert grid.tilt_degrees == pytest.approx(angle, abs=1e-6)


@settings(deadline=None)
@given(grids(), st.floats(0.5, 20))
def test_a_resampled_grid_covers_with_the_same_middle_and_little_more(grid, spacing_mm):
    small = grid.resampled(spacing_mm)
    assert small.spacing_mm == (spacing_mm,) * 3
    assert small.direction == grid.direction
    half = (np.array(small.shape) - 1) / 2
    np.testing.assert_allclose(small.to_world(half), grid.to_world((np.array(grid.shape) - 1) / 2), atol=1e-8)
    reach = small.to_index(grid.to_world(corners(grid)))
    # Along each axis the faces of the old grid lie inside the new ones, by less than half a voxel at each end.
    over = reach.min(axis=0) + 0.5
    assert (over >= -1e-5).all()
    assert (over < 0.5 + 1e-9).all() or (np.array(small.shape) == 1).any()
    np.testing.assert_allclose(np.array(small.shape) - 0.5 - reach.max(axis=0), over, atol=1e-6)


@settings(deadline=None)
@given(grids())
def test_the_inside_ends_at_the_outer_faces(grid):
    middle = (np.array(grid.shape) - 1) / 2
    for corner in corners(grid):
        inside, outside = middle + (corner - middle) * (1 - 1e-6), middle + (corner - middle) * (1 + 1e-6)
        np.testing.assert_array_equal(grid.contains(grid.to_world([inside, outside])), [True, False])


def test_the_extent_counts_the_faces():
    assert Grid((3, 4, 5), (1.0, 2.0, 4.0)).extent_mm == (5.0, 8.0, 12.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (0, 1, 1)}, "three positive sizes"),
        ({"shape": (2, 2)}, "three positive sizes"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "three positive spacings"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, "three positive spacings"),
        ({"spacing_mm": (1.0, float("nan"), 1.0)}, "three positive spacings"),
        ({"spacing_mm": (1.0, 1.0)}, "three positive spacings"),
        ({"origin_mm": (0.0, float("inf"), 0.0)}, "finite origin"),
        ({"direction": (0.0,) * 9}, "orthonormal"),
        ({"direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}, "orthonormal"),
        ({"direction": (1.0, 0.2, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)}, "orthonormal"),
        ({"direction": (float("nan"),) * 9}, "orthonormal"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Grid(**({"shape": (2, 2, 2), "spacing_mm": (1.0, 1.0, 1.0)} | changes))
