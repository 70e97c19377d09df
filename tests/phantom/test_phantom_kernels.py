import numpy as np
import pytest

from vertloc.phantom.kernels.scanner import back_project, finish_slices, project_slice
from vertloc.phantom.kernels.sections import OUTSIDE_HU, paint_sections
from vertloc.phantom.kernels.solids import paint_solids
from vertloc.phantom.solids import Frame, Solid, body, capsule, ellipsoid, solid_table

ORIGIN = np.array([-14.0, -13.0, -12.0])
SPACING = np.array([1.0, 1.0, 1.5])
SHAPE = (17, 27, 29)
PLAIN = np.zeros((64, 64, 64), np.float32)


def paint(solids, spacing=SPACING, shape=SHAPE, origin=ORIGIN):
    voxels = np.full(shape, np.float32(0))
    table = solid_table(solids)
    paint_solids(voxels, origin, spacing, table.primitives, table.boxes, table.starts, table.tissues, PLAIN)
    return voxels


def points_of(shape, origin, spacing):
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return np.stack([x, y, z], axis=-1) * spacing + origin


def tilted_frame():
    s, c = np.sin(0.4), np.cos(0.4)
    return Frame(np.array([0.5, -1.0, 0.7]), np.array([[1, 0, 0], [0, c, s], [0, -s, c]], dtype=float))


def test_a_capsule_is_painted_where_the_distance_to_its_axis_is_below_its_radius():
    frame = tilted_frame()
    a, b, radius = np.array([-6.0, 0.0, -2.0]), np.array([5.0, 3.0, 4.0]), 3.2
    voxels = paint([Solid((capsule(frame, a, b, radius),), 100.0, 100.0, blend_mm=0.0)])
    points = (points_of(SHAPE, ORIGIN, SPACING) - frame.centre_mm) @ frame.axes.T
    along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    distance = np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1) - radius
    np.testing.assert_array_equal(voxels[distance < -0.95], 100)
    np.testing.assert_array_equal(voxels[distance > 0.95], 0)
    assert voxels.sum() / 100 == pytest.approx(np.sum(distance < 0), rel=0.05)


def test_an_ellipsoid_fills_its_volume():
    voxels = paint([Solid((ellipsoid(tilted_frame(), (0, 0, 0), (9.0, 6.0, 7.0)),), 100.0, 100.0)])
    assert voxels.sum() / 100 * SPACING.prod() == pytest.approx(4 / 3 * np.pi * 9 * 6 * 7, rel=0.03)


def test_a_body_has_a_shell_of_cortex_around_its_spongiosa_and_the_stated_heights():
    frame = Frame(np.zeros(3), np.eye(3))
    plain = body(frame, (10.0, 8.0), (5.0, 7.0), waist=0.0, concavity_mm=0.0, hollow=0.0, shell_mm=2.0)
    spacing = np.array([0.5, 0.5, 0.5])
    voxels = paint(
        [Solid((plain,), 500.0, 100.0, blend_mm=0.0)], spacing, (40, 60, 60), np.array([-15.0, -15.0, -10.0])
    )
    centre = voxels[:, 30, 30]
    assert centre[20] == 100
    assert centre[20 + 11] == 500  # 5.5 mm above the middle, 0.5 mm below the upper endplate
    assert centre[20 + 13] == 0
    front, back = voxels[:, 30 - 14, 30], voxels[:, 30 + 14, 30]
    assert np.sum(back > 50) > np.sum(front > 50)


def test_a_carved_primitive_leaves_what_was_painted_before():
    frame = Frame(np.zeros(3), np.eye(3))
    hole = capsule(frame, (0, 0, -20), (0, 0, 20), 3.0, carve=True)
    voxels = paint([Solid((hole, ellipsoid(frame, (0, 0, 0), (8.0, 8.0, 8.0))), 100.0, 100.0)])
    assert voxels[8, 13, 14] == 0
    assert voxels[8, 13, 14 + 6] == 100


def test_solids_outside_the_volume_leave_it_alone():
    far = Frame(np.array([200.0, 0.0, 0.0]), np.eye(3))
    assert not paint([Solid((ellipsoid(far, (0, 0, 0), (5.0, 5.0, 5.0)),), 100.0, 100.0), Solid((), 1.0, 1.0)]).any()


