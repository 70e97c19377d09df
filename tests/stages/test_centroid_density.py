import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.centre_votes import Centres
from vertloc.stages.centroid_density import DensitySettings, find_candidates, name_centres
from vertloc.stages.dense_labels import BACKGROUND, DenseLabelSettings, dense_labels
from vertloc.stages.posterior import Posterior
from vertloc.vertebrae import RANK

LABELS = DenseLabelSettings(unannotated_levels=0)


def density(found):
    return DensitySettings().reference_density * np.exp(found.log_odds)


GRID = Grid((40, 24, 24), (3.0, 3.0, 3.0), (-30.0, 12.0, 400.0))
L1, L2 = RANK["L1"], RANK["L2"]


def perfect_posterior(centroids, grid=GRID, smallest=1e-4):
    """What a perfect classifier would answer: the dense labels themselves."""
    index = np.indices(grid.shape).reshape(3, -1).T
    probability = dense_labels(grid.to_world(index), centroids, LABELS).probability[:, BACKGROUND + 1 :]
    voxel, rank = np.nonzero(probability >= smallest)
    return Posterior(voxel.astype(np.int64), rank.astype(np.uint8), probability[voxel, rank], grid)


def at(index, grid=GRID):
    return grid.to_world(index)[0]


def empty_posterior():
    return Posterior(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.float32), GRID)


def test_a_perfect_lone_label_has_one_candidate_of_density_one_at_its_centroid():
    point = at((20.3, 11.6, 12.1))
    # phi is its own share where the background takes the rest.
    found = find_candidates(
        perfect_posterior(Centroids(("L1",), point[None], "world")), 1.0, DensitySettings(neighbours=0)
    )
    np.testing.assert_array_equal(found.rank, [L1])
    np.testing.assert_allclose(found.points_mm[0], point, atol=0.2)
    np.testing.assert_allclose(density(found), 1, atol=0.03)


@pytest.mark.parametrize("spacing", [2.0, 4.0])
@pytest.mark.parametrize("power", [0.7, 2.0])
def test_the_ideal_does_not_depend_on_voxel_size_or_power(spacing, power):
    grid = Grid((round(120 / spacing),) * 3, (spacing,) * 3)
    point = np.array([[57.0, 61.0, 63.0]])
    posterior = perfect_posterior(Centroids(("L1",), point, "world"), grid, 1e-6)
    found = find_candidates(posterior, 1.0, DensitySettings(mass_power=power, neighbours=0, bandwidth_mm=6))
    np.testing.assert_allclose(density(found)[0], 1, atol=0.03)
    np.testing.assert_allclose(found.points_mm[0], point[0], atol=0.1)


def two_vertebrae():
    return Centroids(("L1", "L2"), np.stack([at((27, 12, 12)), at((15, 11, 12))]), "world")


def test_every_vertebra_may_take_the_modes_of_its_neighbours_at_its_own_density():
    truth = two_vertebrae()
    posterior = perfect_posterior(truth, smallest=0)
    settings = DensitySettings(neighbours=1, smallest_density=0)
    found = find_candidates(posterior, 1.0, settings)
    for rank, own, other in ((L1, 0, 1), (L2, 1, 0)):
        rows = np.flatnonzero(found.rank == rank)
        np.testing.assert_allclose(found.points_mm[rows[0]], truth.points_mm[own], atol=2.5)
        np.testing.assert_allclose(found.points_mm[rows[-1]], truth.points_mm[other], atol=2.5)
        assert density(found)[rows[0]] > 0.9
        assert density(found)[rows[-1]] < 0.1
    # T12 and L3 have no mass but take the places of the one next to them; T11 is too far.
    assert set(found.rank.tolist()) >= {L1 - 1, L1, L2, L2 + 1}
    assert RANK["T11"] not in found.rank


def test_of_places_nearer_than_the_merging_distance_a_vertebra_keeps_its_own():
    truth = Centroids(("L1", "L2"), np.stack([at((21, 12, 12)), at((18, 12, 12))]), "world")
    posterior = perfect_posterior(truth, smallest=0)
    found = find_candidates(posterior, 1.0, DensitySettings(neighbours=1, smallest_density=0, merge_mm=20))
    alone = find_candidates(posterior, 1.0, DensitySettings(neighbours=0, smallest_density=0, merge_mm=20))
    for rank in (L1, L2):
        np.testing.assert_array_equal(found.points_mm[found.rank == rank], alone.points_mm[alone.rank == rank])
    assert (alone.points_mm[0] != alone.points_mm[1]).any()


