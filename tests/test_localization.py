from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage
from scipy.spatial.transform import Rotation
from toy import AIR, TOY_LEVELS, write_toy_cohort

from vertloc import models
from vertloc.errors import ImageError, ModelError, VertlocError
from vertloc.geometry import Grid
from vertloc.io.images import as_volume, write_image
from vertloc.localization import localize
from vertloc.model import save_model
from vertloc.vertebrae import VERTEBRAE
from vertloc.volume import Volume


def errors_mm(found, truth):
    assert found.labels == truth.labels
    return np.linalg.norm(found.points_mm - truth.points_mm, axis=1)


def assert_consistent(found, grid):
    """What holds for every result, empty ones included."""
    n = len(found.labels)
    assert found.world.labels == found.local.labels == found.labels
    assert (found.world.frame, found.local.frame) == ("world", "local")
    np.testing.assert_allclose(found.local.to_world(grid).points_mm, found.world.points_mm, atol=1e-9)
    assert found.confidence.shape == found.log_odds.shape == (n,)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    ranks = [VERTEBRAE.index(label) for label in found.labels]
    assert ranks == sorted(set(ranks))
    places = {tuple(point) for point in found.candidates.points_mm}
    assert {tuple(point) for point in found.world.points_mm} <= places
    # Places are corrected once, by 0.6 of at most 6 mm.
    apart = np.linalg.norm(found.candidates.points_mm[:, None] - found.proposals.points_mm[None], axis=2)
    assert (apart.min(axis=1, initial=np.inf) < 3.6 + 1e-6).all()


def test_a_patient_that_the_model_never_saw_is_labelled(toy_model, toy_scans):
    scan = toy_scans[5]
    found = localize(scan.volume, toy_model)
    assert found.labels == TOY_LEVELS
    assert errors_mm(found.world, scan.centroids).max() < 3
    assert (found.confidence > 0.5).all()
    assert_consistent(found, scan.volume.grid)


def test_without_a_model_the_packaged_one_is_used(toy_model, toy_scans, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_FOLDER", tmp_path)
    with pytest.raises(ModelError, match="comes without a model"):
        localize(toy_scans[5].volume)
    save_model(toy_model, tmp_path / f"{models.DEFAULT}.npz")
    assert_same(localize(toy_scans[5].volume), localize(toy_scans[5].volume, toy_model))


def test_landmarks_are_the_same_to_the_last_bit_on_any_number_of_jobs(toy_model, toy_scans):
    assert_same(*(localize(toy_scans[5].volume, toy_model, n_jobs) for n_jobs in (1, 2)))


def assert_same(one, two):
    assert one.labels == two.labels
    for name in ("confidence", "log_odds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.world.points_mm, two.world.points_mm)
    np.testing.assert_array_equal(one.local.points_mm, two.local.points_mm)
    for name in ("candidates", "proposals"):
        for column in ("rank", "points_mm", "log_odds"):
            np.testing.assert_array_equal(getattr(getattr(one, name), column), getattr(getattr(two, name), column))


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (True, True, True)), ((2, 0, 1), (False, True, False)), ((1, 2, 0), (True, False, False))],
)
def test_a_flipped_and_permuted_storage_gives_the_same_world_points(toy_model, toy_scans, axes, flips):
    scan = toy_scans[5]
    upright = localize(scan.volume, toy_model)
    grid = scan.volume.grid.permuted(axes, flips)
    voxels = np.transpose(scan.volume.voxels, axes)[tuple(slice(None, None, -1 if f else 1) for f in flips)]
    stored = localize(Volume(voxels, grid), toy_model)
    assert errors_mm(stored.world, upright.world).max() < 0.5
    assert_consistent(stored, grid)
    # The local frame follows the storage: index times spacing in the stored order.
    index = grid.to_index(upright.world.points_mm)
    np.testing.assert_allclose(stored.local.points_mm, index[:, ::-1] * grid.spacing_mm, atol=0.5)


def test_an_oblique_anisotropic_storage_gives_the_same_world_points(toy_model, toy_scans):
    volume = toy_scans[5].volume
    direction = Rotation.from_euler("xyz", (12, -8, 15), degrees=True).as_matrix()
    size_mm = 1.25 * np.array(volume.grid.extent_mm)
    spacing = np.array([2.5, 2.0, 3.5])
    shape = tuple(int(n) for n in np.ceil(size_mm / spacing)[::-1])
    middle = volume.grid.to_world((np.array(volume.grid.shape) - 1) / 2)[0]
    origin = middle - direction @ ((np.array(shape[::-1]) - 1) / 2 * spacing)
    grid = Grid(shape, tuple(spacing), tuple(origin), tuple(direction.ravel()))
    index = volume.grid.to_index(grid.to_world(np.indices(shape).reshape(3, -1).T))
    voxels = ndimage.map_coordinates(volume.voxels, index.T, order=1, cval=AIR).reshape(shape)
    found = localize(Volume(voxels, grid), toy_model)
    assert errors_mm(found.world, toy_scans[5].centroids).max() < 3
    assert_consistent(found, grid)


