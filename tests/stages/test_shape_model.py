from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from vertloc.centroids import Centroids
from vertloc.stages.shape_model import N_PAIRS, ShapeModelSettings, learn_shape_model
from vertloc.vertebrae import RANK, VERTEBRAE

PRIOR = learn_shape_model([], ShapeModelSettings())
ALONE = ShapeModelSettings(neighbour_share=0, prior_pairs=0.1, smallest_deviation_mm=0.1)


def links(upper, lower):
    """The links from one rank to another, as the one row of spans."""
    return ((np.arange(N_PAIRS) >= upper) & (np.arange(N_PAIRS) < lower)).astype(float)[None]


def synthetic_chains(n, seed=0):
    """Whole spines whose displacements are Gaussian with known means and covariances."""
    rng = np.random.default_rng(seed)
    mean = np.stack([rng.normal(0, 2, 25), rng.normal(0, 4, 25), -rng.uniform(15, 40, 25)], axis=1)
    root = rng.normal(0, 1.5, (25, 3, 3))
    covariance = root @ root.transpose(0, 2, 1) + 4 * np.eye(3)
    steps = np.stack([rng.multivariate_normal(m, c, n) for m, c in zip(mean, covariance, strict=True)], axis=1)
    points = np.concatenate([np.zeros((n, 1, 3)), steps.cumsum(axis=1)], axis=1) + rng.normal(0, 50, (n, 1, 3))
    return [Centroids(VERTEBRAE, p, "world") for p in points], mean, covariance


def test_means_and_covariances_of_many_spines_are_recovered():
    chains, mean, covariance = synthetic_chains(4000)
    model = learn_shape_model(chains, ALONE)
    np.testing.assert_allclose(model.mean_mm, mean, atol=0.25)
    deviation = np.sqrt(np.einsum("pii->pi", covariance))
    scale = deviation[:, :, None] * deviation[:, None, :]
    np.testing.assert_allclose(model.covariance_mm2 / scale, covariance / scale, atol=0.15)


def test_sums_are_rounded_once_so_that_neither_order_nor_machine_shows():
    chains, _, _ = synthetic_chains(57)
    expected = learn_shape_model(chains, ShapeModelSettings())
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(57)
        found = learn_shape_model([chains[i] for i in order], ShapeModelSettings())
        np.testing.assert_array_equal(found.mean_mm, expected.mean_mm)
        np.testing.assert_array_equal(found.covariance_mm2, expected.covariance_mm2)


def test_a_pair_is_the_weighted_mean_of_its_samples_and_the_prior():
    steps = np.array([[1.0, 2, -30], [3.0, -2, -36]])
    scans = [Centroids(("L1", "L2"), np.stack([np.zeros(3), step]), "world") for step in steps]
    options = ShapeModelSettings(neighbour_share=0, prior_pairs=2, smallest_deviation_mm=3)
    prior = learn_shape_model([], options)
    found = learn_shape_model(scans, options)
    pair = RANK["L1"]
    rows = np.array([*steps, prior.mean_mm[pair], prior.mean_mm[pair]])
    np.testing.assert_allclose(found.mean_mm[pair], rows.mean(axis=0))
    prior_covariance = prior.covariance_mm2[pair] - 9 * np.eye(3)
    expected = np.cov(rows.T, bias=True) + 0.5 * prior_covariance + 9 * np.eye(3)
    np.testing.assert_allclose(found.covariance_mm2[pair], expected)
    others = np.arange(N_PAIRS) != pair
    np.testing.assert_array_equal(found.mean_mm[others], prior.mean_mm[others])


def test_neighbouring_pairs_lend_a_share_of_their_samples_three_pairs_far():
    scans = [Centroids(("T6", "T7"), np.array([[0.0, 0, 0], [9.0, 0, -24]]), "world")]
    options = ShapeModelSettings(neighbour_share=0.5, prior_pairs=1)
    prior, found = learn_shape_model([], options), learn_shape_model(scans, options)
    length = np.linalg.norm(prior.mean_mm, axis=1)
    pair = RANK["T6"]
    for distance in range(4):
        share = 0.5**distance
        scale = length[pair + distance] / length[pair]
        assert found.mean_mm[pair + distance, 0] == pytest.approx(share * 9 * scale / (share + 1))
    np.testing.assert_array_equal(found.mean_mm[pair + 4], prior.mean_mm[pair + 4])


def test_without_any_pair_the_prior_of_adult_anatomy_remains():
    lone = Centroids(("L1", "L3", "L6"), np.array([[0.0, 0, 0], [0, 0, -60], [0, 0, -120]]), "world")
    for scans in ([], [lone], [Centroids.from_points({}, "world")]):
        found = learn_shape_model(scans, ShapeModelSettings())
        np.testing.assert_array_equal(found.mean_mm[:, 0], 0)
        length = np.linalg.norm(found.mean_mm, axis=1)
        assert ((length >= 15) & (length <= 40)).all()
        assert (found.mean_mm[:, 2] < -0.5 * length).all()
        assert (np.linalg.eigvalsh(found.covariance_mm2) >= 4).all()


def test_a_variant_between_two_vertebrae_parts_them():
    points = np.array([[0.0, 0, 0], [0, 0, -35], [0, 0, -70]])
    found = learn_shape_model([Centroids(("L5", "L6", "S1"), points, "world")], ShapeModelSettings())
    np.testing.assert_array_equal(found.mean_mm, learn_shape_model([], ShapeModelSettings()).mean_mm)


def test_the_log_density_of_a_link_is_that_of_its_gaussian():
    _, mean, covariance = synthetic_chains(1)
    model = replace(PRIOR, mean_mm=mean, covariance_mm2=covariance)
    at = np.random.default_rng(1).normal(0, 20, (4, 5, 3))
    expected = multivariate_normal(mean[7], covariance[7]).logpdf(at)
    np.testing.assert_allclose(model.log_densities(links(7, 8))[0](at), expected)


def test_over_a_gap_means_add_up_and_deviations_are_fully_correlated():
    _, mean, covariance = synthetic_chains(1)
    model = replace(PRIOR, mean_mm=mean, covariance_mm2=covariance)
    at = np.array([3.0, -4, -80])
    pooled = 9 * covariance[4:7].mean(axis=0)
    expected = multivariate_normal(mean[4:7].sum(axis=0), pooled).logpdf(at)
    assert model.log_densities(links(4, 7))[0](at) == pytest.approx(expected)
    # Of equal pairs, three times the step has three times the deviation.
    same = replace(PRIOR, mean_mm=np.tile(mean[:1], (25, 1)), covariance_mm2=np.tile(covariance[:1], (25, 1, 1)))
    one, three = (same.log_densities(links(0, n))[0](n * (mean[0] + 2)) for n in (1, 3))
    assert three == pytest.approx(one - 3 * np.log(3))


@pytest.mark.parametrize("wrong", [{"neighbour_share": 2}, {"prior_pairs": 0}, {"smallest_deviation_mm": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShapeModelSettings(**wrong)
