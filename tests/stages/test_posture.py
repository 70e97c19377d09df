import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_t

from vertloc.centroids import Centroids
from vertloc.stages import posture
from vertloc.stages.posture import N_LINKS, PostureSettings, learn_posture, link_features
from vertloc.vertebrae import RANK, VERTEBRAE

PRIOR = learn_posture([], PostureSettings())


def spine(features):
    """Points of a whole spine from its links' log lengths and inclinations."""
    length, sagittal, coronal = np.exp(features[:, 0]), features[:, 1], features[:, 2]
    down = np.stack([np.sin(coronal), np.cos(coronal) * np.sin(sagittal), -np.cos(coronal) * np.cos(sagittal)], axis=1)
    return np.concatenate([np.zeros((1, 3)), (length[:, None] * down).cumsum(axis=0)])


def drawn_spines(n, model=PRIOR, seed=0):
    rng = np.random.default_rng(seed)
    drawn = np.stack(
        [rng.multivariate_normal(model.mean[:, k], model.scale[k], n, method="cholesky") for k in range(3)], axis=-1
    )
    return drawn, [Centroids(VERTEBRAE, spine(features), "world") for features in drawn]


def test_the_features_of_a_spine_built_from_features_are_those():
    features, _ = drawn_spines(1)
    np.testing.assert_allclose(link_features(spine(features[0])), features[0], atol=1e-12)


def test_a_link_straight_down_has_no_inclination_and_one_backwards_a_positive_one():
    found = link_features(np.array([[0.0, 0, 0], [0, 0, -20], [0, 20, -40], [30, 20, -70]]))
    np.testing.assert_allclose(found[:, 0], np.log([20, 20 * 2**0.5, 30 * 2**0.5]))
    np.testing.assert_allclose(found[:, 1], [0, np.pi / 4, 0], atol=1e-12)
    np.testing.assert_allclose(found[:, 2], [0, 0, np.pi / 4], atol=1e-12)


def test_the_density_of_a_chain_is_that_of_its_features_times_the_change_of_variables():
    features = drawn_spines(1)[0][0, 4:9]
    points = spine(features)
    expected = sum(
        multivariate_t(PRIOR.mean[4:9, k], PRIOR.scale[k, 4:9, 4:9], PRIOR.degrees_of_freedom).logpdf(features[:, k])
        for k in range(3)
    )
    for row in features:
        jacobian = np.array([approx_fprime(row, lambda f, i=i: spine(f[None])[1, i], 1e-7) for i in range(3)])
        expected -= np.log(abs(np.linalg.det(jacobian)))
    spans = np.eye(N_LINKS)[4:9]
    assert PRIOR.log_density(points, spans) == pytest.approx(expected, abs=1e-3)
    # It does not matter where the chain lies.
    assert PRIOR.log_density(points + np.array([5, -90, 400]), spans) == pytest.approx(PRIOR.log_density(points, spans))


def test_a_chain_of_one_has_no_link_and_density_one():
    assert PRIOR.log_density(np.zeros((1, 3)), np.empty((0, N_LINKS))) == 0


def test_over_a_gap_a_link_is_expected_where_its_two_parts_end():
    points = spine(PRIOR.mean)[[10, 12, 13]]
    spans = np.eye(N_LINKS)[[10, 12]] + np.eye(N_LINKS)[[11, 12]] * [[1], [0]]
    best = PRIOR.log_density(points, spans)
    for axis in range(3):
        for step in (-6, 6):
            moved = points.copy()
            moved[0, axis] += step
            assert PRIOR.log_density(moved, spans) < best


def test_two_links_that_look_like_the_same_one_need_not_be_equal():
    spans = np.eye(N_LINKS)[[17, 18, 18, 19]]
    equal = spine(PRIOR.mean[[17, 18, 18, 19]])
    unequal = equal + np.array([0, 0, 3.0]) * (np.arange(5) == 2)[:, None]
    assert 0 < PRIOR.log_density(equal, spans) - PRIOR.log_density(unequal, spans) < 2


def test_every_name_of_a_typical_spine_is_more_likely_than_its_neighbours():
    points = spine(PRIOR.mean)
    for first in range(1, 16):
        chain = points[first : first + 9]
        density = [PRIOR.log_density(chain, np.eye(N_LINKS)[k : k + 8]) for k in (first - 1, first, first + 1)]
        assert np.argmax(density) == 1


