import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.cohorts.case import Case, Cohort
from vertloc.cohorts.loading import load_cohort, load_folds
from vertloc.errors import CohortError
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.volume import Volume

VOLUME = Volume(np.zeros((4, 5, 6), np.int16), Grid((4, 5, 6), (1.0, 1.0, 2.0)))
CENTROIDS = Centroids.from_points({"C1": (1, 2, 3)})


def add_scan(data, patient, scan, suffix=".mhd"):
    folder = data / patient / scan
    write_image(VOLUME, folder / f"{scan}{suffix}")
    write_lml(folder / f"{scan}.lml", CENTROIDS)
    return folder


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "spine"
    for patient, scan in (("patient0001", "11"), ("patient0001", "12"), ("patient0002", "21"), ("patient0003", "31")):
        add_scan(root, patient, scan)
    return root


def fold(data, name, *lines):
    path = data.parent / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def problems(data, *fold_files, need_landmarks=True):
    with pytest.raises(CohortError) as error:
        if fold_files:
            load_folds(data, fold_files, need_landmarks)
        else:
            load_cohort(data, need_landmarks=need_landmarks)
    first, *lines = str(error.value).splitlines()
    assert first == ("1 problem:" if len(lines) == 1 else f"{len(lines)} problems:")
    return lines


def test_a_folder_gives_all_its_scans(data):
    cohort = load_cohort(data)
    assert (cohort.name, cohort.root) == ("spine", data)
    assert [case.scan for case in cohort.cases] == ["11", "12", "21", "31"]
    folder = data / "patient0001" / "11"
    assert cohort.cases[0] == Case("11", "patient0001", folder / "11.mhd", folder / "11.lml")


def test_a_fold_file_gives_its_scans_in_its_order(data):
    cohort = load_cohort(data, fold(data, "fold1-miccai2013.txt", "31", "patient0001/11", "# 12"))
    assert cohort == Cohort("fold1-miccai2013", data, (load_cohort(data).cases[3], load_cohort(data).cases[0]))


def test_folds_are_loaded_together(data):
    folds = load_folds(data, [fold(data, "fold1.txt", "11", "12"), fold(data, "fold2.txt", "31", "21")])
    assert [(f.name, [case.scan for case in f.cases]) for f in folds] == [
        ("fold1", ["11", "12"]),
        ("fold2", ["31", "21"]),
    ]


def test_folds_whose_files_have_one_name_are_numbered(data):
    (data.parent / "b").mkdir()
    first, second, third = fold(data, "fold.txt", "11"), fold(data, "b/fold.txt", "21"), fold(data, "other.txt", "31")
    assert [f.name for f in load_folds(data, [first, second, third])] == ["fold-1", "fold-2", "other"]


def test_without_need_of_annotations_they_are_paired_but_not_read(data):
    (data / "patient0001/11/11.lml").unlink()
    (data / "patient0001/12/12.lml").write_text("broken")
    (data / "lonely.lml").touch()
    cohort = load_cohort(data, need_landmarks=False)
    assert [case.landmarks_path and case.landmarks_path.name for case in cohort.cases] == [
        None,
        "12.lml",
        "21.lml",
        "31.lml",
    ]


def test_every_problem_is_listed_at_once(data):
    write_image(VOLUME, data / "patient0002/21/21.nii.gz")
    (data / "patient0001/11/11.raw").unlink()
    (data / "patient0001/11/11.lml").write_text("# 0\n10\tC1_center\t1\t2\n")
    (data / "patient0001/12/12.lml").unlink()
    (data / "patient0003/31/31.mhd").unlink()
    one = fold(data, "fold1.txt", "11", "12", "11")
    two = fold(data, "fold2.txt", "", "21", "31", "99")
    three = fold(data, "fold3.txt", "# to come")
    p = data / "patient0001"
    assert sorted(problems(data, one, two, three)) == sorted(
        [
            f"{one}:1: {p}/11/11.mhd: its data file 11.raw is missing",
            f"{one}:1: {p}/11/11.lml:2: expected 'id name_center x y z', got 4 fields: '10\\tC1_center\\t1\\t2'",
            f"{one}:2: scan 12 has no annotation 12.lml beside {p}/12/12.mhd",
            f"{one}:3: scan 11 stands already in {one}:1",
            f"{two}:2: scan 21 is there twice: {data}/patient0002/21/21.mhd and {data}/patient0002/21/21.nii.gz",
            f"{two}:3: scan 31 has no image beside {data}/patient0003/31/31.lml",
            f"{two}:4: scan 99 is not in {data}",
            f"{three}: expected one scan a line, got an empty fold file",
        ]
    )


def test_the_problems_of_a_whole_folder_are_listed_at_once(data):
    (data / "patient0003/31/31.mhd").write_text("no header")
    (data / "patient0001/12/12.lml").unlink()
    (data / "patient0002/21/21.mhd").unlink()
    assert problems(data) == [
        f"scan 12 has no annotation 12.lml beside {data}/patient0001/12/12.mhd",
        f"scan 21 has no image beside {data}/patient0002/21/21.lml",
        f"{data}/patient0003/31/31.mhd: not a MetaImage header: expected 'Key = value', got 'no header'",
    ]


def test_a_scan_and_a_patient_in_both_folds_are_named_with_both_lines(data):
    one, two = fold(data, "fold1.txt", "31", "11", "21"), fold(data, "fold2.txt", "12", "21")
    assert problems(data, one, two) == [
        f"{two}:1: patient0001, whose scan 12 this is, is also in {one}:2",
        f"{two}:2: scan 21 is also in {one}:3",
    ]


def test_a_patient_may_have_several_scans_in_one_fold(data):
    assert len(load_folds(data, [fold(data, "fold1.txt", "11", "12")])[0].cases) == 2


def test_a_truncated_download_is_found_before_the_work_starts(data):
    folder = add_scan(data, "patient0004", "41", ".nii.gz")
    path = folder / "41.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert problems(data) == [
        f"{path}: damaged or truncated: Compressed file ended before the end-of-stream marker was reached"
    ]


def test_an_empty_folder_and_missing_fold_files_are_problems(data, tmp_path):
    (tmp_path / "empty").mkdir()
    assert problems(tmp_path / "empty") == [f"{tmp_path}/empty: no image found in this folder or below"]
    missing = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert problems(data, *missing) == [f"{path}: cannot be read: No such file or directory" for path in missing]