def test_a_solid_cut_by_the_volume_is_the_same_as_in_a_larger_volume():
    solids = [Solid((ellipsoid(tilted_frame(), (3, -4, 5), (9.0, 6.0, 7.0)),), 500.0, 100.0, densening=0.3)]
    whole = paint(solids)
    part = paint(solids, shape=(9, 12, 14), origin=ORIGIN + SPACING * np.array([12, 5, 8]))
    np.testing.assert_array_equal(part, whole[8:17, 5:17, 12:26])


def test_sections_agree_with_a_slow_twin():
    rng = np.random.default_rng(0)
    sections = np.zeros((4, 5, 7))
    sections[..., 0], sections[..., 1] = rng.uniform(-6, 6, (4, 5)), rng.uniform(-6, 6, (4, 5))
    sections[..., 2], sections[..., 3] = rng.uniform(2, 9, (4, 5)), rng.uniform(2, 9, (4, 5))
    angle = rng.uniform(-1, 1, (4, 5))
    sections[..., 4], sections[..., 5], sections[..., 6] = np.cos(angle), np.sin(angle), rng.uniform(0, 1, (4, 5))
    sections[1, 2, 2] = 0.0
    tissues = np.array([[10.0, 0, 1], [50.0, 0, 1], [-80.0, 0, 1], [40.0, 0, 1]])
    skin = 1
    origin, spacing = np.array([-12.0, -12.0, 0.0]), np.array([0.8, 0.8, 2.0])
    voxels = np.full((5, 31, 31), OUTSIDE_HU)
    expected = voxels.astype(float)
    paint_sections(voxels, origin, spacing, sections, tissues, skin, PLAIN, 0, 5)
    points = points_of((1, 31, 31), origin, spacing)[0]
    for z in range(5):
        body = np.zeros((31, 31), bool)
        for i, (section, tissue) in enumerate(zip(sections[:, z], tissues, strict=True)):
            if section[2] <= 0:
                continue
            dx, dy = points[..., 0] - section[0], points[..., 1] - section[1]
            u = (dx * section[4] + dy * section[5]) / section[2]
            v = (dy * section[4] - dx * section[5]) / section[3]
            gauge = (u**4 + v**4 + 2 * (1 - section[6]) * u**2 * v**2) ** 0.25
            distance = np.hypot(dx, dy) * (1 - 1 / np.maximum(gauge, 1e-9))
            edge = 0.8 / min(section[2], section[3])
            cover = np.where(
                gauge <= 1 - edge, 1.0, np.where(gauge >= 1 + edge, 0.0, np.clip(0.5 - distance / 0.8, 0, 1))
            )
            if i == skin:
                body = gauge < 1
            if i > skin:
                cover[~body] = 0
            expected[z] = cover * tissue[0] + (1 - cover) * expected[z]
    np.testing.assert_allclose(voxels, expected, atol=1e-2)


def test_finished_slices_are_rounded_and_kept_within_twelve_bits():
    voxels = np.full((2, 3, 3), np.float32(0.4))
    voxels[0, 0, 0], voxels[0, 0, 1] = 9000, -2000
    planes = np.ones((1, 4, 4), np.float32)
    out = np.zeros(voxels.shape, np.int16)
    finish_slices(voxels, planes, np.zeros((2, 3), np.int64), np.array([0.0, 2.2], np.float32), 0, 2, out)
    assert (out[0, 0, 0], out[0, 0, 1], out[0, 1, 1], out[1, 1, 1]) == (3071, -1024, 0, 3)


def test_projection_keeps_the_mass_of_an_image_and_back_projection_is_its_transpose():
    rng = np.random.default_rng(1)
    image = np.where(rng.random((12, 12)) < 0.3, rng.random((12, 12)), 0.0)
    angles = np.arange(8) * np.pi / 8
    path = np.zeros((8, 25))
    project_slice(image, angles, path)
    np.testing.assert_allclose(path.sum(axis=1), image.sum())
    rays = rng.random((8, 25))
    spread = np.zeros((12, 12))
    back_project(rays, np.cos(angles), np.sin(angles), spread)
    np.testing.assert_allclose((spread * image).sum(), (rays * path).sum(), rtol=1e-10)
