from pathlib import Path

import pytest

from vertloc.cohorts.layout import find_scans, patient_of, scans_meant
from vertloc.errors import CohortError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("folder", "suffix", "patient"),
    [
        ("patient0001/2804506", ".mhd", "patient0001"),
        ("spine-1/patient0001/2804506", ".nii.gz", "patient0001"),
        ("spine-test-data", ".nii.gz", "2804506"),
        ("2804506", ".nii.gz", "2804506"),
        (".", ".nrrd", "2804506"),
    ],
)
def test_each_release_keeps_a_scan_beside_its_annotation(tmp_path, folder, suffix, patient):
    touch(tmp_path / folder, f"2804506{suffix}", "2804506.lml", "2804506.raw", "notes.txt")
    found = find_scans(tmp_path)
    assert list(found) == ["2804506"]
    assert found["2804506"].images == (tmp_path / folder / f"2804506{suffix}",)
    assert found["2804506"].annotation() == tmp_path / folder / "2804506.lml"
    assert patient_of(found["2804506"].images[0]) == patient


def test_all_layouts_mix_and_scans_come_sorted(tmp_path):
    touch(tmp_path, "patient0002/9/9.mhd", "spine-1/patient0001/5/5.nii.gz", "flat/7.nii.gz", "flat/7.lml")
    assert list(find_scans(tmp_path)) == ["5", "7", "9"]


def test_a_scan_in_two_formats_or_in_two_folders_of_its_name_is_found_twice(tmp_path):
    touch(tmp_path, "a/1.mhd", "a/1.nii.gz", "b/2/2.mhd", "c/2/2.mhd")
    found = find_scans(tmp_path)
    assert found["1"].images == (tmp_path / "a/1.mhd", tmp_path / "a/1.nii.gz")
    assert found["2"].images == (tmp_path / "b/2/2.mhd", tmp_path / "c/2/2.mhd")


def test_one_file_name_in_every_folder_is_a_scan_for_each_with_its_annotation(tmp_path):
    touch(tmp_path, "s0001/ct.nii.gz", "s0001/ct.lml", "s0002/ct.nii.gz", "results/s0002/ct.lml")
    found = find_scans(tmp_path)
    assert list(found) == ["s0001/ct", "s0002/ct"]
    assert found["s0001/ct"].annotation() == tmp_path / "s0001/ct.lml"
    assert found["s0002/ct"].annotation() is None
    assert found["s0002/ct"].landmarks == (tmp_path / "results/s0002/ct.lml",)


def test_a_line_of_a_fold_file_may_name_a_scan_by_its_end_or_a_patient(tmp_path):
    touch(tmp_path, "s0001/ct.nii.gz", "s0002/ct.nii.gz", "sub-verse004/sub-verse004_a_ct.nii.gz")
    touch(tmp_path, "sub-verse004/sub-verse004_b_ct.nii.gz", "patient0001/7/7.mhd")
    found = find_scans(tmp_path)
    assert scans_meant("data/s0002/ct", found) == ("s0002/ct",)
    assert scans_meant("s0002", found) == ("s0002/ct",)
    assert scans_meant("sub-verse004", found) == ("sub-verse004_a_ct", "sub-verse004_b_ct")
    assert scans_meant("elsewhere/7", found) == ("7",)
    assert scans_meant("ct", found) == ()


def test_several_data_folders_are_searched_as_one(tmp_path):
    touch(tmp_path, "a/1.mhd", "b/2.mhd", "b/ct/x.mhd", "a/ct/x.mhd")
    found = find_scans([tmp_path / "a", tmp_path / "b"])
    assert list(found) == ["1", "2", "a/ct/x", "b/ct/x"]


def test_a_link_to_a_folder_above_or_to_the_system_is_not_walked(tmp_path, caplog):
    touch(tmp_path / "data", "1.mhd")
    touch(tmp_path, "outside/2.mhd")
    for name, target in (("root", "/"), ("above", tmp_path), ("system", "/proc"), ("beside", tmp_path / "outside")):
        (tmp_path / "data" / name).symlink_to(target)
    assert list(find_scans(tmp_path / "data")) == ["1", "2"]
    assert [record.getMessage().split(": ")[0][-6:] for record in caplog.records] == ["/above", "a/root", "system"]


def test_an_annotation_elsewhere_does_not_belong_to_the_image(tmp_path):
    touch(tmp_path, "a/1.mhd", "results/1.lml", "results/3.lml")
    found = find_scans(tmp_path)
    assert found["1"].annotation() is None
    assert found["3"].images == ()
    assert found["3"].annotation() is None


def test_names_with_a_leading_dot_are_passed_over(tmp_path):
    touch(tmp_path, "a/._1.mhd", "a/.3f2a.1.nii.gz", ".git/2.mhd", "a/1.mhd")
    assert list(find_scans(tmp_path)) == ["1"]


def test_links_are_followed_and_a_link_back_up_does_no_harm(tmp_path):
    touch(tmp_path / "disk", "1/1.mhd")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "spine").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "data")
    assert find_scans(tmp_path / "data")["1"].images == (tmp_path / "data/spine/1/1.mhd",)


def test_the_nearest_patient_folder_counts():
    assert patient_of(Path("/study/patient0003/old/patient0017/5/5.mhd")) == "patient0017"
    assert patient_of(Path("/study/Patient_12/5.nii.gz")) == "Patient_12"
    assert patient_of(Path("/study/outpatient0003/patients/5.nii.gz")) == "5"


def test_no_folder_is_an_error(tmp_path):
    touch(tmp_path, "1.mhd")
    with pytest.raises(CohortError, match="got nothing there"):
        find_scans(tmp_path / "missing")
    with pytest.raises(CohortError, match="got a file"):
        find_scans(tmp_path / "1.mhd")
