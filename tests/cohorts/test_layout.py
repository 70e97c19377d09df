from pathlib import Path

import pytest

from vertloc.cohorts.layout import find_scans, patient_of
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


def test_a_scan_in_two_formats_or_places_is_found_twice(tmp_path):
    touch(tmp_path, "a/1.mhd", "a/1.nii.gz", "b/2.mhd", "c/2.mhd")
    found = find_scans(tmp_path)
    assert found["1"].images == (tmp_path / "a/1.mhd", tmp_path / "a/1.nii.gz")
    assert found["2"].images == (tmp_path / "b/2.mhd", tmp_path / "c/2.mhd")


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