def test_a_path_a_volume_and_a_simpleitk_image_are_the_same_scan(toy_model, toy_scans, tmp_path):
    scan = toy_scans[5]
    write_toy_cohort(tmp_path, [scan])
    path = tmp_path / scan.patient / f"{scan.volume.name}.mhd"
    expected = localize(scan.volume, toy_model)
    for image in (path, str(path), SimpleITK.ReadImage(str(path))):
        found = localize(image, toy_model)
        assert found.labels == expected.labels
        np.testing.assert_allclose(found.world.points_mm, expected.world.points_mm, atol=1e-4)
    assert as_volume(scan.volume) is scan.volume
    with pytest.raises(ImageError, match="nothing"):
        localize(tmp_path / "nothing.mhd", toy_model)
    with pytest.raises(TypeError):
        localize(np.zeros((3, 3, 3)), toy_model)


def cut(volume, z):
    voxels = volume.voxels[z]
    origin = volume.grid.to_world((z.start, 0, 0))[0]
    return Volume(voxels, replace(volume.grid, shape=voxels.shape, origin_mm=tuple(origin)))


@pytest.mark.parametrize("first", [5, 20])
def test_a_crop_that_holds_a_few_vertebrae_gets_their_names_only(toy_model, toy_scans, first):
    scan = toy_scans[5]
    part = cut(scan.volume, slice(first, first + 40))
    found = localize(part, toy_model)
    assert_consistent(found, part.grid)
    assert len(found.labels) >= 3
    for label, point in found.world:
        assert np.linalg.norm(point - scan.centroids[label]) < 8


@pytest.mark.parametrize("n_slices", [1, 3])
@pytest.mark.parametrize("first", [0, 20, 33])
def test_a_few_slices_are_no_failure(toy_model, toy_scans, n_slices, first):
    part = cut(toy_scans[5].volume, slice(first, first + n_slices))
    found = localize(part, toy_model)
    assert_consistent(found, part.grid)
    assert len(found.labels) <= 2


@pytest.mark.parametrize("value", [-32768, -1024, 0, 40, 700, 3071])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2), (2, 60, 60), (40, 30, 30)])
def test_a_constant_image_gives_nothing_or_one_unsure_guess(toy_model, value, shape):
    volume = Volume(np.full(shape, value, np.int16), Grid(shape, (3.0, 3.0, 3.0)))
    found = localize(volume, toy_model)
    assert_consistent(found, volume.grid)
    assert len(found.labels) <= 1
    assert (found.confidence < 0.2).all()


@pytest.mark.parametrize("spacing", [(0.01, 0.01, 0.01), (0.3, 0.3, 30.0), (40.0, 40.0, 1.0)])
def test_voxels_of_any_size_are_no_failure(toy_model, spacing):
    values = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    volume = Volume(values, Grid(values.shape, spacing))
    assert_consistent(localize(volume, toy_model), volume.grid)


def test_noise_and_metal_are_no_failure(toy_model, tmp_path):
    rng = np.random.default_rng(1)
    voxels = np.where(rng.random((50, 40, 30)) < 0.02, 30_000, rng.normal(0, 600, (50, 40, 30))).astype(np.int16)
    volume = Volume(voxels, Grid(voxels.shape, (2.0, 2.0, 4.0)))
    write_image(volume, tmp_path / "noise.nii.gz")
    found = localize(tmp_path / "noise.nii.gz", toy_model)
    assert_consistent(found, volume.grid)


def test_a_scan_too_large_to_be_a_patient_is_an_image_error(toy_model):
    voxels = np.broadcast_to(np.int16(0), (4, 4, 4))
    with pytest.raises(VertlocError, match="check the spacing"):
        localize(Volume(voxels, Grid((4, 4, 4), (1e6, 1e6, 1e6))), toy_model)


@pytest.mark.parametrize(("votes", "naming"), [(False, True), (True, False), (False, False)])
def test_a_model_without_the_later_steps_still_finds_the_spine(toy_model, toy_scans, votes, naming):
    model = replace(
        toy_model,
        centre_forest=toy_model.centre_forest if votes else None,
        discriminant=toy_model.discriminant if naming else None,
    )
    scan = toy_scans[5]
    found = localize(scan.volume, model)
    assert_consistent(found, scan.volume.grid)
    assert len(found.labels) >= 5
    near = [np.linalg.norm(scan.centroids.points_mm - point, axis=1).min() for point in found.world.points_mm]
    # The modes of a posterior are as wide as a vertebra; those of votes are sharp.
    assert max(near) < (8 if votes else 20)
    if not naming:
        np.testing.assert_array_equal(found.candidates.points_mm, found.proposals.points_mm)
