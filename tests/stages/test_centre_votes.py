import numpy as np
import pytest
from scipy import ndimage

from vertloc import workers
from vertloc.geometry import Grid
from vertloc.stages import centre_votes
from vertloc.stages.centre_votes import CentreVoteSettings, find_centres, smoothed_peaks
from vertloc.stages.context_features import FeaturePool, FeatureRule
from vertloc.stages.forest import FlatForest, join_forests
from vertloc.stages.posterior import Posterior
from vertloc.stages.preprocess import IsotropicVolume

RULE = FeatureRule(largest_offset_mm=6, largest_size_mm=3)
GRID = Grid((30, 12, 14), (3.0, 3.0, 3.0), (-10.0, 20.0, 300.0))
CENTRES = np.array([[6, 6, 7], [15, 5, 6], [24, 6, 7]])


def constant_forest(*votes):
    """Trees of one leaf: every voxel votes at its own place plus this displacement, with this weight."""
    pool = FeaturePool(np.zeros((1, 2, 3), np.float32), np.ones((1, 2, 3), np.float32), RULE)
    leaf = np.array([[-1, 0]], np.int32)
    none = np.zeros(1, np.int64), leaf, np.zeros(1, np.int32), np.zeros(1, np.float32)
    return join_forests([FlatForest(*none, np.array([vote], np.float32), pool) for vote in votes])


def tree_of_intensity(thresholds, votes):
    """A chain of nodes on the voxel's own intensity: leaf k where thresholds[k-1] < value <= thresholds[k]."""
    n = len(thresholds)
    children = np.full((2 * n + 1, 2), -1, np.int32)
    node = 2 * np.arange(n)
    children[node, 0], children[node, 1] = node + 1, node + 2
    children[children[:, 0] < 0, 1] = np.arange(n + 1)
    limits = np.zeros(2 * n + 1, np.float32)
    limits[node] = thresholds
    size = np.zeros((1, 2, 3), np.float32)
    size[:, 0] = 3
    pool = FeaturePool(np.zeros((1, 2, 3), np.float32), size, RULE)
    roots, features = np.zeros(1, np.int64), np.zeros(2 * n + 1, np.int32)
    return FlatForest(roots, children, features, limits, np.array(votes, np.float32), pool)


def volume_of(voxels):
    return IsotropicVolume(voxels.astype(np.int16), GRID)


def posterior_at(index, probability=None, rank=15):
    voxel = np.sort(np.ravel_multi_index(np.array(index).T, GRID.shape))
    probability = np.ones(len(voxel)) if probability is None else probability
    return Posterior(voxel, np.full(len(voxel), rank, np.uint8), np.asarray(probability, np.float32), GRID)


def planted():
    """Voxels around the planted centres, each with an intensity that tells its displacement to the nearest one."""
    index = np.indices(GRID.shape).reshape(3, -1).T
    squared = ((index[:, None] - CENTRES) ** 2).sum(axis=2)
    near = np.flatnonzero(squared.min(axis=1) <= 4)
    nearest = squared.argmin(axis=1)[near]
    displacement = GRID.to_world(CENTRES[nearest]) - GRID.to_world(index[near])
    kinds, kind = np.unique(displacement, axis=0, return_inverse=True)
    voxels = np.full(GRID.shape, -1000)
    voxels[tuple(index[near].T)] = 100 * kind.reshape(-1) - 900
    votes = np.column_stack([kinds, np.ones(len(kinds))])
    # The feature is the voxel's mean above the outside, -1000 HU.
    forest = tree_of_intensity(100 * np.arange(len(kinds) - 1) + 150, votes)
    return volume_of(voxels), posterior_at(index[near]), forest


def test_a_planted_field_of_votes_gives_the_planted_centres():
    volume, posterior, forest = planted()
    found = find_centres(volume, posterior, forest, CentreVoteSettings())
    expected = GRID.to_world(CENTRES)
    order = np.argsort(found.points_mm[:, 2])
    np.testing.assert_allclose(found.points_mm[order], expected, atol=0.05)
    np.testing.assert_allclose(found.height, 1, rtol=1e-6)


def test_threads_do_not_change_the_centres(monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 64)
    volume, posterior, forest = planted()
    many = join_forests([forest, constant_forest((2, 1, -1, 0.2)), forest])
    one = find_centres(volume, posterior, many, CentreVoteSettings(), 1)
    for n_threads in (-1, 2, 3, 50):
        other = find_centres(volume, posterior, many, CentreVoteSettings(), n_threads)
        np.testing.assert_array_equal(one.points_mm, other.points_mm)
        np.testing.assert_array_equal(one.height, other.height)


