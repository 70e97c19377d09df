from dataclasses import replace

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.naming_samples import NamingSampleSettings, draw_naming_views, naming_views
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingScan, generators
from vertloc.stages.scan_views import ScanViewSettings
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model
from vertloc.stages.spine_frame import spine_frames
from vertloc.vertebrae import RANK, VERTEBRAE

PRIOR = learn_shape_model([], ShapeModelSettings())
SHAPE = (100, 20, 22)
# Views are cut, and show their voxels as they are.
CUT = ScanViewSettings(cropped=0.7, narrowed=0.5, narrowest_mm=30, brightened=0, blurred=0, noisy=0, padded=0)
ALL = ScanViewSettings(cropped=1, narrowed=1, narrowest_mm=30, brightened=1, blurred=1, noisy=1, padded=1)
# Without errors of the frames, so that they can be compared; and without scatter, so that samples are the centroids.
STILL = NamingSampleSettings(tilt_degrees=0, scale_deviation=0, scatter_mm=0, views_per_scan=8, changes=CUT)


def make_scan(labels=VERTEBRAE[12:21], spacing=3.0):
    """A scan whose voxels all differ, so that a voxel tells where in the scan it lies."""
    voxels = (np.arange(np.prod(SHAPE)) - 20_000).astype(np.int16).reshape(SHAPE)
    grid = Grid(SHAPE, (spacing,) * 3, (100.0, -50.0, 20.0))
    i = np.arange(len(labels))
    index = np.stack([90 - 10.25 * i, 8 + 0.5 * i, 7 + 0.875 * i], axis=1)
    centroids = Centroids(tuple(labels), grid.to_world(index), "world")
    return TrainingScan(IsotropicVolume(voxels, grid), centroids, "p", "s")


def views_of(scan, settings=STILL, seed=0):
    return draw_naming_views(scan, PRIOR, settings, np.random.default_rng(seed))


