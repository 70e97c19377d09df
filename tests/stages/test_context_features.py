import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.geometry import Grid
from vertloc.stages.context_features import (
    STEPS_PER_HU,
    ContextFeatureSettings,
    FeaturePool,
    FeatureRule,
    IntegralImage,
    box_corners,
    draw_feature_pool,
    feature_values,
    fill_feature_columns,
    join_pools,
    make_integral_image,
    thresholds_in_hu,
)
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.spine_frame import rotation


def volume_of(voxels, spacing=3.0):
    return IsotropicVolume(voxels.astype(np.int16), Grid(voxels.shape, (spacing,) * 3))


def values_at(volume, pool, index):
    image = make_integral_image(volume, pool.rule)
    corners, scales = box_corners(pool, volume.spacing_mm, image)
    return feature_values(image, image.positions(*np.array(index).reshape(-1, 3).T), corners, scales)


def single(offset_mm, size_mm, **rule):
    offset, size = np.zeros((1, 2, 3), np.float32), np.zeros((1, 2, 3), np.float32)
    offset[0, 0], size[0, 0] = offset_mm, size_mm
    return FeaturePool(offset, size, FeatureRule(**rule))


def test_a_pool_has_the_asked_shares_of_kinds_and_keeps_its_ranges():
    options = ContextFeatureSettings(
        largest_offset_mm=50, smallest_size_mm=4, largest_size_mm=20, single_share=0.5, local_share=0.2, near_share=0.25
    )
    pool = draw_feature_pool(20_000, options, np.random.default_rng(0))
    is_single = (pool.size_mm[:, 1] == 0).all(axis=1)
    is_local = (pool.size_mm[:, 1] > 0).all(axis=1) & (pool.size_mm[:, 1] < 0.5).all(axis=1)
    np.testing.assert_allclose([is_single.mean(), is_local.mean()], [0.5, 0.2], atol=0.015)
    assert (pool.offset_mm[is_single | is_local, 1] == 0).all()
    is_two = ~(is_single | is_local)
    boxes = np.concatenate([pool.size_mm[:, 0], pool.size_mm[is_two, 1]])
    assert boxes.min() >= 4 * (1 - 1e-6)
    assert boxes.max() <= 20 * (1 + 1e-6)
    # Log-uniform: half the edges lie below the geometric mean.
    np.testing.assert_allclose((boxes < np.sqrt(80)).mean(), 0.5, atol=0.02)
    assert np.abs(pool.offset_mm).max() <= 50 * (1 + 1e-6)
    # Half of the near offsets fall below sqrt(1 * 50) mm, and of the uniform ones a share of sqrt(50) / 50.
    expected = 0.25 * 0.5 + 0.75 * np.sqrt(50) / 50
    np.testing.assert_allclose((np.abs(pool.offset_mm[:, 0]) < np.sqrt(50)).mean(), expected, atol=0.02)


