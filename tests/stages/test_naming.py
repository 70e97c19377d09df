from dataclasses import replace

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.context_features import ContextFeatureSettings
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.forest import bind_forest
from vertloc.stages.forest_growing import ForestPlan, grow_forest
from vertloc.stages.leaves import sparse_distributions
from vertloc.stages.naming import NamingSettings, name_in_spine_frame
from vertloc.stages.naming_samples import NamingSampleSettings, naming_views
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingScan
from vertloc.stages.shape_labelling import Labelling
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.stages.spine_frame import spine_frames
from vertloc.stages.tree_growing import ForestSettings, grow_classification_tree
from vertloc.vertebrae import RANK

PRIOR = learn_shape_model([], ShapeModelSettings())
OPTIONS = ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=12)
FOREST = ForestSettings(
    n_trees=6, max_depth=8, features_per_tree=60, shared_features=150, features_per_node=30, patient_share=1.0
)
SAMPLES = NamingSampleSettings(views_per_scan=2)
LEVELS = ("T11", "T12", "L1", "L2")
INTENSITY = (-300, 100, 500, 900)
SHAPE = (50, 16, 16)


def make_scan(seed, levels=LEVELS):
    """Balls whose intensity tells their level."""
    rng = np.random.default_rng(seed)
    grid = Grid(SHAPE, (3.0,) * 3, tuple(rng.normal(0, 100, 3)))
    index = np.stack([(44, 33, 22, 8), (7, 8, 8, 8), (8, 8, 7, 7)], axis=1) + rng.uniform(-1, 1, (4, 3))
    at = np.indices(SHAPE).reshape(3, -1).T
    voxels = np.full(len(at), -1000.0)
    for centre, intensity in zip(index, INTENSITY, strict=True):
        voxels[((at - centre) ** 2).sum(axis=1) < 4**2] = intensity
    voxels += rng.normal(0, 10, len(at))
    known = [LEVELS.index(level) for level in levels]
    centroids = Centroids(tuple(levels), grid.to_world(index[known]), "world")
    return TrainingScan(
        IsotropicVolume(voxels.astype(np.int16).reshape(SHAPE), grid), centroids, f"p{seed}", f"s{seed}"
    )


def grow(scans, n_threads=1, seed=0, settings=FOREST, samples=SAMPLES, on_tree=lambda: None):
    pool_seed, sample_seed, tree_seed = np.random.SeedSequence(seed).spawn(3)
    views = naming_views(scans, PRIOR, samples, sample_seed, n_threads)
    seeds = (pool_seed, tree_seed.spawn(settings.n_trees))
    plan = ForestPlan(grow_classification_tree, sparse_distributions, OPTIONS, settings, *seeds)
    return grow_forest(views, plan, n_threads, on_tree)