def scan_index(view):
    """Where in the whole scan each sample of a view was taken, told by the intensity there."""
    value = view.volume.voxels[tuple(view.index.T)].astype(np.int64) + 20_000
    return np.stack(np.unravel_index(value, SHAPE), axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_samples_lie_inside_their_view_and_at_their_place_of_the_scan(seed):
    scan = make_scan()
    views = views_of(scan, seed=seed)
    assert len(views) == 8
    at = scan.volume.grid.to_index(scan.centroids.points_mm)
    for view in views:
        assert (view.index >= 0).all()
        assert (view.index < view.volume.voxels.shape).all()
        assert len(view.index) == len(view.classes) == len(view.frame)
        where = scan_index(view)
        for rank, centroid in zip(range(12, 21), at, strict=True):
            own = view.classes == rank + 1
            np.testing.assert_allclose(where[own], np.tile(np.rint(centroid), (own.sum(), 1)), atol=1)
            np.testing.assert_array_equal(view.frame[own], rank - 12)


@pytest.mark.parametrize("seed", range(3))
def test_a_changed_view_has_its_samples_at_the_centroids_in_the_world(seed):
    scan = make_scan()
    for view in views_of(scan, replace(STILL, changes=ALL), seed)[1:]:
        assert (view.index >= 0).all()
        assert (view.index < view.volume.voxels.shape).all()
        points = view.volume.grid.to_world(view.index)
        shown = view.classes != BACKGROUND
        true = scan.centroids.points_mm[view.classes[shown] - 13]
        assert np.abs(points[shown] - true).max() <= 1.5 + 1e-6
        assert shown.sum() >= 3 * STILL.samples_per_vertebra


@pytest.mark.parametrize("seed", range(2))
def test_samples_tell_the_way_to_their_centroids_in_their_own_frames(seed):
    scan = make_scan()
    settings = replace(STILL, scatter_mm=4.0, tilt_degrees=8.0, scale_deviation=0.1, changes=ALL)
    farthest = 0.0
    for view in views_of(scan, settings, seed):
        shown = view.classes != BACKGROUND
        assert not view.displacement_mm[~shown].any()
        way = np.einsum("nij,nj->ni", view.frames[view.frame], view.displacement_mm)[shown]
        points = view.volume.grid.to_world(view.index[shown].astype(float))
        np.testing.assert_allclose(points + way, scan.centroids.points_mm[view.classes[shown] - 13], atol=1e-9)
        farthest = max(farthest, np.linalg.norm(way, axis=1).max())
    assert farthest > 4


def test_the_first_view_is_the_whole_scan_and_crops_hold_successive_vertebrae():
    scan = make_scan()
    views = views_of(scan, replace(STILL, changes=replace(CUT, cropped=1, narrowed=0), views_per_scan=20))
    assert views[0].volume is scan.volume
    assert set(views[0].classes) == {BACKGROUND, *range(13, 22)}
    heights = set()
    for view in views[1:]:
        assert view.volume.voxels.shape[1:] == SHAPE[1:]
        assert view.volume.spacing_mm == scan.volume.spacing_mm
        seen = np.unique(view.classes[view.classes != BACKGROUND])
        assert len(seen) >= 3
        np.testing.assert_array_equal(np.diff(seen), 1)
        heights.add(view.volume.voxels.shape[0])
    assert len(heights) > 5


def test_a_short_chain_is_never_cropped():
    scan = make_scan(VERTEBRAE[5:8])
    for view in views_of(scan, replace(STILL, changes=replace(CUT, cropped=1, narrowed=0))):
        np.testing.assert_array_equal(view.volume.voxels, scan.volume.voxels)


def test_training_views_say_the_class_of_every_sample_in_the_order_of_the_scans():
    scans = [make_scan(), make_scan(()), replace(make_scan(VERTEBRAE[:5]), patient="q")]
    settings = replace(STILL, views_per_scan=3, changes=ALL)
    seed = np.random.SeedSequence(4)
    views = naming_views(scans, PRIOR, settings, seed)
    assert [view.patient for view in views] == ["p"] * 3 + ["q"] * 3
    drawn = [view for i in (0, 2) for view in draw_naming_views(scans[i], PRIOR, settings, generators(seed, 3)[i])]
    for view, own in zip(views, drawn, strict=True):
        assert view.targets.shape == (len(own.classes), N_CLASSES)
        assert view.targets.dtype == np.float32
        np.testing.assert_array_equal(view.targets.argmax(axis=1), own.classes)
        np.testing.assert_array_equal(view.targets.sum(axis=1), 1)
        np.testing.assert_array_equal(view.targets.max(axis=1), 1)
        np.testing.assert_array_equal(view.volume.voxels, own.volume.voxels)
    for view, again in zip(views, naming_views(scans, PRIOR, settings, seed, n_threads=3), strict=True):
        np.testing.assert_array_equal(view.index, again.index)
        np.testing.assert_array_equal(view.frames, again.frames)
        np.testing.assert_array_equal(view.displacement_mm, again.displacement_mm)
        np.testing.assert_array_equal(view.volume.voxels, again.volume.voxels)


def test_negatives_keep_their_distance_and_two_thirds_lie_near_a_centroid():
    scan = make_scan()
    settings = replace(STILL, negatives_per_view=30)
    for view in views_of(scan, settings):
        negative = view.classes == BACKGROUND
        points = scan.volume.grid.to_world(scan_index(view)[negative])
        distance = np.linalg.norm(points[:, None] - scan.centroids.points_mm, axis=2)
        nearest, distance = distance.argmin(axis=1), distance.min(axis=1)
        assert (distance >= settings.negative_from_mm).all()
        assert negative.sum() == 30
        assert (distance < settings.negative_near_mm).sum() == 20
        np.testing.assert_array_equal(view.frame[negative], nearest)


def test_frames_are_those_of_the_chain_half_of_them_mirrored():
    scan = make_scan()
    exact = spine_frames(scan.centroids.points_mm, np.arange(12, 21), PRIOR)
    mirrored = exact @ np.diag([-1.0, 1, 1])
    views = [view for seed in range(6) for view in views_of(scan, seed=seed)]
    is_mirrored = [np.allclose(view.frames, mirrored) for view in views]
    assert all(flip or np.allclose(view.frames, exact) for flip, view in zip(is_mirrored, views, strict=True))
    assert 0.25 < np.mean(is_mirrored) < 0.75


def test_a_mirrored_frame_looks_to_the_other_side_of_the_same_voxel():
    scan = make_scan()
    turned = next(view for view in views_of(scan) if np.linalg.det(view.frames[0]) < 0)
    plain = next(view for view in views_of(scan) if np.linalg.det(view.frames[0]) > 0)
    to_the_left = np.array([20.0, 0, 0])
    np.testing.assert_allclose(turned.frames @ to_the_left, -(plain.frames @ to_the_left))
    along = np.array([0, 5.0, -20.0])
    np.testing.assert_allclose(turned.frames @ along, plain.frames @ along)


def test_the_errors_of_frames_have_the_asked_spread():
    scan = make_scan()
    settings = NamingSampleSettings(tilt_degrees=6, scale_deviation=0.1, views_per_scan=100, negatives_per_view=0)
    exact = spine_frames(scan.centroids.points_mm, np.arange(12, 21), PRIOR)[0]
    frames = np.stack([view.frames[0] for seed in range(4) for view in views_of(scan, settings, seed)])
    frames[np.linalg.det(frames) < 0] @= np.diag([-1.0, 1, 1])
    errors = frames @ np.linalg.inv(exact)
    scale = np.cbrt(np.abs(np.linalg.det(errors)))
    np.testing.assert_allclose(np.log(scale).std(), 0.1, rtol=0.15)
    down = errors @ np.array([0, 0, -1.0]) / scale[:, None]
    for axis in (0, 1):
        angle = np.degrees(np.arctan2(down[:, axis], -down[:, 2]))
        np.testing.assert_allclose([angle.mean(), angle.std()], [0, 6], atol=1.2)


def test_samples_scatter_around_their_centroid():
    scan = make_scan()
    settings = replace(STILL, scatter_mm=6, samples_per_vertebra=500, views_per_scan=1, negatives_per_view=0)
    view = views_of(scan, settings)[0]
    own = scan.volume.grid.to_world(view.index[view.classes == 17]) - scan.centroids.points_mm[4]
    # Rounding to voxels adds a twelfth of a squared voxel to the variance.
    np.testing.assert_allclose(own.std(axis=0), np.sqrt(36 + 9 / 12), rtol=0.12)
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=1.7)


def test_samples_of_a_centroid_outside_the_scan_are_left_out():
    scan = make_scan()
    points = scan.centroids.points_mm.copy()
    points[0, 2] = scan.volume.grid.to_world([SHAPE[0] + 0.5, 0, 0])[0, 2]
    outside = replace(scan, centroids=Centroids(scan.centroids.labels, points, "world"))
    for view in views_of(outside):
        assert 13 not in view.classes
        assert (view.index >= 0).all()
        assert (view.index < view.volume.voxels.shape).all()


def test_without_any_of_the_26_vertebrae_there_is_no_view():
    assert views_of(make_scan(())) == []
    assert views_of(make_scan(("L6",))) == []


def test_a_lone_vertebra_has_views_in_the_patients_frame():
    views = views_of(make_scan(("L3",)))
    assert set(views[0].classes) == {BACKGROUND, RANK["L3"] + 1}
    np.testing.assert_allclose(np.abs(views[0].frames), [np.eye(3)])


@pytest.mark.parametrize(
    "wrong", [{"views_per_scan": 0}, {"scatter_mm": -1}, {"negative_from_mm": 17}, {"scale_deviation": 1}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NamingSampleSettings(**wrong)
