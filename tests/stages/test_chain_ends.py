import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.stages.chain_ends import learn_chain_ends
from vertloc.vertebrae import RANK, VERTEBRAE


def scan(first, last):
    labels = VERTEBRAE[RANK[first] : RANK[last] + 1]
    return Centroids(labels, np.arange(3.0 * len(labels)).reshape(-1, 3), "world")


def test_without_scans_every_end_is_as_frequent_as_any_other():
    for scans in ([], [Centroids.from_points({"L6": (0, 0, 0)}, "world")]):
        np.testing.assert_allclose(learn_chain_ends(scans, 13), 0, atol=1e-12)


def test_the_ends_are_log_ratios_of_distributions():
    found = learn_chain_ends([scan("C1", "T4"), scan("T8", "S2"), scan("L1", "L5")], 13)
    np.testing.assert_allclose(np.exp(found).mean(axis=1), 1)


def test_c1_and_s2_share_their_frequency_with_no_neighbour():
    found = learn_chain_ends([scan("C1", "S2")] * 40, 13)
    for row, end in zip(found, ("C1", "S2"), strict=True):
        others = np.arange(len(VERTEBRAE)) != RANK[end]
        assert np.ptp(row[others]) == pytest.approx(0, abs=1e-9)
        assert row[RANK[end]] - row[others][0] == pytest.approx(np.log((40 + 0.5) / 0.5))


def test_other_ends_are_spread_over_their_neighbours():
    top, bottom = learn_chain_ends([scan("T8", "L3")] * 10, 1)
    assert top.argmax() == RANK["T8"]
    assert bottom.argmax() == RANK["L3"]
    assert top[RANK["T7"]] == pytest.approx(top[RANK["T9"]])
    assert top[RANK["T7"]] > top[RANK["T6"]] > top[RANK["C7"]]


def test_the_more_even_scans_the_flatter():
    scans = [scan("C1", "T4")] * 10
    few, many = (np.ptp(learn_chain_ends(scans, n)) for n in (5, 500))
    assert many < few / 3
