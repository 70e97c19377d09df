"""Gaussian densities and mean shift against numpy, one seed at a time."""

import numpy as np
import pytest

from vertloc.kernels.density import density_at, mean_shift


def cloud(seed, n=40, spread=8.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, (n, 3)), rng.random(n)


def weights(points, masses, at, bandwidth):
    """Gaussian weights; nothing where the exponent falls to -12."""
    exponent = -((points - at) ** 2).sum(axis=1) / (2 * bandwidth**2)
    return np.where(exponent > -12, masses * np.exp(exponent), 0)


def naive_mean_shift(points, masses, seed, bandwidth, tolerance, most_steps):
    at = seed.copy()
    for _ in range(most_steps):
        weight = weights(points, masses, at, bandwidth)
        if weight.sum() == 0:
            break
        step = weight @ (points - at) / weight.sum()
        at = at + step
        if np.linalg.norm(step) < tolerance:
            break
    return at


@pytest.mark.parametrize("bandwidth", [0.7, 3.0, 20.0])
def test_density_is_the_sum_of_gaussians_cut_at_an_exponent_of_minus_12(bandwidth):
    points, masses = cloud(0)
    at = np.concatenate([points[:5], np.random.default_rng(1).normal(0, 12, (8, 3)), [[1e4, 0, 0]]])
    found = density_at(points, masses, at, bandwidth)
    np.testing.assert_allclose(found, [weights(points, masses, a, bandwidth).sum() for a in at], rtol=1e-12)
    assert found[-1] == 0


@pytest.mark.parametrize("steps", [0, 1, 4, 50])
def test_mean_shift_follows_the_naive_iteration(steps):
    points, masses = cloud(2)
    seeds = np.random.default_rng(3).normal(0, 10, (7, 3))
    kept = seeds.copy()
    found = mean_shift(points, masses, seeds, 4.0, 0.02, steps)
    expected = [naive_mean_shift(points, masses, seed, 4.0, 0.02, steps) for seed in seeds]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(seeds, kept)


def test_mean_shift_climbs_to_the_middle_of_a_symmetric_cloud():
    half, _ = cloud(4, spread=2.0)
    points = np.concatenate([half, -half]) + np.array([5, -6, 7])
    found = mean_shift(points, np.ones(len(points)), np.array([[6.0, -5.0, 7.5]]), 5.0, 1e-6, 500)
    np.testing.assert_allclose(found, [[5, -6, 7]], atol=1e-3)


def test_a_seed_without_mass_near_it_stays_and_no_points_are_no_density():
    points, masses = cloud(5)
    far = np.array([[1e3, 0.0, 0.0]])
    np.testing.assert_array_equal(mean_shift(points, masses, far, 2.0, 0.01, 50), far)
    np.testing.assert_array_equal(mean_shift(points[:0], masses[:0], far, 2.0, 0.01, 50), far)
    np.testing.assert_array_equal(density_at(points[:0], masses[:0], far, 2.0), [0.0])
    assert mean_shift(points, masses, far[:0], 2.0, 0.01, 50).shape == (0, 3)
