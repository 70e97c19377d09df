from dataclasses import replace

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.context_features import (
    STEPS_PER_HU,
    ContextFeatureSettings,
    box_corners,
    feature_values,
    make_integral_image,
)
from vertloc.stages.dense_labels import BACKGROUND
from vertloc.stages.discriminant import DiscriminantSettings, learn_discriminant
from vertloc.stages.naming import NamingSettings, name_in_spine_frame, score_shifts
from vertloc.stages.naming_samples import NamingSampleSettings, naming_views
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingScan
from vertloc.stages.scan_views import ScanViewSettings
from vertloc.stages.shape_labelling import Labelling
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.stages.spine_frame import spine_frames
from vertloc.vertebrae import RANK

PRIOR = learn_shape_model([], ShapeModelSettings())
OPTIONS = ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=12)
LEARNING = DiscriminantSettings(n_features=400, shrinkage=0.01)
# Brighter balls would be of another level.
SAMPLES = NamingSampleSettings(views_per_scan=3, scatter_mm=1.0, changes=ScanViewSettings(brightened=0.0))
LEVELS = ("T11", "T12", "L1", "L2")
INTENSITY = (-500, 100, 700, 1300)
SHAPE = (50, 16, 16)


def make_scan(seed, levels=LEVELS):
    """Balls whose intensity tells their level."""
    rng = np.random.default_rng(seed)
    grid = Grid(SHAPE, (3.0,) * 3, tuple(rng.normal(0, 100, 3)))
    index = np.stack([(44, 33, 22, 8), (7, 8, 8, 8), (8, 8, 7, 7)], axis=1) + rng.uniform(-1, 1, (4, 3))
    at = np.indices(SHAPE).reshape(3, -1).T
    voxels = np.full(len(at), -1000.0)
    for centre, intensity in zip(index, INTENSITY, strict=True):
        voxels[((at - centre) ** 2).sum(axis=1) < 5**2] = intensity
    voxels += rng.normal(0, 10, len(at))
    known = [LEVELS.index(level) for level in levels]
    centroids = Centroids(tuple(levels), grid.to_world(index[known]), "world")
    return TrainingScan(
        IsotropicVolume(voxels.astype(np.int16).reshape(SHAPE), grid), centroids, f"p{seed}", f"s{seed}"
    )


def learn(scans, n_threads=1, seed=0):
    pool_seed, sample_seed = np.random.SeedSequence(seed).spawn(2)
    views = naming_views(scans, PRIOR, SAMPLES, sample_seed, n_threads)
    return learn_discriminant(views, OPTIONS, LEARNING, pool_seed, n_threads)


SCANS = [make_scan(seed) for seed in range(20, 30)]


@pytest.fixture(scope="module")
def learnt():
    return learn(SCANS)


def name_and_correct(scan, discriminant, places_mm, chain=None, n_threads=1, **options):
    chain = scan.centroids if chain is None else chain
    first = Labelling(chain, np.arange(len(chain)), np.ones(len(chain)))
    settings = NamingSettings(**options)
    return name_in_spine_frame(scan.volume, places_mm, first, discriminant, PRIOR, settings, n_threads)


def name(*args, **options):
    return name_and_correct(*args, **options)[0]


def corrected(*args, **options):
    return name_and_correct(*args, **options)[1]


def probability(found):
    return NamingSettings().reference_probability * np.exp(found.log_odds)


@pytest.mark.parametrize("seed", range(9, 13))
def test_a_separable_problem_gets_the_right_names(learnt, seed):
    scan = make_scan(seed)
    found = name(scan, learnt, scan.centroids.points_mm, score_weight=1)
    for label, point in scan.centroids:
        here = (found.points_mm == point).all(axis=1)
        assert found.rank[here][probability(found)[here].argmax()] == RANK[label]
        assert probability(found)[here].max() > 0.8


@pytest.mark.parametrize("score_weight", [0.05, 0.3])
@pytest.mark.parametrize("place", [(22, 8, 7), (49, 7, 8), (2.4, 13.7, 9.1)])
def test_a_place_is_named_by_its_voxels_scores_in_the_frame_of_the_nearest_member(learnt, place, score_weight):
    scan = make_scan(9)
    # A chain that leans and is too long for its names, beside the spine.
    members = np.array([(44, 2, 2), (30, 7, 8), (16, 14, 12)])
    chain = Centroids(("T11", "T12", "L1"), scan.volume.grid.to_world(members), "world")
    options = {"smallest_probability": 1e-6, "score_weight": score_weight}
    found = name(scan, learnt, scan.volume.grid.to_world(place), chain, **options)
    nearest = np.linalg.norm(members - place, axis=1).argmin()
    frame = spine_frames(chain.points_mm, np.arange(17, 20), PRIOR)[nearest]
    assert np.linalg.norm(frame - np.eye(3)) > 0.3
    image = make_integral_image(scan.volume, learnt.pool.rule)
    corners, scales = box_corners(learnt.pool.transformed(frame), 3.0, image)
    values = feature_values(image, image.positions(*np.rint(place).astype(int)[:, None]), corners, scales)[0]
    scores = learnt.weights.astype(float) @ np.floor(values * STEPS_PER_HU) + learnt.offsets
    odds = np.exp(score_weight * (scores - scores.max()))
    expected = (odds / odds.sum())[BACKGROUND + 1 :]
    np.testing.assert_allclose(probability(found), expected[found.rank], rtol=1e-5)
    np.testing.assert_array_equal(found.rank, np.flatnonzero(expected >= 1e-6))
    assert len(found) > 0


