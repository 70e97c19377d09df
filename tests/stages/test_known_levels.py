import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.stages.centroid_density import Candidates
from vertloc.stages.known_levels import with_known
from vertloc.vertebrae import RANK

PLACES = np.array([[0.0, 0, 100], [0, 0, 75], [0, 0, 50]])


def candidates():
    rank = np.repeat([RANK["T11"], RANK["T12"], RANK["L1"]], 3)
    return Candidates(rank, np.tile(PLACES, (3, 1)), np.linspace(2, -2, 9))


def known(label, point):
    return Centroids.from_points({label: point}, "world")


def test_a_known_level_is_at_one_place_and_its_place_has_one_level():
    changed = with_known(candidates(), known("T12", (3, 4, 98)))
    at = changed.rank == RANK["T12"]
    assert at.sum() == 1
    np.testing.assert_array_equal(changed.points_mm[at][0], PLACES[0])
    assert changed.log_odds[at][0] > 100
    assert (np.linalg.norm(changed.points_mm[~at] - PLACES[0], axis=1) > 20).all()
    assert (~at).sum() == 2 * 25  # the two other places under the other names
    np.testing.assert_array_equal(changed.rank, np.sort(changed.rank))


def test_a_level_where_nothing_was_found_is_at_the_point_itself():
    changed = with_known(candidates(), known("L2", (0, 0, 20)))
    np.testing.assert_array_equal(changed.points_mm[changed.rank == RANK["L2"]], [[0, 0, 20]])
    assert len(changed) == 1 + 3 * 25
    empty = Candidates(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    assert len(with_known(empty, known("L2", (0, 0, 20)))) == 1


def test_every_place_may_have_every_name_nearly_as_probable_as_its_best():
    changed = with_known(candidates(), known("T12", PLACES[0]))
    second = (changed.points_mm == PLACES[1]).all(axis=1)
    by_name = dict(zip(changed.rank[second].tolist(), changed.log_odds[second].tolist(), strict=True))
    assert by_name[RANK["T11"]] == 1.5
    assert by_name[RANK["L1"]] == by_name[RANK["S2"]] == by_name[RANK["C1"]] == -0.5
    unchanged = with_known(candidates(), Centroids((), np.zeros((0, 3)), "world"))
    np.testing.assert_array_equal(unchanged.log_odds, candidates().log_odds)


def test_variants_cannot_be_known():
    with pytest.raises(ValueError, match="L6 cannot be given as known"):
        with_known(candidates(), known("L6", (0, 0, 20)))
