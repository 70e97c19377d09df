import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from vertloc.report.letters import Letters, outlines
from vertloc.report.marks import spread


@pytest.mark.parametrize(("side", "share"), [("right", 0.0), ("middle", 0.5), ("left", 1.0)])
def test_a_text_lies_on_its_side_of_its_place(side, share):
    rims, letters = outlines([Letters("C4  50%", 100.0, 50.0, "#ffffff", side)], 2.0)
    assert len(rims.get_paths()) == 1
    (path,) = letters.get_paths()
    low, high = path.get_extents().get_points()
    assert 50 < high[0] - low[0] < 80
    np.testing.assert_allclose(low[0] + share * (high[0] - low[0]), 100.0, atol=3.0)
    assert low[1] < 50 < high[1]


def test_letters_at_the_top_hang_below_their_place_and_no_text_is_no_path():
    (path,) = outlines([Letters("L", 0.0, 50.0, "#ffffff", "right", "top")], 2.0)[1].get_paths()
    assert 45 < path.get_extents().y1 <= 50
    assert outlines([], 2.0)[1].get_paths() == []


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_names_are_spread_as_isotonic_regression_would(wanted):
    order = np.argsort(wanted, kind="stable")
    steps = 2.0 * np.arange(len(wanted))
    expected = isotonic_regression(np.array(wanted)[order] - steps).x + steps
    np.testing.assert_allclose(spread(wanted, 2.0, -1000.0, 1000.0)[order], expected, atol=1e-9)
