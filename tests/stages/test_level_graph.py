import numpy as np
import pytest

from vertloc.stages.level_graph import LEVEL, LEVELS, steps_down
from vertloc.vertebrae import RANK, VERTEBRAE


def named(steps):
    return {(LEVELS[step.upper], LEVELS[step.lower]) for step in steps}


def test_the_levels_are_the_vertebrae_with_the_variants_in_their_places():
    assert len(LEVELS) == 28
    assert tuple(name for name in LEVELS if name in RANK) == VERTEBRAE
    assert LEVELS[LEVEL["T12"] : LEVEL["L1"] + 1] == ("T12", "T13", "L1")
    assert LEVELS[LEVEL["L5"] : LEVEL["S1"] + 1] == ("L5", "L6", "S1")


@pytest.mark.parametrize("longest_gap", [0, 1, 3])
def test_without_variants_steps_join_the_26_over_gaps_as_long_as_allowed(longest_gap):
    steps = steps_down(longest_gap, False)
    expected = {(VERTEBRAE[i], VERTEBRAE[j]) for j in range(26) for i in range(26) if 1 <= j - i <= longest_gap + 1}
    assert named(steps) == expected
    assert len(steps) == len(expected)
    for step in steps:
        upper, lower = RANK[LEVELS[step.upper]], RANK[LEVELS[step.lower]]
        assert step.n_left_out == lower - upper - 1
        np.testing.assert_array_equal(np.flatnonzero(step.span), np.arange(upper, lower))
        assert step.flag == ""


def test_steps_go_down_and_come_in_the_order_of_their_arrival():
    steps = steps_down(1, True)
    assert all(step.upper < step.lower for step in steps)
    assert [step.lower for step in steps] == sorted(step.lower for step in steps)


def test_variants_add_the_six_steps_of_four_anomalies_and_every_anomaly_has_one_flag():
    added = [
        step for step in steps_down(1, True) if step.flag or {LEVELS[step.upper], LEVELS[step.lower]} & {"T13", "L6"}
    ]
    assert named(added) == {
        ("T12", "T13"),
        ("T13", "L1"),
        ("L5", "L6"),
        ("L6", "S1"),
        ("T11", "L1"),
        ("L4", "S1"),
    }
    flags = sorted(step.flag for step in added if step.flag)
    assert [flag.split()[0] for flag in flags] == ["L5", "L6:", "T12", "T13:"]
    # As long as about one link of a normal spine.
    assert {float(step.span.sum()) for step in added} == {1.0}
