"""Chains around levels that a person knows."""

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import KnownLevelError, VertlocError
from vertloc.stages.centroid_density import Candidates
from vertloc.stages.known_levels import with_known
from vertloc.stages.shape_labelling import ShapeSettings, label_chain
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.vertebrae import RANK, VERTEBRAE

PRIOR = learn_shape_model([], ShapeModelSettings())
PLACES = np.concatenate([np.zeros((1, 3)), PRIOR.mean_mm.cumsum(axis=0)])


def chain_of(names, doubt=2):
    """Candidates at the places of some vertebrae, each up to two levels off, the right name the likeliest."""
    rows = [
        (rank, PLACES[RANK[name]], 4.0 - 2 * abs(rank - RANK[name]))
        for name in names
        for rank in range(max(RANK[name] - doubt, 0), min(RANK[name] + doubt + 1, 26))
    ]
    rows.sort(key=lambda row: (row[0], -row[2]))
    return Candidates(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]))


def known(**points):
    return Centroids.from_points(points, "world")


def labelled(candidates, given, **settings):
    fixed = with_known(candidates, given)
    return label_chain(fixed, PRIOR, ShapeSettings(**settings), given.labels)


def test_a_known_level_moves_the_whole_chain():
    names = VERTEBRAE[12:18]
    assert labelled(chain_of(names), known()).centroids.labels == names
    found = labelled(chain_of(names), known(**{VERTEBRAE[15]: PLACES[14] + 3}))
    assert found.centroids.labels == VERTEBRAE[13:19]
    np.testing.assert_array_equal(found.centroids.points_mm, PLACES[12:18])
    assert found.confidence[2] == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_known_is_certain_however_little_the_evidence_counts(share):
    found = labelled(chain_of(VERTEBRAE[12:18]), known(T10=PLACES[15]), confidence_weight=share)
    assert found.confidence[found.centroids.labels.index("T10")] == pytest.approx(1)


def test_without_any_candidate_the_known_vertebrae_are_the_chain():
    nothing = Candidates(np.empty(0, np.int64), np.empty((0, 3)), np.empty(0))
    given = known(L1=PLACES[RANK["L1"]], L2=PLACES[RANK["L2"]])
    found = labelled(nothing, given)
    assert found.centroids.labels == ("L1", "L2")
    np.testing.assert_allclose(found.confidence, 1)


def test_known_vertebrae_are_joined_over_any_gap():
    given = known(T2=PLACES[RANK["T2"]], L3=PLACES[RANK["L3"]])
    found = labelled(chain_of(("T1", "T2", "T3", "L3", "L4")), given, longest_gap=0)
    assert {"T2", "L3"} <= set(found.centroids.labels)


def test_known_vertebrae_in_no_order_of_a_spine_are_refused():
    given = known(T2=PLACES[RANK["L3"]], L3=PLACES[RANK["T2"]])
    with pytest.raises(KnownLevelError, match="known T2, L3: no spine has them in these places"):
        labelled(chain_of(("T2", "L3")), given)


def test_a_batch_foresees_the_error_and_python_users_may_catch_a_value_error():
    assert issubclass(KnownLevelError, VertlocError)
    assert issubclass(KnownLevelError, ValueError)