@pytest.mark.parametrize("n_threads", [2, 16, 256])
def test_work_does_not_grow_with_the_number_of_threads(monkeypatch, n_threads):
    walked = []

    def count(points, *rest):
        walked.append(len(points))
        collect_votes(points, *rest)

    collect_votes = centre_votes.collect_votes
    monkeypatch.setattr(centre_votes, "collect_votes", count)
    monkeypatch.setattr(workers, "available_cores", lambda: 256)
    shape = (200, 3, 3)  # a spine of 600 mm
    volume = IsotropicVolume(np.zeros(shape, np.int16), Grid(shape, (3.0, 3.0, 3.0)))
    posterior = Posterior(np.arange(1800), np.full(1800, 4, np.uint8), np.ones(1800, np.float32), volume.grid)
    forest = constant_forest((1, 2, 15, 1))
    one = find_centres(volume, posterior, forest, CentreVoteSettings(), 1)
    assert walked == [1800]
    walked.clear()
    many = find_centres(volume, posterior, forest, CentreVoteSettings(), n_threads)
    assert len(walked) == min(n_threads, 18)
    assert sum(walked) <= 2.2 * 1800
    np.testing.assert_array_equal(one.points_mm, many.points_mm)


def test_unsure_voxels_do_not_vote_and_the_sum_over_vertebrae_counts():
    volume = volume_of(np.zeros(GRID.shape))
    forest = constant_forest((0, 0, 0, 1))
    # Two vertebrae of 0.1 each at one voxel are together a vertebra of 0.2.
    index = np.ravel_multi_index(CENTRES.T, GRID.shape)
    voxel = np.array([index[0], index[0], index[1], index[2]])
    share = np.array([0.1, 0.1, 0.14, 0.3], np.float32)
    posterior = Posterior(voxel, np.array([4, 5, 4, 4], np.uint8), share, GRID)
    found = find_centres(volume, posterior, forest, CentreVoteSettings(smallest_probability=0.15))
    np.testing.assert_allclose(found.points_mm, GRID.to_world(CENTRES[[2, 0]]), atol=1e-3)
    # The typical high mode is the upper quartile of the heights 0.3 and 0.2.
    np.testing.assert_allclose(found.height, np.minimum(np.array([0.3, 0.2]) / 0.275, 1), rtol=1e-5)


def test_modes_nearer_than_the_merging_distance_are_one_the_highest():
    volume, forest = volume_of(np.zeros(GRID.shape)), constant_forest((0, 0, 0, 1))
    posterior = posterior_at([[10, 6, 7], [14, 6, 7]], [0.5, 1.0])
    apart = find_centres(volume, posterior, forest, CentreVoteSettings(merge_mm=11))
    merged = find_centres(volume, posterior, forest, CentreVoteSettings(merge_mm=13))
    assert len(apart.points_mm) == 2
    np.testing.assert_allclose(merged.points_mm, GRID.to_world((14, 6, 7)), atol=0.05)


def test_low_modes_are_dropped_and_their_number_is_limited():
    volume, forest = volume_of(np.zeros(GRID.shape)), constant_forest((0, 0, 0, 1))
    posterior = posterior_at(CENTRES, [1.0, 0.2, 0.9])
    high = find_centres(volume, posterior, forest, CentreVoteSettings(smallest_height=0.5))
    assert len(high.points_mm) == 2
    few = find_centres(volume, posterior, forest, CentreVoteSettings(most_modes=1))
    np.testing.assert_allclose(few.points_mm, GRID.to_world(CENTRES[0]), atol=0.05)


def test_no_voter_gives_no_centre():
    volume, forest = volume_of(np.zeros(GRID.shape)), constant_forest((0, 0, 0, 1))
    for posterior in (posterior_at(CENTRES[:0]), posterior_at(CENTRES, [0.1, 0.1, 0.1])):
        found = find_centres(volume, posterior, forest, CentreVoteSettings())
        assert found.points_mm.shape == (0, 3)
        assert found.height.shape == (0,)


def test_votes_that_are_all_cast_far_away_give_no_centre():
    volume, forest = volume_of(np.zeros(GRID.shape)), constant_forest((0, 0, 40, 1))
    found = find_centres(volume, posterior_at(CENTRES[:1]), forest, CentreVoteSettings())
    assert found.points_mm.shape == (0, 3)
    assert found.height.shape == (0,)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="bandwidth_mm"):
        CentreVoteSettings(bandwidth_mm=0)
    with pytest.raises(ValueError, match="most_modes"):
        CentreVoteSettings(most_modes=0)


@pytest.mark.parametrize("depth", [1, 5, 16, 17, 50])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 5 / 3])
def test_the_highest_peaks_of_smoothed_masses_are_those_of_scipys_filters(depth, sigma):
    rng = np.random.default_rng(depth)
    masses = np.where(rng.random((depth, 9, 8)) < 0.1, rng.random((depth, 9, 8)), 0)
    smooth = ndimage.gaussian_filter(masses, sigma, mode="constant", truncate=3.0)
    peaks = np.argwhere((smooth == ndimage.maximum_filter(smooth, 3, mode="constant")) & (smooth > 0))
    peaks = peaks[np.argsort(-smooth[tuple(peaks.T)], kind="stable")]
    for most, n_threads in ((1000, 1), (7, 2)):
        np.testing.assert_array_equal(smoothed_peaks(masses, sigma, most, n_threads), peaks[:most])