def errors(scan, places_mm):
    return np.linalg.norm(places_mm - scan.centroids.points_mm, axis=1)


def test_corrected_places_lie_nearer_to_their_centroids(learnt):
    before, after = [], []
    for seed in range(40, 60):
        scan = make_scan(seed)
        missed = scan.centroids.points_mm + np.random.default_rng(seed).normal(0, 1.5, (4, 3))
        before.append(errors(scan, missed))
        after.append(errors(scan, corrected(scan, learnt, missed)))
    assert np.mean(after) < 0.8 * np.mean(before)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_place_is_moved_a_share_of_the_way_that_its_voxels_features_tell_in_its_frame(learnt, share):
    scan = make_scan(9)
    members = np.array([(44, 2, 2), (30, 7, 8), (16, 14, 12)])
    chain = Centroids(("T11", "T12", "L1"), scan.volume.grid.to_world(members), "world")
    place = scan.volume.grid.to_world((22.3, 8.4, 7.2))
    found = corrected(scan, learnt, place, chain, correction=share)
    frame = spine_frames(chain.points_mm, np.arange(17, 20), PRIOR)[1]
    image = make_integral_image(scan.volume, learnt.pool.rule)
    corners, scales = box_corners(learnt.pool.transformed(frame), 3.0, image)
    steps = np.floor(
        feature_values(image, image.positions(*np.array([[22], [8], [7]])), corners, scales) * STEPS_PER_HU
    )
    likeliest = 1 + learnt.scores(steps.T.astype(np.int16))[0, 1:].argmax()
    told = frame @ (learnt.place_weights.astype(float) @ steps[0] + learnt.place_offsets[likeliest])
    way = scan.volume.grid.to_world((22, 8, 7)) + told - place
    assert np.linalg.norm(way) > 0.5
    way *= min(1, 6 / np.linalg.norm(way))
    np.testing.assert_allclose(found, place + share * way, atol=1e-9)


