import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vertloc.cohorts.dicom_inputs import dicom_cases
from vertloc.errors import CohortError, ImageError
from vertloc.io.images import image_files, open_image, read_grid, read_image

sys.path.insert(0, str(Path(__file__).parents[1] / "io/images"))
from dicom_series import voxels, write_series


def test_folders_zips_and_files_become_cases_and_the_rest_is_left(tmp_path):
    folder = write_series(tmp_path / "a/one")
    write_series(tmp_path / "a/one", voxels(1)[:4], SeriesInstanceUID="5", SeriesNumber=5)
    write_series(tmp_path / "a/two", StudyInstanceUID="2", SeriesInstanceUID="2.1")
    (tmp_path / "a/x.nii.gz").touch()
    (tmp_path / "b").mkdir()
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as out:
        for path in folder.iterdir():
            out.write(path, path.name)
    inputs = [tmp_path / "a", tmp_path / "b", tmp_path / "c.zip", tmp_path / "none.mha"]
    rest, cases = dicom_cases(inputs)
    assert rest == [tmp_path / "a", tmp_path / "b", tmp_path / "none.mha"]
    assert [case.image_path.parent.name for case in cases] == ["one", "two", "c.zip"]
    assert [case.scan.split("-")[0] for case in cases] == ["series3"] * 3
    assert [case.scan.split("-")[2:] for case in cases] == [[], [], ["2"]]  # the zip holds what lies in one/
    assert cases[2].scan == f"{cases[0].scan}-2" != cases[1].scan
    assert not any("Doe" in case.scan for case in cases)
    assert dicom_cases([tmp_path / "a/one"])[0] == []


def test_a_series_can_be_asked_for_and_names_kept(tmp_path):
    write_series(tmp_path / "a")
    write_series(tmp_path / "a", voxels(1)[:4], SeriesInstanceUID="5", SeriesNumber=5)
    (case,) = dicom_cases([tmp_path / "a"], "5", keep_names=True)[1]
    assert case.scan.startswith("Doe-Jane-series5-")
    with pytest.raises(CohortError, match="--series 9: no CT series"):
        dicom_cases([tmp_path / "a"], "9")


def zip_of(folder, path):
    with zipfile.ZipFile(path, "w") as out:
        for file in sorted(folder.iterdir()):
            out.write(file, f"DOE_JANE/{file.name}")
    return path


def test_the_series_that_was_asked_for_is_the_one_that_is_read_from_a_file_or_zip_too(tmp_path):
    folder = write_series(tmp_path / "a", voxels(0))
    write_series(folder, voxels(1)[:4], SeriesInstanceUID="5", SeriesNumber=5)
    (of_three,) = folder.glob("*-3-0.dcm")
    for path in (zip_of(folder, tmp_path / "b.zip"), folder, of_three):
        (case,) = dicom_cases([path], "5")[1]
        np.testing.assert_array_equal(read_image(case.image_path).voxels, voxels(1)[:4])
        assert "DOE" not in str(case.image_path)
        assert all(file.is_file() for file in image_files(case.image_path))
        assert read_grid(case.image_path).shape[0] == 4
    with pytest.raises(ImageError, match="no DICOM file of this number in the zip"):
        read_image(tmp_path / "b.zip/000099")


def test_a_zip_of_several_studies_is_a_case_for_each(tmp_path):
    write_series(tmp_path / "a", voxels(0))
    write_series(tmp_path / "a", voxels(1)[:4], SeriesInstanceUID="5", SeriesNumber=5, StudyInstanceUID="9")
    cases = dicom_cases([zip_of(tmp_path / "a", tmp_path / "b.zip")])[1]
    found = sorted(read_image(case.image_path).grid.shape[0] for case in cases)
    assert found == [4, 7]
    assert len({case.scan for case in cases}) == len({case.patient for case in cases}) == 2


def test_one_series_in_several_folders_is_a_result_for_each(tmp_path, caplog):
    folders = [write_series(tmp_path / name, voxels(k)) for k, name in enumerate(("DOE", "DOE2", "DOE3"))]
    cases = dicom_cases(folders)[1]
    name = cases[0].scan
    assert [case.scan for case in cases] == [name, f"{name}-2", f"{name}-3"]
    assert [case.image_path.parent for case in cases] == folders
    assert f"its result is {name}-2" in caplog.text


def test_series_that_are_not_taken_are_listed_once(tmp_path, caplog):
    write_series(tmp_path / "a")
    write_series(tmp_path / "a", voxels(1)[:4], SeriesInstanceUID="5", SeriesNumber=5, SeriesDescription="bone")
    for path in (tmp_path / "a", zip_of(tmp_path / "a", tmp_path / "b.zip")):
        caplog.clear()
        (case,) = dicom_cases([path])[1]
        open_image(case.image_path)
        (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert record.getMessage().startswith(f"{path}: ")
        assert "series 3 ('', 7 slices, 24 x 20 x 7) is taken, not series 5 ('bone', 4 slices" in record.getMessage()


def test_a_file_that_cannot_be_read_is_left_for_others(tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(bytes(128) + b"DICM")
    assert dicom_cases([path]) == ([path], [])


def test_a_folder_whose_dicom_files_are_no_ct_becomes_a_case_that_says_so(tmp_path):
    write_series(tmp_path / "knee", Modality="MR")
    rest, (case,) = dicom_cases([tmp_path / "knee"])
    assert rest == []
    with pytest.raises(ImageError, match="7 x modality MR"):
        open_image(case.image_path)
