from pathlib import Path

import pytest

from vertloc.cohorts.case import Case
from vertloc.cohorts.fold_files import read_fold_file
from vertloc.cohorts.splitting import split_by_patient, write_folds
from vertloc.errors import CohortError

CASES = [Case(f"{p}-{i}", f"p{p}", Path(f"{p}-{i}.mhd")) for p in range(11) for i in range(1 + p % 3)]


@pytest.mark.parametrize("k", [2, 3, 5])
def test_no_patient_is_in_two_folds_and_every_scan_in_one(k):
    folds = split_by_patient(CASES, k, seed=0)
    assert sorted(scan for fold in folds for scan in fold) == sorted(case.scan for case in CASES)
    patients = [{scan.split("-")[0] for scan in fold} for fold in folds]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 11
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_the_seed_decides_and_the_order_of_the_scans_does_not():
    assert split_by_patient(CASES, 3, seed=1) == split_by_patient(CASES[::-1], 3, seed=1)
    assert split_by_patient(CASES, 3, seed=1) != split_by_patient(CASES, 3, seed=2)


@pytest.mark.parametrize(("k", "message"), [(1, "at least 2 folds"), (12, "11 patients cannot be split into 12 folds")])
def test_folds_that_cannot_be_are_refused(k, message):
    with pytest.raises(CohortError, match=message):
        split_by_patient(CASES, k, seed=0)


def test_fold_files_read_back_and_are_not_replaced(tmp_path):
    paths = write_folds(tmp_path / "new", [["s0001/ct", "b"], ["c"]], "2 folds")
    assert [path.name for path in paths] == ["fold1.txt", "fold2.txt"]
    assert [line.path for line in read_fold_file(paths[0])] == ["s0001/ct", "b"]
    with pytest.raises(CohortError, match=r"fold1\.txt: is there already"):
        write_folds(tmp_path / "new", [["a"]], "x")
