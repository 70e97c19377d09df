import pytest

from vertloc.cohorts.inputs import cases_from_inputs
from vertloc.errors import CohortError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def scans(*inputs):
    return [case.scan for case in cases_from_inputs(inputs)]


def refusal(*inputs):
    with pytest.raises(CohortError) as error:
        cases_from_inputs(inputs)
    return str(error.value).splitlines()


def test_files_keep_their_order_and_folders_come_sorted(tmp_path):
    touch(tmp_path, "z.nii.gz", "b/2.mhd", "b/1.nrrd", "b/deep/0.MHA", "b/1.lml", "b/2.raw", "b/notes.txt", "a.nii")
    cases = cases_from_inputs([tmp_path / "z.nii.gz", tmp_path / "b", tmp_path / "a.nii"])
    assert [case.scan for case in cases] == ["z", "1", "2", "0", "a"]
    assert [case.image_path.name for case in cases] == ["z.nii.gz", "1.nrrd", "2.mhd", "0.MHA", "a.nii"]
    assert {case.landmarks_path for case in cases} == {None}


def test_the_patient_is_the_folder_of_that_name(tmp_path):
    touch(tmp_path, "patient0007/5/5.mhd", "6.mhd")
    assert [case.patient for case in cases_from_inputs([tmp_path])] == ["6", "patient0007"]


def test_a_file_named_twice_is_one_case(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.mhd", "a/2.mhd")
    monkeypatch.chdir(tmp_path / "a")
    (first,) = [path for path in (tmp_path / "a").iterdir() if path.name == "1.mhd"]
    assert scans(first, tmp_path / "a", first.relative_to(tmp_path / "a"), tmp_path / "a/../a/1.mhd") == ["1", "2"]


def test_a_link_keeps_its_own_name(tmp_path):
    touch(tmp_path, "store/MD5E-s123--0a1b2c.nii.gz", "store/sub/3.mhd")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sub-verse004_ct.nii.gz").symlink_to(tmp_path / "store/MD5E-s123--0a1b2c.nii.gz")
    (tmp_path / "data/more").symlink_to(tmp_path / "store/sub")
    assert scans(tmp_path / "data/sub-verse004_ct.nii.gz") == ["sub-verse004_ct"]
    assert scans(tmp_path / "data") == ["3", "sub-verse004_ct"]


def test_names_with_a_leading_dot_are_passed_over_in_folders_only(tmp_path):
    touch(tmp_path, "._1.mhd", "1.mhd", ".cache/2.mhd")
    assert scans(tmp_path) == ["1"]
    assert scans(tmp_path / "._1.mhd") == ["._1"]


def test_a_file_that_is_no_image_is_a_case_that_will_fail_on_its_own(tmp_path):
    touch(tmp_path, "notes.txt", "1.mhd")
    assert scans(tmp_path / "notes.txt", tmp_path / "1.mhd") == ["notes.txt", "1"]


def test_a_folder_inside_another_given_one_adds_nothing(tmp_path):
    touch(tmp_path, "a/1.mhd", "a/b/2.mhd")
    assert scans(tmp_path / "a/b", tmp_path / "a") == ["2", "1"]


def test_all_problems_are_listed_at_once(tmp_path):
    touch(tmp_path, "a/1.mhd", "a/1.nii.gz", "c/notes.txt")
    lines = refusal(tmp_path / "a", tmp_path / "c", tmp_path / "none.mhd")
    assert lines == [
        f"{tmp_path}/c: no image found in this folder or below",
        f"{tmp_path}/none.mhd: no such file or folder",
        f"{tmp_path}/a/1.mhd and {tmp_path}/a/1.nii.gz would both write 1.lml; predict them separately",
    ]


def test_one_name_in_every_folder_is_told_apart_by_the_path(tmp_path):
    touch(tmp_path, "db/s0001/ct.nii.gz", "db/s0002/ct.nii.gz", "db/deep/er/ct.mha", "db/other.mhd")
    assert scans(tmp_path / "db") == ["deep/er/ct", "other", "s0001/ct", "s0002/ct"]
    assert scans(tmp_path / "db/s0002/ct.nii.gz", tmp_path / "db/s0001/ct.nii.gz") == ["s0002/ct", "s0001/ct"]
    assert scans(tmp_path / "db/s0001/ct.nii.gz") == ["ct"]


def test_folders_that_hold_the_same_paths_are_told_apart_by_their_own_names(tmp_path):
    touch(tmp_path, "a/s1/ct.mha", "b/s1/ct.mha", "b/s2/ct.mha")
    assert scans(tmp_path / "a", tmp_path / "b") == ["a/s1/ct", "b/s1/ct", "s2/ct"]


def test_the_patient_of_one_name_in_every_folder_is_the_folder(tmp_path):
    touch(tmp_path, "s0001/ct.nii.gz", "s0002/ct.nii.gz")
    assert [case.patient for case in cases_from_inputs([tmp_path])] == ["s0001", "s0002"]


def test_a_broken_link_is_said_to_be_missing(tmp_path):
    (tmp_path / "1.mhd").symlink_to(tmp_path / "gone.mhd")
    assert refusal(tmp_path / "1.mhd") == [f"{tmp_path}/1.mhd: no such file or folder"]


def test_no_input_is_no_case():
    assert cases_from_inputs([]) == []