def assert_in_promised_order(found):
    assert (np.diff(found.rank) >= 0).all()
    assert (np.diff(density(found))[np.diff(found.rank) == 0] <= 0).all()
    assert found.rank.dtype == np.int64
    assert len(found) == len(found.points_mm) == len(density(found))


def noisy_posterior(seed=0):
    rng = np.random.default_rng(seed)
    voxel = np.sort(rng.choice(np.prod(GRID.shape), 3000, replace=False))
    return Posterior(
        voxel, rng.integers(14, 20, 3000).astype(np.uint8), rng.uniform(0.02, 1, 3000).astype(np.float32), GRID
    )


def test_candidates_of_noise_keep_their_order_their_number_and_their_distance():
    settings = DensitySettings(modes_per_vertebra=3, neighbours=1, merge_mm=6, smallest_density=0.01)
    found = find_candidates(noisy_posterior(), 1.0, settings)
    assert_in_promised_order(found)
    assert (density(found) >= 0.01).all()
    for rank in np.unique(found.rank):
        points = found.points_mm[found.rank == rank]
        assert 1 <= len(points) <= 9
        distance = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(len(points), 1)]
        assert (distance >= 6).all()


def test_an_empty_posterior_has_no_candidates():
    for found in (
        find_candidates(empty_posterior(), 1.0, DensitySettings()),
        name_centres(Centres(np.zeros((2, 3)), np.ones(2)), empty_posterior(), 1.0, DensitySettings()),
        name_centres(Centres(np.empty((0, 3)), np.empty(0)), noisy_posterior(), 1.0, DensitySettings()),
    ):
        assert len(found) == 0
        assert found.points_mm.shape == found.places_mm.shape == (0, 3)


def test_centres_are_named_by_the_density_at_them_and_their_height():
    truth = two_vertebrae()
    posterior = perfect_posterior(truth, smallest=0)
    centres = Centres(truth.points_mm[::-1], np.array([1.0, 0.25]))
    settings = DensitySettings(height_power=0.5, smallest_density=0.02)
    found = name_centres(centres, posterior, 1.0, settings)
    assert_in_promised_order(found)
    best = [found.points_mm[np.flatnonzero(found.rank == rank)[0]] for rank in (L1, L2)]
    np.testing.assert_array_equal(best, truth.points_mm)
    plain = find_candidates(posterior, 1.0, DensitySettings(neighbours=0))
    own = [density(found)[np.flatnonzero(found.rank == rank)[0]] for rank in (L1, L2)]
    np.testing.assert_allclose(own, np.array([0.5, 1]) * density(plain)[:2], rtol=0.05)
    assert len(found.places_mm) == 2


def test_the_density_at_a_centre_is_the_sum_over_voxels_against_the_ideal():
    posterior, settings = noisy_posterior(), DensitySettings(bandwidth_mm=4, mass_power=1.5, smallest_density=0)
    centres = Centres(np.stack([at((20, 12, 12)), at((3, 2, 20))]), np.array([1.0, 0.5]))
    found = name_centres(centres, posterior, 1.0, settings)
    index = np.stack(np.unravel_index(posterior.voxel, GRID.shape), axis=1)
    squared = ((GRID.to_world(index)[:, None] - centres.points_mm) ** 2).sum(axis=2)
    kernel = np.where(squared <= 16**2, np.exp(-squared / 32), 0)
    mass = posterior.probability.astype(np.float64) ** 1.5
    radius = 34 / 2  # of T12 and L1
    width = radius**2 / np.log(2)
    ideal = (np.pi / (1.5 / width + 1 / 32)) ** 1.5 / 27
    for rank in (RANK["T12"], L1):
        for centre in range(2):
            expected = (mass * kernel[:, centre])[posterior.rank == rank].sum() / ideal * centres.height[centre] ** 0.5
            here = (found.rank == rank) & (found.points_mm == centres.points_mm[centre]).all(axis=1)
            np.testing.assert_allclose(density(found)[here], [expected] if expected >= 1e-9 else [])


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="bandwidth_mm"):
        DensitySettings(bandwidth_mm=0)
    with pytest.raises(ValueError, match="modes_per_vertebra"):
        DensitySettings(modes_per_vertebra=0)