def test_the_same_generator_gives_the_same_pool():
    pools = [draw_feature_pool(9, ContextFeatureSettings(), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(pools[0].offset_mm, pools[1].offset_mm)
    np.testing.assert_array_equal(pools[0].size_mm, pools[1].size_mm)
    assert (pools[0].offset_mm != pools[2].offset_mm).any()


def boxes_of(pool, is_used=slice(None)):
    return np.unique(np.concatenate([pool.offset_mm, pool.size_mm], axis=2)[is_used].reshape(-1, 6), axis=0)


@pytest.mark.parametrize(("share", "n_boxes"), [(0.25, 25), (1, 100), (2, 200)])
def test_features_share_as_few_boxes_as_the_settings_say(share, n_boxes):
    options = ContextFeatureSettings(boxes_per_feature=share, single_share=0, local_share=0)
    pool = draw_feature_pool(100, options, np.random.default_rng(0))
    assert len(boxes_of(pool)) == len(pool.distinct_boxes[0]) <= n_boxes
    assert len(boxes_of(pool)) > 0.8 * n_boxes
    assert not (pool.offset_mm[:, 0] == pool.offset_mm[:, 1]).all(axis=1).any()
    two = draw_feature_pool(2, ContextFeatureSettings(boxes_per_feature=0.01), np.random.default_rng(0))
    assert len(two) == 2


def test_the_distinct_boxes_give_back_all_boxes():
    pool = draw_feature_pool(40, ContextFeatureSettings(boxes_per_feature=0.5), np.random.default_rng(0))
    offset_mm, size_mm, which = pool.distinct_boxes
    np.testing.assert_array_equal(offset_mm[which, 0], pool.offset_mm)
    np.testing.assert_array_equal(size_mm[which, 0], pool.size_mm)


@pytest.mark.parametrize("share", [0.3, 2])
@pytest.mark.parametrize("frame", [None, 1.1 * rotation(0.2, -0.3)])
def test_columns_hold_the_values_rounded_down_to_steps(share, frame):
    rng = np.random.default_rng(0)
    volume = volume_of(rng.integers(-1000, 8000, (12, 10, 11)))
    options = ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=12, boxes_per_feature=share)
    pool = draw_feature_pool(30, options, rng)
    index = rng.integers(0, (12, 10, 11), (25, 3))
    image = make_integral_image(volume, pool.rule)
    columns = np.empty((30, 40), np.int16)
    fill_feature_columns(image, image.positions(*index.T), pool, 3.0, columns[:, 7:32], frame)
    values = values_at(volume, pool if frame is None else pool.transformed(frame), index).T
    np.testing.assert_array_equal(columns[:, 7:32], np.clip(np.floor(values * STEPS_PER_HU), -32768, 32767))
    assert (columns[:, 7:32] == 32767).any()


@given(
    value=st.floats(-5000, 5000, width=32) | st.integers(-40_000, 40_000).map(lambda step: step / 8),
    step=st.integers(-32768, 32766),
    near=st.integers(-2, 2) | st.none(),
)
@settings(max_examples=300, deadline=None)
def test_a_threshold_in_hu_splits_values_as_the_one_in_steps_does(value, step, near):
    value = np.float32(value)
    in_steps = np.clip(np.floor(value * np.float32(8)), -32768, 32767)
    if near is not None:
        step = int(np.clip(in_steps + near, -32768, 32766))
    threshold = thresholds_in_hu(np.array([step], np.int16))[0]
    assert (value <= threshold) == (in_steps <= step)


def test_a_feature_measures_millimetres_whatever_the_voxel_size():
    # The same ramp of intensities, sampled at two spacings, from the same world point.
    found = []
    for spacing, n in ((2.0, 61), (6.0, 21)):
        z, y, x = np.indices((n, n, n)) * spacing - 60
        volume = volume_of(3 * x + 5 * y - 2 * z, spacing)
        pool = single((6, -18, 24), (18, 30, 42), largest_offset_mm=30)
        found.append(values_at(volume, pool, [[n // 2] * 3])[0, 0])
    np.testing.assert_allclose(found, 1000 + 3 * 6 - 5 * 18 - 2 * 24, rtol=1e-5)


def test_box_a_minus_the_local_value_reads_the_voxel_itself():
    voxels = np.random.default_rng(0).integers(-500, 500, (7, 7, 7))
    pool = single((0, 0, 3), (3, 3, 3), largest_offset_mm=10)
    pool.size_mm[0, 1] = 1e-3
    found = values_at(volume_of(voxels), pool, [[3, 2, 1], [6, 0, 0]])
    # Upwards of the topmost voxel lies the topmost voxel again.
    np.testing.assert_array_equal(found[:, 0], [voxels[4, 2, 1] - voxels[3, 2, 1], 0])


@pytest.mark.parametrize(("outside", "expected"), [("replicate", 700 + 1000), ("constant", 0)])
def test_the_outside_follows_its_rule(outside, expected):
    pool = single((40, 0, 0), (9, 9, 9), largest_offset_mm=40, outside=outside, outside_hu=-1000)
    found = values_at(volume_of(np.full((5, 5, 5), 700)), pool, [[2, 2, 2]])
    assert found[0, 0] == expected


@pytest.mark.parametrize("outside", ["replicate", "constant"])
@pytest.mark.parametrize("window", [(-150, 350), (-4096, 100), (600, 16384), (5000, 6000)])
def test_a_window_clips_intensities_before_boxes_are_averaged(outside, window):
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 3072, (8, 9, 7))
    low, high = window
    index = rng.integers(0, voxels.shape, (20, 3))
    options = {"outside": outside, "largest_offset_mm": 15, "largest_size_mm": 12, "single_share": 0.5}
    clipped = ContextFeatureSettings(**options, lowest_hu=low, highest_hu=high)
    plain = ContextFeatureSettings(**options, outside_hu=np.clip(-1000, low, high))
    found, expected = (
        values_at(volume_of(v), draw_feature_pool(30, settings, np.random.default_rng(1)), index)
        for v, settings in ((voxels, clipped), (np.clip(voxels, low, high), plain))
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("outside_hu", "counts_as"), [(-1000, -150), (40, 40), (3000, 350)])
def test_a_constant_outside_is_clipped_into_the_window_too(outside_hu, counts_as):
    rule = {"outside": "constant", "outside_hu": outside_hu, "lowest_hu": -150, "highest_hu": 350}
    pool = single((40, 0, 0), (9, 9, 9), largest_offset_mm=40, **rule)
    pool.size_mm[0, 1] = 1e-3  # minus the voxel itself
    found = values_at(volume_of(np.full((5, 5, 5), 100)), pool, [[2, 2, 2]])
    assert found[0, 0] == counts_as - 100


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
    spacing=st.sampled_from([0.5, 1.7, 3.0, 20.0]),
    offset=st.sampled_from([1.0, 9.0, 60.0]),
    size=st.sampled_from([0.5, 10.0, 60.0]),
    scale=st.floats(0.2, 4),
    tilt=st.floats(-1, 1),
    bend=st.floats(-1, 1),
)
@settings(max_examples=60, deadline=None)
def test_no_box_leaves_the_padded_image_however_its_frame_is_turned_and_scaled(
    shape, spacing, offset, size, scale, tilt, bend
):
    options = ContextFeatureSettings(largest_offset_mm=offset, smallest_size_mm=0.5, largest_size_mm=size)
    pool = draw_feature_pool(40, options, np.random.default_rng(0)).transformed(scale * rotation(tilt, bend))
    assert_inside(pool, shape, spacing, pool.rule.padding(spacing))


def assert_inside(pool, shape, spacing, pad):
    """Every corner of every box, seen from the first and the last voxel, is a cell of the integral image."""
    padded = tuple(n + 2 * pad + 1 for n in shape)
    image = IntegralImage(np.broadcast_to(np.int32(0), padded), pad, 0)
    corners, scales = box_corners(pool, spacing, image)
    for voxel in (np.zeros(3, np.int64), np.array(shape) - 1):
        at = corners + image.positions(*voxel[:, None]).astype(np.int64)
        assert at.min() >= 0
        assert at.max() < np.prod(padded)
        # No box wraps around a row either: the edges between its corners give its number of voxels.
        z, y, x = np.unravel_index(at.reshape(-1, 2, 8), padded)
        voxels = np.prod([np.ptp(axis, axis=2) for axis in (z, y, x)], axis=0)
        np.testing.assert_allclose(np.where(scales > 0, scales * voxels, 1), 1, rtol=1e-6)


def test_positions_are_as_narrow_as_the_size_of_the_image_allows():
    for shape, expected in (((2**16, 2**8, 2**8 - 1), np.uint32), ((2**16, 2**8, 2**8), np.uint64)):
        image = IntegralImage(np.broadcast_to(np.int32(0), shape), 0, 0)
        last = tuple(np.array([n - 1]) for n in shape)
        for found in (image.positions(*last), image.positions_of(np.array([np.prod(shape) - 1]), shape)):
            assert found.dtype == expected
        assert image.positions(*last)[0] == np.prod(shape) - 1


def test_the_integral_image_is_as_large_as_the_padding_says():
    rule = FeatureRule(largest_offset_mm=7, largest_size_mm=10)
    image = make_integral_image(volume_of(np.zeros((4, 5, 6))), rule, 1, 2)
    pad = rule.padding(3.0)
    assert pad * 3.0 >= rule.reach_mm
    assert (image.pad, image.z_first, image.sums.shape) == (pad, 1, (3 + 2 * pad, 6 + 2 * pad, 7 + 2 * pad))


def test_a_pool_that_reaches_further_than_its_rule_is_cut_at_the_padding():
    # A crafted model file may hold such a pool; reading past the image would be reading foreign memory.
    rule = FeatureRule(largest_offset_mm=5, largest_size_mm=5)
    rng = np.random.default_rng(0)
    offset, size = rng.uniform(-1000, 1000, (200, 2, 3)), rng.uniform(0, 1000, (200, 2, 3))
    pool = FeaturePool(offset.astype(np.float32), size.astype(np.float32), rule)
    assert_inside(pool, (3, 2, 4), 3.0, rule.padding(3.0))


def test_joined_pools_line_up_their_features():
    first, second = (draw_feature_pool(n, ContextFeatureSettings(), np.random.default_rng(n)) for n in (5, 7))
    joined = join_pools([first, second])
    np.testing.assert_array_equal(joined.offset_mm, np.concatenate([first.offset_mm, second.offset_mm]))
    np.testing.assert_array_equal(joined.size_mm, np.concatenate([first.size_mm, second.size_mm]))


def test_a_transformed_pool_has_turned_offsets_and_scaled_sizes():
    pool = draw_feature_pool(6, ContextFeatureSettings(), np.random.default_rng(0))
    matrix = 1.2 * rotation(0.3, -0.2) @ np.diag([-1.0, 1.0, 1.0])
    turned = pool.transformed(matrix)
    for k in range(6):
        for box in range(2):
            np.testing.assert_allclose(turned.offset_mm[k, box], matrix @ pool.offset_mm[k, box], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(turned.size_mm, 1.2 * pool.size_mm, rtol=1e-6)
    # No box B stays no box B.
    np.testing.assert_array_equal(turned.size_mm == 0, pool.size_mm == 0)
    same = pool.transformed(np.eye(3))
    np.testing.assert_array_equal(same.offset_mm, pool.offset_mm)
    np.testing.assert_allclose(same.size_mm, pool.size_mm, rtol=1e-6)


def test_a_pool_keeps_the_rule_of_the_settings_it_was_drawn_with():
    options = ContextFeatureSettings(
        largest_offset_mm=33, largest_size_mm=21, outside="constant", outside_hu=-500, lowest_hu=-150, highest_hu=350
    )
    assert options.rule == FeatureRule(33, 21, "constant", -500, -150, 350)
    pool = draw_feature_pool(6, options, np.random.default_rng(0))
    for other in (pool, pool.transformed(np.eye(3)), join_pools([pool, pool])):
        assert other.rule == options.rule


def test_slabs_read_the_same_values_as_the_whole_image():
    voxels = np.random.default_rng(0).integers(-1000, 1500, (20, 6, 7))
    volume, options = volume_of(voxels), ContextFeatureSettings(largest_offset_mm=20, largest_size_mm=12)
    pool = draw_feature_pool(15, options, np.random.default_rng(1))
    whole = values_at(volume, pool, [[9, 3, 2], [11, 0, 6]])
    image = make_integral_image(volume, pool.rule, 9, 3)
    corners, scales = box_corners(pool, 3.0, image)
    positions = image.positions(np.array([9, 11]), np.array([3, 0]), np.array([2, 6]))
    np.testing.assert_array_equal(feature_values(image, positions, corners, scales), whole)


@pytest.mark.parametrize(
    "wrong",
    [
        {"largest_offset_mm": 0},
        {"boxes_per_feature": 0},
        {"boxes_per_feature": 2.1},
        {"smallest_size_mm": 50},
        {"largest_size_mm": 300},
        {"single_share": 0.9, "local_share": 0.2},
        {"near_share": -0.1},
        {"outside": "mirror"},
        {"lowest_hu": 400, "highest_hu": 400},
        {"highest_hu": 20_000},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ContextFeatureSettings(**wrong)
