"""Views: names beside the column do not overlap, keep their order and stay inside."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vertloc.geometry import Grid
from vertloc.report.reformat import spine_curve
from vertloc.report.views import beside_the_column, curved_views, spread
from vertloc.volume import Volume


@given(st.lists(st.floats(-100, 300), max_size=20), st.floats(0.1, 30))
def test_names_are_moved_apart_in_order_and_stay_inside(wanted, gap):
    placed = spread(wanted, gap, 0.0, 200.0)
    assert len(placed) == len(wanted)
    if len(wanted) < 2:
        return
    order = np.argsort(wanted, kind="stable")
    possible = min(gap, 200.0 / (len(wanted) - 1))
    assert np.diff(placed[order]).min() >= possible - 1e-6
    assert placed.min() >= -1e-6
    assert placed.max() <= 200.0 + 1e-6


@given(st.lists(st.floats(0, 100), min_size=2, max_size=12), st.floats(0.1, 5))
def test_no_other_placing_moves_names_less(wanted, gap):
    placed = spread(wanted, gap, -1000.0, 1000.0)
    moved = np.sum((placed - wanted) ** 2)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = placed + rng.normal(0, 1, len(wanted))
        order = np.argsort(wanted, kind="stable")
        if np.diff(other[order]).min() >= gap:
            assert np.sum((other - wanted) ** 2) >= moved - 1e-6


def test_names_with_enough_room_stay_where_they_are():
    np.testing.assert_allclose(spread([50.0, 10.0, 30.0], 12.0, 0.0, 100.0), [50.0, 10.0, 30.0])
    np.testing.assert_allclose(spread([30.0, 30.0], 12.0, 0.0, 100.0), [24.0, 36.0])
    assert spread([], 12.0, 0.0, 100.0).shape == (0,)


def test_names_stand_on_their_side_of_the_column_and_fit_into_the_view():
    grid = Grid((60, 80, 80), (2.0, 2.0, 3.0), (-80.0, -80.0, -90.0))
    points = np.array([[0.0, 0.0, z] for z in (60.0, 30.0, 0.0, -30.0, -32.0)])
    volume = Volume(np.zeros(grid.shape, np.int16), grid, "a")
    for view in curved_views(volume, spine_curve(points, grid), points, (400, 1000), 5.0):
        assert (view.window.bottom_mm, view.window.top_mm) == (-91.5, 88.5)
        for side in (-1, 1):
            places = beside_the_column(view, [tuple(p) for p in points], side, 6.0, [20.0] * 5)
            aside, height = np.array(places).T
            assert np.all(side * aside > 10)
            assert np.all(aside * side + 20 <= np.array([-view.window.left_mm, view.window.right_mm][side > 0]))
            assert np.diff(height).max() <= -6 + 1e-6
    assert beside_the_column(view, [], 1, 6.0, []) == []
