from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images import as_volume, read_image, volume_from_nibabel, write_image
from vertloc.volume import Volume

OBLIQUE = Grid((3, 4, 5), (0.35, 0.4, 2.5), (-10.25, 3.5, 1e-3), (0.0, 0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, -0.6))


def ct():
    return Volume(np.random.default_rng(0).integers(-900, 900, OBLIQUE.shape).astype(np.int16), OBLIQUE, "scan")


def assert_same(found, expected, atol):
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    np.testing.assert_allclose(found.grid.spacing_mm, expected.grid.spacing_mm, rtol=0, atol=atol)
    np.testing.assert_allclose(found.grid.origin_mm, expected.grid.origin_mm, rtol=0, atol=atol)
    np.testing.assert_allclose(found.grid.direction, expected.grid.direction, rtol=0, atol=atol)


def test_a_path_a_volume_and_images_of_other_libraries_are_the_same_scan(tmp_path):
    for name in ("scan.nii.gz", "scan.mha"):
        write_image(ct(), tmp_path / name)
    for image in (
        tmp_path / "scan.mha",
        str(tmp_path / "scan.nii.gz"),
        sitk.ReadImage(str(tmp_path / "scan.mha")),
        nibabel.load(tmp_path / "scan.nii.gz"),
    ):
        assert_same(as_volume(image, name="scan"), ct(), atol=1e-5)
    volume = ct()
    assert as_volume(volume) is volume


def test_a_nibabel_image_is_scaled_turned_from_ras_and_copied(tmp_path):
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(image, tmp_path / "x.nii")
    found = volume_from_nibabel(nibabel.load(tmp_path / "x.nii"))
    assert found.grid == Grid((4, 3, 2), (1.0, 2.0, 3.0), (-10.0, -20.0, 30.0), (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    np.testing.assert_array_equal(found.voxels, read_image(tmp_path / "x.nii").voxels)
    in_memory = volume_from_nibabel(nibabel.Nifti1Image(stored, affine))
    stored[:] = 0
    assert in_memory.voxels.max() == 23


def test_a_nibabel_image_that_cannot_be_a_ct_is_refused():
    values = np.zeros((2, 3, 4), np.int16)
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    for image, message in (
        (nibabel.Nifti1Image(values[0], np.eye(4)), "got 2 dimensions"),
        (nibabel.Nifti1Image(values, sheared), "gantry"),
        (SimpleNamespace(dataobj=values, affine=np.diag([0.0, 1, 1, 1])), "three positive spacings"),
        (SimpleNamespace(dataobj=values, affine=np.full((4, 4), np.nan)), "finite 4 x 4 affine"),
        (nibabel.Nifti1Image(np.full((2, 2, 2), np.nan), np.eye(4)), "8 of 8 voxels are not finite"),
    ):
        with pytest.raises(ImageError, match=message):
            as_volume(image)


def test_an_array_needs_its_grid_and_nothing_else_takes_one():
    volume = ct()
    found = as_volume(volume.voxels, volume.grid, name="x")
    assert (found.grid, found.name) == (volume.grid, "x")
    with pytest.raises(TypeError, match="give its grid"):
        as_volume(volume.voxels)
    with pytest.raises(TypeError, match="has one of its own"):
        as_volume(volume, volume.grid)
    with pytest.raises(ImageError, match=r"both \(z, y, x\)"):
        as_volume(volume.voxels.T, volume.grid)
    with pytest.raises(ImageError, match="not finite"):
        as_volume(np.full(OBLIQUE.shape, np.inf), OBLIQUE)
    with pytest.raises(TypeError, match="expected a path, a Volume"):
        as_volume([1, 2, 3])
