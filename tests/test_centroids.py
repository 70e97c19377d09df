import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.geometry import Grid

GRID = Grid((9, 9, 9), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0), (0.0, 0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, -0.6))


def test_labels_are_kept_from_top_to_bottom_with_their_points():
    centroids = Centroids(("S1", "T13", "C2", "L6", "L1"), np.arange(15.0).reshape(5, 3))
    assert centroids.labels == ("C2", "T13", "L1", "L6", "S1")
    np.testing.assert_array_equal(centroids.points_mm[:, 0], [6, 3, 12, 9, 0])


def test_a_point_is_found_by_its_label():
    centroids = Centroids.from_points({"C2": (1, 2, 3), "C1": (4, 5, 6)})
    np.testing.assert_array_equal(centroids["C2"], [1, 2, 3])
    assert "C1" in centroids
    assert "C3" not in centroids
    assert len(centroids) == 2
    assert [(label, point.tolist()) for label, point in centroids] == [("C1", [4, 5, 6]), ("C2", [1, 2, 3])]
    with pytest.raises(KeyError, match="C3"):
        centroids["C3"]


def test_no_centroids_are_a_value():
    for empty in (Centroids.from_points({}), Centroids((), np.zeros((0, 3)))):
        assert len(empty) == 0
        assert empty.points_mm.shape == (0, 3)
        assert empty.to_world(GRID).points_mm.shape == (0, 3)
        assert list(empty) == []


def test_points_cannot_be_changed_from_inside_or_outside():
    points = np.zeros((1, 3))
    centroids = Centroids(("C1",), points)
    points[:] = 1
    np.testing.assert_array_equal(centroids["C1"], [0, 0, 0])
    with pytest.raises(ValueError, match="read-only"):
        centroids.points_mm[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        centroids["C1"][0] = 1


def test_frames_change_there_and_back():
    local = Centroids.from_points({"C1": (1, 2, 3), "C2": (4, 5, 6)})
    world = local.to_world(GRID)
    assert (local.frame, world.frame) == ("local", "world")
    # Column i of the direction is where array axis i points.
    np.testing.assert_allclose(world["C1"], [10 + 0.6 * 2 + 0.8 * 3, 20 + 1, 30 + 0.8 * 2 - 0.6 * 3])
    np.testing.assert_allclose(world.to_local(GRID).points_mm, local.points_mm)
    assert world.to_world(GRID) is world
    assert local.to_local(GRID) is local


@pytest.mark.parametrize(
    ("labels", "points", "message"),
    [
        (("C8",), [(0, 0, 0)], "unknown vertebra name 'C8'"),
        (("c1",), [(0, 0, 0)], "unknown vertebra name 'c1'"),
        (("C1", "C1", "L2", "L2"), [(0, 0, 0)] * 4, "repeated label C1, L2"),
        (("C1",), [(0, float("nan"), 0)], "C1 has a coordinate that is not finite"),
        (("C1",), [(0, float("inf"), 0)], "C1 has a coordinate that is not finite"),
        (("C1", "C2"), [(0, 0, 0)], "2 labels for 1 points"),
        ((), [(0, 0, 0)], "0 labels for 1 points"),
    ],
)
def test_what_cannot_be_centroids_is_refused(labels, points, message):
    with pytest.raises(ValueError, match=message):
        Centroids(labels, np.array(points, dtype=float))