def test_a_tall_patient_and_a_tilted_one_cost_less_than_links_that_disagree():
    longer, unequal, tilted, bent = (PRIOR.mean.copy() for _ in range(4))
    longer[:, 0] += 0.1
    unequal[:, 0] += 0.1 * (-1) ** np.arange(N_LINKS)
    tilted[:, 1] += 0.15
    bent[:, 1] += 0.15 * (-1) ** np.arange(N_LINKS)
    density = [PRIOR.log_density(spine(f), np.eye(N_LINKS)) for f in (PRIOR.mean, longer, unequal, tilted, bent)]
    # The change of variables alone takes three times the log from a spine that is longer.
    density[1] += 3 * 0.1 * N_LINKS
    cost = density[0] - np.array(density[1:])
    assert 0 < cost[0] < cost[1] / 2
    assert 0 < cost[2] < cost[3] / 2


def test_the_posture_of_many_whole_spines_is_recovered():
    model = learn_posture(drawn_spines(600)[1], PostureSettings(degrees_of_freedom=1000, scatter_mm=0))
    np.testing.assert_allclose(model.mean, PRIOR.mean, atol=0.03)
    deviation, expected = (np.sqrt(np.einsum("kii->ki", m.scale)) for m in (model, PRIOR))
    np.testing.assert_allclose(deviation, expected, rtol=0.12)


def test_points_that_are_found_scatter_more_than_annotated_ones():
    exact, found = (learn_posture([], PostureSettings(scatter_mm=mm)) for mm in (0, 2))
    points = spine(PRIOR.mean)
    one_moved = points + np.array([0, 0, 5.0]) * (np.arange(26) == 12)[:, None]
    price = [m.log_density(points, np.eye(N_LINKS)) - m.log_density(one_moved, np.eye(N_LINKS)) for m in (exact, found)]
    assert 0 < price[1] < price[0] - 0.5


def test_spines_of_which_only_parts_are_seen_still_give_every_mean():
    rng = np.random.default_rng(5)
    scans = []
    for scan in drawn_spines(400, seed=5)[1]:
        first = int(rng.integers(0, 18))
        scans.append(Centroids(scan.labels[first : first + 8], scan.points_mm[first : first + 8], "world"))
    model = learn_posture(scans, PostureSettings())
    np.testing.assert_allclose(model.mean, PRIOR.mean, atol=0.08)


def test_spines_lean_to_neither_side_on_average():
    bent = PRIOR.mean.copy()
    bent[:, 2] = 0.1
    model = learn_posture([Centroids(VERTEBRAE, spine(bent), "world")] * 20, PostureSettings())
    assert (model.mean[:, 2] == 0).all()


def test_a_crooked_spine_moves_the_mean_less_than_an_ordinary_one():
    _, scans = drawn_spines(10)
    crooked = PRIOR.mean.copy()
    crooked[:, 1] += 1.2 * (-1) ** np.arange(N_LINKS)
    moved = []
    for freedom in (2, 1000):
        settings = PostureSettings(degrees_of_freedom=freedom)
        means = [
            learn_posture(some, settings).mean
            for some in (scans, [*scans, Centroids(VERTEBRAE, spine(crooked), "world")])
        ]
        moved.append(np.abs(means[1] - means[0])[:, 1].mean())
    assert moved[0] < 0.5 * moved[1]


def test_without_a_link_between_neighbours_the_prior_remains():
    lone = Centroids(("L1", "L3", "L6"), np.array([[0.0, 0, 0], [0, 0, -60], [0, 0, -120]]), "world")
    for scans in ([lone], [Centroids.from_points({}, "world")], [Centroids.from_points({"C2": (0, 0, 0)}, "world")]):
        found = learn_posture(scans, PostureSettings())
        np.testing.assert_array_equal(found.mean, PRIOR.mean)
        np.testing.assert_array_equal(found.scale, PRIOR.scale)


def test_the_gradient_of_the_fit_is_that_of_its_cost():
    features = drawn_spines(12)[0][..., 1] - PRIOR.mean[:, 1]
    features[3, :9] = features[5, 4:] = np.nan
    shares, profile = posture._TYPICAL_SHARES + 0.1, np.linspace(0.8, 1.2, N_LINKS)
    _, gradient = posture._cost(shares, features, profile, 8.0)
    numeric = approx_fprime(shares, lambda x: posture._cost(x, features, profile, 8.0)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("wrong", [{"degrees_of_freedom": 0}, {"prior_spines": 0}, {"smoothing_links": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PostureSettings(**wrong)


def test_the_typical_spine_has_kyphosis_between_two_lordoses():
    sagittal = PRIOR.mean[:, 1]
    neck, chest, loin = (sagittal[RANK[a] : RANK[b]] for a, b in (("C2", "C7"), ("T2", "T12"), ("L2", "S2")))
    assert (np.diff(neck) > 0).all()
    assert (np.diff(chest) < 0).all()
    assert (np.diff(loin) > 0).all()