SCANS = [make_scan(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def forest():
    return grow(SCANS)


def name(scan, forest, places_mm, chain=None, **options):
    chain = scan.centroids if chain is None else chain
    first = Labelling(chain, np.arange(len(chain)), np.ones(len(chain)))
    return name_in_spine_frame(scan.volume, places_mm, first, forest, PRIOR, NamingSettings(**options))


def probability(found):
    return NamingSettings().reference_probability * np.exp(found.log_odds)


def test_a_separable_problem_gets_the_right_names(forest):
    scan = make_scan(9)
    found = name(scan, forest, scan.centroids.points_mm)
    for label, point in scan.centroids:
        here = (found.points_mm == point).all(axis=1)
        assert found.rank[here][probability(found)[here].argmax()] == RANK[label]
        assert probability(found)[here].max() > 0.7


@pytest.mark.parametrize(
    ("place", "around"),
    [
        ((22, 8, 7), [(22, 8, 7), (22, 8, 6), (22, 8, 8), (22, 7, 7), (22, 9, 7), (21, 8, 7), (23, 8, 7)]),
        # At the face its neighbour outside is itself.
        ((49, 7, 8), [(49, 7, 8), (49, 7, 7), (49, 7, 9), (49, 6, 8), (49, 8, 8), (48, 7, 8), (49, 7, 8)]),
    ],
)
def test_a_place_is_named_by_the_mean_answer_around_it_in_the_frame_of_the_nearest_member(forest, place, around):
    scan = make_scan(9)
    # A chain that leans and is too long for its names, beside the spine.
    chain = Centroids(("T11", "T12", "L1"), scan.volume.grid.to_world([(44, 2, 2), (30, 7, 8), (16, 14, 12)]), "world")
    found = name(scan, forest, scan.volume.grid.to_world(place), chain, smallest_probability=1e-6)
    nearest = np.linalg.norm(np.array([(44, 2, 2), (30, 7, 8), (16, 14, 12)]) - place, axis=1).argmin()
    frame = spine_frames(chain.points_mm, np.arange(17, 20), PRIOR)[nearest]
    assert np.linalg.norm(frame - np.eye(3)) > 0.3
    bound = bind_forest(forest, scan.volume).turned(frame)
    sums = bound.sums(bound.image.positions(*np.array(around).T))
    expected = sums.mean(axis=0)[BACKGROUND + 1 :] / (FOREST.n_trees * 255)
    np.testing.assert_allclose(probability(found), expected[found.rank], rtol=1e-5)
    np.testing.assert_array_equal(found.rank, np.flatnonzero(expected >= 1e-6))
    assert len(found) > 0


@pytest.mark.parametrize("balance", [0, 0.5, 1])
def test_balance_is_a_power_of_the_frequency_of_the_classes(balance):
    scans = [make_scan(0), make_scan(1, LEVELS[:2])]
    # A tree of one leaf tells the total weight of each class.
    stump = replace(FOREST, min_samples_leaf=100_000)
    samples = replace(SAMPLES, views_per_scan=1, samples_per_vertebra=5, negatives_per_view=20, scatter_mm=0)
    grown = grow(scans, settings=stump, samples=replace(samples, balance=balance))
    count = np.zeros(N_CLASSES)
    count[BACKGROUND] = 40
    count[[RANK[level] + 1 for level in LEVELS]] = 10, 10, 5, 5
    expected = np.where(count > 0, count ** (1.0 - balance), 0)
    np.testing.assert_allclose(grown.rows()[0], expected / expected.sum(), atol=1 / 255)


def test_the_first_chains_names_do_not_count_only_its_places(forest):
    scan = make_scan(9)
    wrong = Centroids(("T12", "L1", "L2", "L3"), scan.centroids.points_mm, "world")
    right = name(scan, forest, scan.centroids.points_mm)
    shifted = name(scan, forest, scan.centroids.points_mm, wrong)
    for point in scan.centroids.points_mm:
        best = [
            f.rank[here][probability(f)[here].argmax()]
            for f in (right, shifted)
            for here in [(f.points_mm == point).all(axis=1)]
        ]
        assert best[0] == best[1]


def test_a_place_between_vertebrae_is_hardly_a_candidate(forest):
    scan = make_scan(9)
    between = scan.centroids.points_mm[2:4].mean(axis=0)
    found = name(scan, forest, np.stack([between, scan.centroids.points_mm[2]]))
    here = (found.points_mm == between).all(axis=1)
    assert probability(found)[here].sum() < 0.4 < probability(found)[~here].sum()


def test_candidates_come_by_rank_then_falling_density_above_the_smallest(forest):
    scan = make_scan(9)
    places = scan.volume.grid.to_world(np.random.default_rng(0).uniform(0, 15, (40, 3)) * (3, 1, 1))
    for smallest in (0.001, 0.2):
        found = name(scan, forest, places, smallest_probability=smallest)
        assert len(found) > 0
        assert (np.diff(found.rank) >= 0).all()
        assert (np.diff(probability(found))[np.diff(found.rank) == 0] <= 0).all()
        assert (probability(found) >= smallest * (1 - 1e-9)).all()
        assert (probability(found) <= 1 + 1e-9).all()
    assert (probability(name(scan, forest, places, smallest_probability=0.5)) >= 0.5 - 1e-9).all()


def test_places_past_the_border_do_no_harm(forest):
    scan = make_scan(9)
    far = scan.volume.grid.to_world([(-400, 8, 8), (49, 15, 15), (900, 900, -900)])
    found = name(scan, forest, far, smallest_probability=1e-6)
    assert np.isfinite(probability(found)).all()


def test_no_place_gives_no_candidate(forest):
    found = name(SCANS[0], forest, np.empty((0, 3)))
    assert len(found) == 0
    assert found.points_mm.shape == (0, 3)


def test_the_forest_depends_on_its_seed_and_not_on_the_threads(forest):
    calls = []
    two = grow(SCANS, n_threads=2, on_tree=lambda: calls.append(1))
    assert len(calls) == two.n_trees == FOREST.n_trees
    for attribute in ("roots", "children", "features", "thresholds"):
        np.testing.assert_array_equal(getattr(two, attribute), getattr(forest, attribute))
    np.testing.assert_array_equal(two.rows(), forest.rows())
    np.testing.assert_array_equal(two.pool.offset_mm, forest.pool.offset_mm)
    assert len(two.pool) == 150
    other = grow(SCANS, seed=1)
    assert not np.array_equal(other.pool.offset_mm, forest.pool.offset_mm)


def test_a_pool_smaller_than_a_trees_share_is_used_whole():
    small = grow(SCANS[:2], settings=replace(FOREST, shared_features=5))
    assert len(small.pool) == 5
    assert small.features.max() < 5


def test_a_scan_without_any_known_vertebra_teaches_nothing_and_does_no_harm(forest):
    unknown = replace(SCANS[0], centroids=Centroids.from_points({}, "world"))
    grown = grow([*SCANS, unknown])
    np.testing.assert_array_equal(grown.thresholds, forest.thresholds)
    np.testing.assert_array_equal(grown.rows(), forest.rows())


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="smallest_probability"):
        NamingSettings(smallest_probability=0)
    with pytest.raises(ValueError, match="reference_probability"):
        NamingSettings(reference_probability=2)