def test_no_place_is_moved_far_whatever_the_features_tell(learnt):
    scan = make_scan(9)
    places = scan.volume.grid.to_world(np.random.default_rng(1).uniform(-10, 60, (30, 3)))
    wild = replace(learnt, place_offsets=learnt.place_offsets + 1000)
    moved = np.linalg.norm(corrected(scan, wild, places, correction=1.0) - places, axis=1)
    np.testing.assert_allclose(moved, 6)
    assert corrected(scan, learnt, np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_every_shift_of_a_chain_is_scored_in_the_frame_of_its_own_names(learnt, n_threads):
    scan = make_scan(11)
    chain = Labelling(scan.centroids, np.arange(4), np.ones(4))
    found = score_shifts(scan.volume, chain, learnt, PRIOR, 3, n_threads)
    assert list(found) == [-3, -2, -1, 0, 1, 2, 3]
    image = make_integral_image(scan.volume, learnt.pool.rule)
    index = np.rint(scan.volume.grid.to_index(scan.centroids.points_mm)).astype(int)
    for shift in (-3, 0, 2):
        frames = spine_frames(scan.centroids.points_mm, np.arange(17, 21) + shift, PRIOR)
        for frame, at, scores in zip(frames, index, found[shift], strict=True):
            corners, scales = box_corners(learnt.pool.transformed(frame), 3.0, image)
            values = feature_values(image, image.positions(*at[:, None]), corners, scales)[0]
            expected = learnt.weights.astype(float) @ np.floor(values * STEPS_PER_HU) + learnt.offsets
            np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


def test_shifts_past_an_end_of_the_spine_are_not_scored(learnt):
    scan = make_scan(11)
    for names, shifts in ((("C1", "C2", "C3", "C4"), [0, 1, 2]), (("L4", "L5", "S1", "S2"), [-2, -1, 0])):
        chain = Labelling(Centroids(names, scan.centroids.points_mm, "world"), np.arange(4), np.ones(4))
        assert list(score_shifts(scan.volume, chain, learnt, PRIOR, 2)) == shifts
    empty = Labelling(Centroids((), np.empty((0, 3)), "world"), np.empty(0, np.int64), np.empty(0))
    assert score_shifts(scan.volume, empty, learnt, PRIOR, 2) == {}


def test_the_first_chains_names_do_not_count_only_its_places(learnt):
    scan = make_scan(10)
    wrong = Centroids(("T12", "L1", "L2", "L3"), scan.centroids.points_mm, "world")
    right = name(scan, learnt, scan.centroids.points_mm)
    shifted = name(scan, learnt, scan.centroids.points_mm, wrong)
    for point in scan.centroids.points_mm:
        best = [
            f.rank[here][probability(f)[here].argmax()]
            for f in (right, shifted)
            for here in [(f.points_mm == point).all(axis=1)]
        ]
        assert best[0] == best[1]


def test_a_place_between_vertebrae_is_hardly_a_candidate(learnt):
    between, at = [], []
    for seed in range(9, 13):
        scan = make_scan(seed)
        points = scan.centroids.points_mm
        for places, sums in ((points, at), ((points[1:] + points[:-1]) / 2, between)):
            found = name(scan, learnt, places)
            sums += [probability(found)[(found.points_mm == place).all(axis=1)].sum() for place in places]
    assert np.mean(between) < 0.3
    assert np.mean(at) > 0.8


def test_candidates_come_by_rank_then_falling_density_above_the_smallest(learnt):
    scan = make_scan(9)
    places = scan.volume.grid.to_world(np.random.default_rng(0).uniform(0, 15, (40, 3)) * (3, 1, 1))
    for smallest in (0.001, 0.2):
        found = name(scan, learnt, places, smallest_probability=smallest)
        assert len(found) > 0
        assert (np.diff(found.rank) >= 0).all()
        assert (np.diff(probability(found))[np.diff(found.rank) == 0] <= 0).all()
        assert (probability(found) >= smallest * (1 - 1e-9)).all()
        assert (probability(found) <= 1 + 1e-9).all()
    assert (probability(name(scan, learnt, places, smallest_probability=0.5)) >= 0.5 - 1e-9).all()


def test_a_place_past_the_border_is_named_by_the_nearest_voxel(learnt):
    scan = make_scan(9)
    far, near = (scan.volume.grid.to_world([at]) for at in ((70, 8, -9), (49, 8, 0)))
    options = {"smallest_probability": 1e-6}
    lone = Centroids(("T11",), scan.centroids.points_mm[:1], "world")
    past, inside = (name(scan, learnt, place, lone, **options) for place in (far, near))
    np.testing.assert_array_equal(past.rank, inside.rank)
    np.testing.assert_array_equal(past.log_odds, inside.log_odds)
    np.testing.assert_array_equal(past.points_mm, np.tile(far, (len(past), 1)))


def test_places_far_past_the_border_do_no_harm(learnt):
    scan = make_scan(9)
    far = scan.volume.grid.to_world([(-400, 8, 8), (49, 15, 15), (900, 900, -900)])
    found = name(scan, learnt, far, smallest_probability=1e-6)
    assert np.isfinite(probability(found)).all()


def test_no_place_gives_no_candidate(learnt):
    found = name(SCANS[0], learnt, np.empty((0, 3)))
    assert len(found) == 0
    assert found.points_mm.shape == (0, 3)


def test_what_a_place_is_named_depends_on_no_other_place_and_not_on_the_threads(learnt):
    scan = make_scan(9)
    places = scan.volume.grid.to_world(np.random.default_rng(1).uniform(0, 15, (20, 3)) * (3, 1, 1))
    one, two = (name(scan, learnt, places, n_threads=n) for n in (1, 3))
    for column in ("rank", "points_mm", "log_odds"):
        np.testing.assert_array_equal(getattr(one, column), getattr(two, column))
    assert len(one) > 0
    for place in places:
        alone = name(scan, learnt, place[None])
        here = (one.points_mm == place).all(axis=1)
        np.testing.assert_array_equal(alone.rank, one.rank[here])
        np.testing.assert_array_equal(alone.log_odds, one.log_odds[here])


def test_what_is_learnt_depends_on_the_seed_and_not_on_the_threads(learnt):
    two, other = learn(SCANS, n_threads=2), learn(SCANS, seed=1)
    np.testing.assert_array_equal(two.weights, learnt.weights)
    np.testing.assert_array_equal(two.offsets, learnt.offsets)
    np.testing.assert_array_equal(two.pool.offset_mm, learnt.pool.offset_mm)
    assert len(two.pool) == LEARNING.n_features
    assert not np.array_equal(other.pool.offset_mm, learnt.pool.offset_mm)
    assert not np.array_equal(other.weights, learnt.weights)


def test_a_scan_without_any_known_vertebra_teaches_nothing_and_does_no_harm(learnt):
    unknown = replace(SCANS[0], centroids=Centroids.from_points({}, "world"))
    again = learn([*SCANS, unknown])
    np.testing.assert_array_equal(again.weights, learnt.weights)
    np.testing.assert_array_equal(again.offsets, learnt.offsets)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="smallest_probability"):
        NamingSettings(smallest_probability=0)
    with pytest.raises(ValueError, match="reference_probability"):
        NamingSettings(reference_probability=2)
    with pytest.raises(ValueError, match="score_weight"):
        NamingSettings(score_weight=0)
