"""Votes in cells against a sum over single votes, and mean shift over cells against a full sum over all cells."""

import numpy as np
import pytest

from vertloc.kernels.votes import climb_cells, collect_votes

LOW = np.array([-3.0, 2.0, 10.0])
CELL = 2.0


def naive_votes(points, leaves, leaf_values, masses, shape):
    cells = np.zeros((*shape, 4))
    for point, leaf, mass in zip(points, leaves, masses, strict=True):
        vote = point + leaf_values[leaf, :3].astype(np.float64)
        x, y, z = np.floor((vote - LOW) / CELL).astype(int)
        if all(0 <= i < n for i, n in zip((z, y, x), shape, strict=True)):
            weight = float(np.float32(mass * leaf_values[leaf, 3]))
            cells[z, y, x] += weight * np.array([1, *(vote - LOW - CELL * np.array([x, y, z]))])
    return cells


def random_cells(seed, shape=(6, 7, 5), n=60):
    rng = np.random.default_rng(seed)
    points = LOW + rng.uniform(-3, 17, (n, 3))
    leaf_values = np.column_stack([rng.normal(0, 3, (9, 3)), rng.random(9)]).astype(np.float32)
    leaves, masses = rng.integers(0, 9, n).astype(np.int32), rng.random(n).astype(np.float32)
    cells = np.zeros((*shape, 4), np.float32)
    collect_votes(points, leaves, leaf_values, masses, LOW, CELL, 0, shape[0], cells)
    return cells, naive_votes(points, leaves, leaf_values, masses, shape)


@pytest.mark.parametrize("seed", range(4))
def test_votes_fall_into_the_cells_of_their_places_or_are_lost(seed):
    found, expected = random_cells(seed)
    assert 0 < np.count_nonzero(expected[..., 0]) < 60
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_slices_of_cells_filled_one_by_one_are_those_filled_at_once():
    rng = np.random.default_rng(3)
    votes = (
        LOW + rng.uniform(-3, 17, (60, 3)),
        np.zeros(60, np.int32),
        np.array([[0.5, -1, 2, 0.7]], np.float32),
        rng.random(60).astype(np.float32),
    )
    whole, parts = np.zeros((6, 7, 5, 4), np.float32), np.zeros((6, 7, 5, 4), np.float32)
    collect_votes(*votes, LOW, CELL, 0, 6, whole)
    for begin, end in ((3, 6), (0, 1), (1, 3), (2, 2)):
        collect_votes(*votes, LOW, CELL, begin, end, parts)
    assert whole.any()
    np.testing.assert_array_equal(parts, whole)


def test_a_vote_on_the_lower_face_counts_and_one_on_the_upper_face_is_lost():
    cells = np.zeros((3, 3, 3, 4), np.float32)
    points = np.stack([LOW, LOW + 3 * CELL, LOW + 3 * CELL - 1e-9, LOW - 1e-9])
    still = np.array([[0, 0, 0, 1]], np.float32)
    collect_votes(points, np.zeros(4, np.int32), still, np.ones(4, np.float32), LOW, CELL, 0, 3, cells)
    assert cells[0, 0, 0, 0] == 1
    assert cells[2, 2, 2, 0] == 1
    assert cells[..., 0].sum() == 2


def test_votes_are_added_to_what_is_there():
    cells = np.full((1, 1, 1, 4), 5, np.float32)
    vote = np.array([[0, 0, 0, 0.5]], np.float32)
    collect_votes(LOW[None] + 1, np.zeros(1, np.int32), vote, np.ones(1, np.float32), LOW, CELL, 0, 1, cells)
    np.testing.assert_allclose(cells[0, 0, 0], 5 + 0.5 * np.array([1, 1, 1, 1]))


def naive_climb(cells, seed, bandwidth, tolerance, most_steps):
    """Mean shift over all cells within 4 bandwidths, counted in whole cells."""
    reach = int(np.ceil(4 * bandwidth / CELL))
    index = np.argwhere(cells[..., 0] > 0)
    mass = cells[tuple(index.T)][:, 0].astype(np.float64)
    means = cells[tuple(index.T)][:, 1:] / mass[:, None] + LOW + CELL * index[:, ::-1]
    mode, density = seed.copy(), 0.0
    for _ in range(most_steps):
        here = np.floor((mode - LOW) / CELL)[::-1]
        near = (np.abs(index - here) <= reach).all(axis=1)
        weight = mass[near] * np.exp(-((means[near] - mode) ** 2).sum(axis=1) / (2 * bandwidth**2))
        density = weight.sum()
        if density == 0:
            break
        step = weight @ (means[near] - mode) / density
        if np.linalg.norm(step) < tolerance:
            break
        mode = mode + step
    return mode, density


@pytest.mark.parametrize(("bandwidth", "steps"), [(0.6, 50), (2.0, 1), (2.0, 50), (9.0, 50)])
def test_climbing_cells_follows_the_naive_iteration_at_the_borders_too(bandwidth, steps):
    cells, _ = random_cells(7)
    seeds = LOW + np.random.default_rng(8).uniform(-2, 16, (9, 3))
    modes, density = climb_cells(cells, LOW, CELL, seeds, bandwidth, 0.02, steps)
    expected = [naive_climb(cells, seed, bandwidth, 0.02, steps) for seed in seeds]
    np.testing.assert_allclose(modes, [mode for mode, _ in expected], atol=1e-9)
    np.testing.assert_allclose(density, [height for _, height in expected], rtol=1e-9)


def test_a_seed_far_from_all_votes_stays_with_density_zero():
    cells, _ = random_cells(11)
    far = LOW[None] + 500
    modes, density = climb_cells(cells, LOW, CELL, far, 2.0, 0.02, 50)
    np.testing.assert_array_equal(modes, far)
    np.testing.assert_array_equal(density, [0.0])
