import sys
import zipfile
from pathlib import Path

import pytest

from vertloc.cohorts.dicom_inputs import dicom_cases
from vertloc.errors import CohortError, ImageError
from vertloc.io.images import open_image

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
    assert [case.image_path.parent.name for case in cases] == ["one", "two", tmp_path.name]
    assert [case.scan.split("-")[0] for case in cases] == ["series3"] * 3
    assert cases[0].scan == cases[2].scan != cases[1].scan
    assert not any("Doe" in case.scan for case in cases)
    assert dicom_cases([tmp_path / "a/one"])[0] == []


def test_a_series_can_be_asked_for_and_names_kept(tmp_path):
    write_series(tmp_path / "a")
    write_series(tmp_path / "a", voxels(1)[:4], SeriesInstanceUID="5", SeriesNumber=5)
    (case,) = dicom_cases([tmp_path / "a"], "5", keep_names=True)[1]
    assert case.scan.startswith("Doe-Jane-series5-")
    with pytest.raises(CohortError, match="--series 9: no CT series"):
        dicom_cases([tmp_path / "a"], "9")


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
