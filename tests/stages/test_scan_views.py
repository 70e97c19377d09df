"""Views of a scan: what they keep, and that they stay in the scan's own frame."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.geometry import Grid
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.scan_views import ScanViewSettings, draw_scan_view

UNCHANGED = {"cropped": 0.0, "narrowed": 0.0, "brightened": 0.0, "blurred": 0.0, "noisy": 0.0, "padded": 0.0}
SHAPE = (80, 60, 60)


def make_scan(seed=0):
    rng = np.random.default_rng(seed)
    grid = Grid(SHAPE, (3.0,) * 3, (-40.0, 12.0, 300.0))
    voxels = rng.integers(-900, 1200, SHAPE).astype(np.int16)
    index = np.stack([np.linspace(72, 6, 9), rng.uniform(27, 33, 9), rng.uniform(27, 33, 9)], axis=1)
    return IsotropicVolume(voxels, grid), grid.to_world(index)


def view_of(seed=0, **changes):
    volume, points, drawn = drawn_view(seed, **changes)
    return volume, points, drawn.volume


def drawn_view(seed=0, **changes):
    volume, points = make_scan()
    how = ScanViewSettings(**(UNCHANGED | changes))
    return volume, points, draw_scan_view(volume, points, how, np.random.default_rng(seed))


def test_without_changes_a_view_is_the_scan():
    volume, _, view = view_of()
    np.testing.assert_array_equal(view.voxels, volume.voxels)
    assert view.grid == volume.grid


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_and_padded_view_shows_the_same_voxels_at_the_same_world_points(seed):
    volume, _, view = view_of(seed, cropped=0.7, narrowed=0.7, padded=0.7)
    # No voxel of the scan is as dark as air: what is brighter is a box of the scan's own voxels.
    kept = np.argwhere(view.voxels > -1000)
    low, end = kept.min(axis=0), kept.max(axis=0) + 1
    assert len(kept) == np.prod(end - low)
    there = np.rint(volume.grid.to_index(view.grid.to_world(low[None])))[0].astype(int)
    np.testing.assert_array_equal(
        view.voxels[tuple(map(slice, low, end))], volume.voxels[tuple(map(slice, there, there + end - low))]
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_crop_keeps_three_to_twelve_neighbours_and_a_margin(seed):
    volume, points, view = view_of(seed, cropped=1.0)
    z = view.grid.to_index(points)[:, 0]
    shown = (z >= 0) & (z <= view.voxels.shape[0] - 1)
    assert 3 <= shown.sum() <= 9
    assert (np.diff(np.flatnonzero(shown)) == 1).all()
    assert view.voxels.shape[1:] == volume.voxels.shape[1:]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_centroid_that_was_cut_off_is_not_shown_even_where_air_was_put(seed):
    _, points, drawn = drawn_view(seed, cropped=1.0, narrowed=1.0, padded=1.0, largest_padding_mm=100.0)
    index = np.rint(drawn.volume.grid.to_index(points)).astype(int)
    inside = ((index >= 0) & (index < drawn.volume.voxels.shape)).all(axis=1)
    # No voxel of the scan is as dark as air.
    is_scan = np.array([ok and drawn.volume.voxels[tuple(at)] > -1000 for ok, at in zip(inside, index, strict=True)])
    assert drawn.is_shown.sum() >= 3
    assert is_scan[drawn.is_shown].all()
    at_border = drawn.is_shown != is_scan  # by less than half a voxel
    assert at_border.sum() <= 2


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_narrow_view_keeps_every_centroid_with_its_surroundings(seed):
    _, points, view = view_of(seed, narrowed=1.0, narrowest_mm=60.0, widest_mm=120.0)
    at = view.grid.to_index(points)[:, 1:]
    beside = 12.0 / 3 - 1
    assert (at >= beside).all()
    assert (at <= np.array(view.voxels.shape[1:]) - 1 - beside).all()
    assert (np.array(view.voxels.shape[1:]) * 3 <= 120 + 2 * 3 + 6).all()


def test_noise_has_at_most_the_deviation_that_is_set_and_blur_lowers_contrast():
    volume, _, noisy = view_of(3, noisy=1.0, largest_noise_hu=40.0)
    added = noisy.voxels.astype(float) - volume.voxels
    assert 9 < added.std() < 41
    assert abs(added.mean()) < 1
    _, _, blurred = view_of(3, blurred=1.0)
    assert blurred.voxels.shape == volume.voxels.shape
    assert blurred.voxels.std() < 0.8 * volume.voxels.std()
    assert abs(blurred.voxels.mean() - volume.voxels.mean()) < 10


def test_blur_is_the_mean_of_neighbouring_slices():
    volume, _, view = view_of(0, blurred=1.0)
    whole = volume.voxels.astype(float)
    means = [np.mean([whole[z + k] for k in (-1, 0)], axis=0) for z in (10, 20)]
    wider = [np.mean([whole[z + k] for k in (-1, 0, 1)], axis=0) for z in (10, 20)]
    assert any(np.abs(view.voxels[[10, 20]] - candidate).max() <= 1 for candidate in (means, wider))


def test_only_bone_and_soft_tissue_are_brightened():
    volume, _, view = view_of(2, brightened=1.0)
    dark = volume.voxels <= 0
    np.testing.assert_array_equal(view.voxels[dark], volume.voxels[dark])
    ratio = view.voxels[volume.voxels > 500] / volume.voxels[volume.voxels > 500]
    assert np.ptp(ratio) < 0.01
    assert 0.84 < ratio.mean() < 1.21


def test_the_same_seed_draws_the_same_view():
    changes = dict.fromkeys(UNCHANGED, 1.0)
    _, _, view = view_of(5, **changes)
    _, _, again = view_of(5, **changes)
    np.testing.assert_array_equal(view.voxels, again.voxels)
    assert view.grid == again.grid


def test_the_narrowest_field_is_no_wider_than_the_widest():
    with pytest.raises(ValueError, match="narrowest_mm <= widest_mm must hold"):
        ScanViewSettings(narrowest_mm=200.0, widest_mm=100.0)
