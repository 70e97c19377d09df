"""Gaussian densities and mean shift against numpy, over all masses and one seed at a time."""

import numpy as np
import pytest

from vertloc.kernels.density import class_densities, density_at, mean_shift
from vertloc.kernels.entries import row_starts

SHAPE = (9, 8, 10)
AXES = tuple(low + 3.0 * np.arange(n) for low, n in zip((100.0, -20.0, 5.0), SHAPE, strict=True))
MIDDLE = np.array([axis.mean() for axis in AXES[::-1]])


def cloud(seed, share=0.1, shape=SHAPE):
    """Masses at random voxels: what the kernels take, and the voxels' (x, y, z)."""
    rng = np.random.default_rng(seed)
    voxels = np.flatnonzero(rng.random(shape) < share).astype(np.int32)
    return (voxels, rng.random(len(voxels)), starts_of(voxels, shape), *AXES), points_of(voxels, shape)


def starts_of(voxels, shape=SHAPE):
    return row_starts(voxels, shape[2], shape[0] * shape[1])


def points_of(voxels, shape=SHAPE):
    return np.stack([AXES[2 - k][np.unravel_index(voxels, shape)[2 - k]] for k in range(3)], axis=1)


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
    masses, points = cloud(0)
    # At voxels, between them, past every face, and far away.
    at = np.concatenate([points[:5], MIDDLE + np.random.default_rng(1).normal(0, 15, (12, 3)), [[1e4, 0, 0]]])
    found = density_at(*masses, at, bandwidth)
    np.testing.assert_allclose(found, [weights(points, masses[1], a, bandwidth).sum() for a in at], rtol=1e-12)
    assert found[-1] == 0


@pytest.mark.parametrize("steps", [0, 1, 4, 50])
def test_mean_shift_follows_the_naive_iteration(steps):
    masses, points = cloud(2)
    seeds = MIDDLE + np.random.default_rng(3).normal(0, 12, (9, 3))
    kept = seeds.copy()
    found = mean_shift(*masses, seeds, 4.0, 0.02, steps)
    expected = [naive_mean_shift(points, masses[1], seed, 4.0, 0.02, steps) for seed in seeds]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_array_equal(seeds, kept)


def test_mean_shift_climbs_to_the_middle_of_a_symmetric_cloud():
    (voxels, *_), _ = cloud(4)
    both = np.unique(np.concatenate([voxels, np.prod(SHAPE) - 1 - voxels])).astype(np.int32)
    masses = both, np.ones(len(both)), starts_of(both), *AXES
    found = mean_shift(*masses, MIDDLE[None] + (1.0, 1.0, 0.5), 12.0, 1e-6, 500)
    np.testing.assert_allclose(found, MIDDLE[None], atol=1e-3)


def test_a_seed_without_mass_near_it_stays_and_no_points_are_no_density():
    masses, _ = cloud(5)
    far = np.array([[1e3, 0.0, 0.0]])
    none = np.empty(0, np.int32), np.empty(0), starts_of(np.empty(0, np.int32)), *AXES
    np.testing.assert_array_equal(mean_shift(*masses, far, 2.0, 0.01, 50), far)
    np.testing.assert_array_equal(mean_shift(*none, MIDDLE[None], 2.0, 0.01, 50), MIDDLE[None])
    np.testing.assert_array_equal(density_at(*none, MIDDLE[None], 2.0), [0.0])
    assert mean_shift(*masses, far[:0], 2.0, 0.01, 50).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_class_densities_are_the_sums_of_gaussians_up_to_four_bandwidths(dtype):
    rng = np.random.default_rng(12)
    # Some voxels have several classes.
    voxels = np.sort(rng.integers(0, np.prod(SHAPE), 150)).astype(np.int32)
    points, masses, ranks = points_of(voxels), rng.random(150).astype(dtype), rng.integers(0, 4, 150).astype(np.uint8)
    # The last two: four bandwidths below the lowest mass, and a little more.
    at = np.concatenate([MIDDLE + rng.normal(0, 12, (9, 3)), points[0] + [[0, 0, -12], [0, 0, -12.001]]])
    found = class_densities(voxels, ranks, masses, starts_of(voxels), *AXES, at, 3.0, 5)
    squared = ((points[None] - at[:, None]) ** 2).sum(axis=2)
    single = np.where(squared <= 144, masses.astype(np.float64) * np.exp(-squared / 18), 0)
    expected = np.stack([single[:, ranks == k].sum(axis=1) for k in range(5)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found[:, 4] == 0).all()
    assert found[-2].sum() > found[-1].sum()
    none = voxels[:0]
    assert class_densities(none, ranks[:0], masses[:0], starts_of(none), *AXES, at, 3.0, 5).sum() == 0
