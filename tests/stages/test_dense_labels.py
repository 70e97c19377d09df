import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.dense_labels import (
    BACKGROUND,
    N_CLASSES,
    DenseLabelSettings,
    background_map,
    dense_labels,
    expected_unannotated,
    label_width_mm2,
)
from vertloc.vertebrae import BODY_DIAMETER_MM, RANK, VERTEBRAE

PLAIN = DenseLabelSettings(unannotated_levels=0)


def world(**points):
    return Centroids.from_points(points, "world")


def phi(point, centroid, label, factor=1.0):
    """One half at `factor` body radii: 2 to the minus squared distance in radii."""
    radius = factor * BODY_DIAMETER_MM[label] / 2
    return 2.0 ** -(((np.array(point) - centroid) ** 2).sum() / radius**2)


def test_labels_follow_the_formula():
    centroids = world(T12=(0, 0, 0), L1=(3, -4, -28))
    points = np.array([[0, 0, 0], [5.0, 2, -12], [0, 30, -30], [200, 0, 0]])
    found = dense_labels(points, centroids, DenseLabelSettings(radius_factor=1.3, unannotated_levels=0))
    for point, row in zip(points, found.probability, strict=True):
        t12, l1 = phi(point, (0, 0, 0), "T12", 1.3), phi(point, (3, -4, -28), "L1", 1.3)
        background = 1 - max(t12, l1)
        expected = np.zeros(N_CLASSES)
        expected[[BACKGROUND, RANK["T12"] + 1, RANK["L1"] + 1]] = background, t12, l1
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-6)
    np.testing.assert_array_equal(found.weight, 1)


@given(seed=st.integers(0, 1000), n=st.integers(0, 8), unannotated=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_rows_are_distributions_and_weights_are_shares(seed, n, unannotated):
    rng = np.random.default_rng(seed)
    labels = tuple(rng.choice([*VERTEBRAE, "T13", "L6"], n, replace=False))
    centroids = Centroids(labels, rng.normal(0, 40, (n, 3)), "world")
    found = dense_labels(rng.normal(0, 40, (30, 3)), centroids, DenseLabelSettings(unannotated_levels=unannotated))
    assert found.probability.dtype == found.weight.dtype == np.float32
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, atol=1e-6)
    assert (found.probability >= 0).all()
    assert ((found.weight >= 0) & (found.weight <= 1)).all()


def test_midway_between_vertebrae_of_one_size_both_have_the_same_share():
    assert BODY_DIAMETER_MM["C4"] == BODY_DIAMETER_MM["C5"]
    found = dense_labels(np.array([[0.0, 0, -9]]), world(C4=(0, 0, 0), C5=(0, 0, -18)), PLAIN).probability[0]
    assert found[RANK["C4"] + 1] == found[RANK["C5"] + 1] > 0.2


def test_at_a_lone_centroid_nothing_is_background_and_at_the_radius_one_half():
    radius = BODY_DIAMETER_MM["L3"] / 2
    points = np.array([[0.0, 0, 0], [radius, 0, 0]])
    found = dense_labels(points, world(L3=(0, 0, 0)), PLAIN).probability[:, BACKGROUND]
    np.testing.assert_allclose(found, [0, 0.5], atol=1e-6)
    np.testing.assert_allclose(np.exp(-(radius**2) / label_width_mm2(RANK["L3"], PLAIN.radius_factor)), 0.5)


def test_without_centroids_everything_is_background_of_full_weight():
    found = dense_labels(np.zeros((3, 3)), Centroids.from_points({}), DenseLabelSettings())
    np.testing.assert_array_equal(found.probability[:, BACKGROUND], 1)
    np.testing.assert_array_equal(found.weight, 1)
    assert dense_labels(np.zeros((0, 3)), world(C1=(0, 0, 0)), PLAIN).probability.shape == (0, N_CLASSES)


def test_the_continuation_of_the_chain_loses_its_say_as_background():
    centroids = world(L1=(0, 0, 0), L2=(0, 3, -30))
    above, below = (0.0, -3, 30), (0.0, 6, -60)
    far = (0.0, 9, -90)
    found = dense_labels(
        np.array([above, below, far, (90.0, 0, 0)]), centroids, DenseLabelSettings(unannotated_levels=1)
    )
    background = found.probability[:, BACKGROUND]
    assert (background > 0.8).all()
    assert (found.weight[:2] < 0.2).all()
    assert (found.weight[2:] > 0.8).all()
    # The weight is 1 - background * phi of the unannotated.
    unannotated = phi(above, (0, -3, 30), "T12")
    strongest = max(phi(above, point, label) for label, point in centroids)
    np.testing.assert_allclose(found.weight[0], 1 - (1 - strongest) * unannotated, atol=1e-6)


