import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.stages.leaves import (
    WHOLE,
    SparseLeaves,
    join_leaves,
    rounded_votes,
    sparse_distributions,
    steps_of_votes,
    votes_from_steps,
)


def random_rows(seed, n=40, k=27, concentration=0.05):
    return np.random.default_rng(seed).dirichlet(np.full(k, concentration), n).astype(np.float32)


@given(seed=st.integers(0, 10_000), concentration=st.sampled_from([0.02, 0.3, 5.0]))
@settings(max_examples=60, deadline=None)
def test_shares_sum_to_the_whole_and_each_is_one_of_the_two_whole_numbers_next_to_it(seed, concentration):
    rows = random_rows(seed, concentration=concentration)
    leaves = sparse_distributions(rows)
    assert len(leaves) == len(rows)
    assert (np.add.reduceat(leaves.shares.astype(int), leaves.starts[:-1]) == WHOLE).all()
    assert (leaves.shares >= 1).all()
    found = np.rint(leaves.dense() * WHOLE)
    assert np.abs(found - rows.astype(np.float64) * WHOLE).max() < 1 + 1e-4
    # Twenty-seven half steps at most are given or taken, the largest remainders first.
    remainder = rows * WHOLE - np.floor(rows * WHOLE)
    for up, left in zip(found > rows * WHOLE, remainder, strict=True):
        if up.any() and not up.all():
            assert left[up].min() >= left[~up & (left > 1e-3)].max(initial=0) - 1e-3


def test_what_is_whole_already_stays_as_it_is():
    rows = np.zeros((3, 4), np.float32)
    rows[0, 2], rows[1, :2], rows[2] = 1, (0.2, 0.8), (51 / 255, 102 / 255, 0, 102 / 255)
    leaves = sparse_distributions(rows)
    np.testing.assert_array_equal(leaves.starts, [0, 1, 3, 6])
    np.testing.assert_array_equal(leaves.classes, [2, 0, 1, 0, 1, 3])
    np.testing.assert_array_equal(leaves.shares, [255, 51, 204, 51, 102, 102])
    again = sparse_distributions(leaves.dense())
    np.testing.assert_array_equal(again.shares, leaves.shares)


def test_rows_need_not_be_normalised():
    rows = random_rows(1)
    np.testing.assert_array_equal(
        sparse_distributions(7 * rows.astype(float)).dense(), sparse_distributions(rows).dense()
    )


def test_votes_are_rounded_to_steps_once():
    rng = np.random.default_rng(0)
    votes = np.column_stack([rng.normal(0, 20, (50, 3)), rng.random(50)]).astype(np.float32)
    found = rounded_votes(votes)
    assert found.dtype == np.float32
    assert np.abs(found[:, :3] - votes[:, :3]).max() <= 1 / 16 + 1e-6
    assert np.abs(found[:, 3] - votes[:, 3]).max() <= 1 / 65535
    np.testing.assert_array_equal(rounded_votes(found), found)
    np.testing.assert_array_equal(votes_from_steps(*steps_of_votes(found)), found)


def test_joined_leaves_are_those_of_the_parts():
    parts = [sparse_distributions(random_rows(seed, n)) for seed, n in enumerate((3, 1, 8))]
    joined = join_leaves(parts)
    assert isinstance(joined, SparseLeaves)
    np.testing.assert_array_equal(joined.dense(), np.concatenate([part.dense() for part in parts]))
    np.testing.assert_array_equal(join_leaves([np.ones((2, 3)), np.zeros((1, 3))]), [[1] * 3, [1] * 3, [0] * 3])
    with pytest.raises(ValueError, match="sparse and dense"):
        join_leaves([parts[0], parts[0].dense()])
