import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.stages.spine_frame import nearest_frames, rotation, spine_frames

PRIOR = learn_shape_model([], ShapeModelSettings())
RANKS = np.arange(14, 20)
DOWN = np.array([0.0, 0, -1])


def chain(direction=DOWN, scale=1.0, ranks=RANKS):
    """A straight chain of the prior's typical lengths."""
    places = np.concatenate([[0], np.linalg.norm(PRIOR.mean_mm, axis=1).cumsum()])[ranks]
    return scale * places[:, None] * np.asarray(direction) + (40, -20, 700)


def test_an_upright_chain_of_typical_size_has_the_patients_frame():
    np.testing.assert_allclose(spine_frames(chain(), RANKS, PRIOR), np.tile(np.eye(3), (6, 1, 1)), atol=1e-12)


@pytest.mark.parametrize("scale", [0.85, 1.0, 1.2])
@pytest.mark.parametrize("angle", [-0.5, 0.2, 0.55])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_straight_leaning_chain_is_followed_by_every_member(axis, angle, scale):
    direction = np.array([0, 0, -np.cos(angle)])
    direction[axis] = np.sin(angle)
    for frame in spine_frames(chain(direction, scale), RANKS, PRIOR):
        np.testing.assert_allclose(frame @ DOWN, scale * direction, atol=1e-12)
        np.testing.assert_allclose(frame @ frame.T, scale**2 * np.eye(3), atol=1e-12)
        # Leaning back turns nothing left or right, and the other way round.
        still = np.eye(3)[1 - axis]
        np.testing.assert_allclose(frame @ still, scale * still, atol=1e-12)


@given(tilt=st.floats(-0.9, 0.9), bend=st.floats(-0.55, 0.55), scale=st.floats(0.85, 1.2))
@settings(max_examples=50, deadline=None)
def test_a_straight_chain_that_leans_back_and_sideways_is_followed_in_both(tilt, bend, scale):
    direction = rotation(tilt, bend) @ DOWN
    for frame in spine_frames(chain(direction, scale), RANKS, PRIOR):
        np.testing.assert_allclose(frame, scale * rotation(tilt, bend), atol=1e-9)


@given(tilt=st.floats(-1.5, 1.5), bend=st.floats(-1.5, 1.5))
@settings(max_examples=50, deadline=None)
def test_a_rotation_is_one(tilt, bend):
    matrix = rotation(tilt, bend)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    down = matrix @ DOWN
    assert np.sign(down[1]) == np.sign(np.sin(tilt))
    np.testing.assert_allclose(np.arctan2(down[0], -down[2]), bend, atol=1e-9)


@pytest.mark.parametrize(("scale", "expected"), [(0.3, 0.8), (0.9, 0.9), (3.0, 1.25)])
def test_sizes_that_no_patient_has_are_clipped(scale, expected):
    frames = spine_frames(chain(scale=scale), RANKS, PRIOR)
    np.testing.assert_allclose(frames, np.tile(expected * np.eye(3), (6, 1, 1)), atol=1e-12)


@pytest.mark.parametrize(("axis", "largest"), [(0, 0.6), (1, 1.0)])
def test_a_lean_that_is_more_likely_wrong_is_clipped(axis, largest):
    for sign in (-1, 1):
        direction = np.array([0, 0, -np.cos(1.4)])
        direction[axis] = sign * np.sin(1.4)
        expected = np.array([0, 0, -np.cos(largest)])
        expected[axis] = sign * np.sin(largest)
        for frame in spine_frames(chain(direction), RANKS, PRIOR):
            np.testing.assert_allclose(frame @ DOWN, expected, atol=1e-12)


def test_a_gap_in_the_chain_does_not_make_the_patient_larger():
    ranks = np.array([14, 15, 17, 20, 21])
    # The typical spine is curved: over a gap its chord is a little shorter than its links.
    np.testing.assert_allclose(spine_frames(chain(ranks=ranks), ranks, PRIOR)[0], np.eye(3), atol=1e-3)


def test_a_member_follows_the_two_links_on_either_side():
    points = chain()
    points[-1] += (30, 0, 0)
    frames = spine_frames(points, RANKS, PRIOR)
    np.testing.assert_allclose(frames[:3] @ DOWN / np.linalg.norm(frames[0] @ DOWN), np.tile(DOWN, (3, 1)), atol=1e-12)
    for k, first in ((3, 1), (4, 2), (5, 3)):
        down = points[5] - points[first]
        np.testing.assert_allclose(frames[k] @ DOWN / np.linalg.norm(frames[k] @ DOWN), down / np.linalg.norm(down))


def test_a_chain_of_one_has_no_direction_and_an_empty_one_no_frame():
    np.testing.assert_array_equal(spine_frames(np.ones((1, 3)), RANKS[:1], PRIOR), [np.eye(3)])
    assert spine_frames(np.empty((0, 3)), RANKS[:0], PRIOR).shape == (0, 3, 3)


def test_places_take_the_frame_of_the_member_nearest_to_them():
    frames = np.arange(18.0).reshape(2, 3, 3)
    members = np.array([[0.0, 0, 0], [0, 0, -30]])
    found = nearest_frames(np.array([[5.0, 5, -14], [5.0, 5, -16], [0, 0, 90]]), members, frames)
    np.testing.assert_array_equal(found, frames[[0, 1, 0]])
    assert nearest_frames(np.empty((0, 3)), members, frames).shape == (0, 3, 3)


def test_a_variant_does_not_change_the_size():
    ranks = np.array([17, 18, 18, 19])  # T11, T12, T13, L1
    points = chain(ranks=np.array([17, 18, 19, 20]))
    alike = spine_frames(points[[0, 1, 3]], np.array([17, 18, 19]), PRIOR)
    with_variant = spine_frames(points, ranks, PRIOR)
    assert np.isfinite(with_variant).all()
    assert abs(np.linalg.det(with_variant[0]) / np.linalg.det(alike[0]) - 1) < 1
    np.testing.assert_array_equal(spine_frames(points[:2], np.array([18, 18]), PRIOR).shape, (2, 3, 3))