def test_a_voxel_of_an_annotated_vertebra_keeps_its_weight_next_to_an_unannotated_one():
    found = dense_labels(np.zeros((1, 3)), world(L1=(0, 0, 0), L2=(0, 0, -3)), DenseLabelSettings(unannotated_levels=2))
    assert found.weight[0] == 1


def test_unannotated_vertebrae_are_expected_in_gaps_and_past_both_ends():
    centroids = world(T10=(0, 0, 0), L1=(0, 6, -60), L2=(0, 8, -90))
    found = expected_unannotated(centroids, DenseLabelSettings(unannotated_levels=2))
    # T11 and T12 in the gap; T9 and T8 continue the mean step of the gap; L3 and L4 the last one.
    expected = [(0, 2, -20), (0, 4, -40), (0, -2, 20), (0, -4, 40), (0, 10, -120), (0, 12, -150)]
    np.testing.assert_allclose(found, expected)


def test_the_chain_ends_at_c1_and_s2():
    centroids = world(C1=(0, 0, 0), C2=(0, 0, -18))
    np.testing.assert_allclose(expected_unannotated(centroids, DenseLabelSettings(unannotated_levels=1)), [(0, 0, -36)])
    centroids = world(S1=(0, 0, 0), S2=(0, 0, -18))
    np.testing.assert_allclose(expected_unannotated(centroids, DenseLabelSettings(unannotated_levels=1)), [(0, 0, 18)])


def test_a_lone_vertebra_has_no_direction_to_go_on_in():
    assert expected_unannotated(world(L1=(0, 0, 0)), DenseLabelSettings()).shape == (0, 3)
    assert expected_unannotated(Centroids.from_points({}), DenseLabelSettings()).shape == (0, 3)


@pytest.mark.parametrize(("variant", "like"), [("L6", "L5"), ("T13", "T12")])
def test_variants_label_nothing_and_their_voxels_get_no_weight(variant, like):
    point = np.array([1.0, 2, 3])
    radius = BODY_DIAMETER_MM[like] / 2
    found = dense_labels(np.stack([point, np.add(point, [radius, 0, 0])]), world(**{variant: point}), PLAIN)
    np.testing.assert_array_equal(found.probability[:, BACKGROUND], 1)
    np.testing.assert_allclose(found.weight, [0, 0.5], atol=1e-6)
    np.testing.assert_allclose(expected_unannotated(world(**{variant: point}), PLAIN), [point])


@given(seed=st.integers(0, 1000), unannotated=st.integers(0, 2), is_flipped=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_background_map_says_what_the_labels_of_all_voxels_say(seed, unannotated, is_flipped):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-1, 1)
    direction = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    direction[:, 2] *= -1 if is_flipped else 1
    grid = Grid((14, 11, 9), tuple(rng.uniform(2, 6, 3)), tuple(rng.normal(0, 50, 3)), tuple(direction.ravel()))
    names = ("L1", "L2", "L4", "L6")[: rng.integers(0, 5)]
    at = rng.uniform(-3, (17, 14, 12), (len(names), 3))
    centroids = Centroids(names, grid.to_world(at), "world")
    options = DenseLabelSettings(unannotated_levels=unannotated)
    index = np.indices(grid.shape).reshape(3, -1).T
    labels = dense_labels(grid.to_world(index), centroids, options)
    exact, cut = (background_map(grid, centroids, options, smallest) for smallest in (1e-9, 0.01))
    background = labels.probability[:, BACKGROUND].reshape(grid.shape)
    np.testing.assert_allclose(exact.probability, background, atol=1e-5)
    np.testing.assert_allclose(exact.weight, labels.weight.reshape(grid.shape), atol=1e-5)
    # What is cut off is background that counts, but for so little.
    np.testing.assert_allclose(cut.probability, background, atol=0.01 * (1 + len(names)))
    np.testing.assert_allclose(cut.weight, labels.weight.reshape(grid.shape), atol=0.02)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="radius_factor"):
        DenseLabelSettings(radius_factor=0)
    with pytest.raises(ValueError, match="unannotated_levels"):
        DenseLabelSettings(unannotated_levels=6)
