import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vertloc.cohorts.case import Case
from vertloc.cohorts.input_lists import expand_inputs, part_of
from vertloc.errors import CohortError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("a/1.mhd", "a/2.mhd", "b/c/3.mhd", "odd[1].mhd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(paths):
    return [path.as_posix() for path in paths]


@pytest.mark.usefixtures("folder")
def test_patterns_become_what_they_match_and_the_rest_stays():
    found = expand_inputs([Path("b"), Path("a/*.mhd"), Path("**/3.mhd"), Path("odd[1].mhd"), Path("none.mhd")])
    assert names(found) == ["b", "a/1.mhd", "a/2.mhd", "b/c/3.mhd", "odd[1].mhd", "none.mhd"]


def test_a_list_holds_paths_and_patterns_relative_to_its_own_folder(folder, tmp_path):
    text = "\ufeff# scans\r\n1.mhd\r\n\r\n  ../b/**/*.mhd  \r\n" + str(tmp_path / "a/2.mhd") + "\n"
    (folder / "a/list.txt").write_text(text, newline="")
    found = expand_inputs([], [Path("a/list.txt")])
    assert names(found) == ["a/1.mhd", "a/../b/c/3.mhd", str(tmp_path / "a/2.mhd")]


@pytest.mark.usefixtures("folder")
def test_the_standard_input_is_relative_to_the_working_folder(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a/1.mhd\nN\xe4me.mhd\n")))
    found = expand_inputs([], [Path("-")])
    assert [os.fsencode(path) for path in found] == [b"a/1.mhd", b"N\xe4me.mhd"]


def test_all_problems_are_listed(folder):
    (folder / "empty.txt").write_text("# nothing\n")
    (folder / "binary.txt").write_bytes(b"a\0b")
    (folder / "bad.txt").write_text("x/*.mhd\n")
    lists = [Path(name) for name in ("none.txt", "empty.txt", "binary.txt", "bad.txt")]
    with pytest.raises(CohortError) as error:
        expand_inputs([Path("*.nii")], lists)
    assert str(error.value).splitlines() == [
        "*.nii: no file matches this pattern",
        "none.txt: cannot be read: No such file or directory",
        "empty.txt: expected one path a line, got none",
        "binary.txt: expected a text file with one path a line, got binary data",
        "bad.txt: x/*.mhd: no file matches this pattern",
    ]


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7, 20])
def test_parts_are_apart_and_together_all_whatever_the_order(n_parts):
    cases = [Case(f"s{i:02d}", "p", Path(f"s{i:02d}.mhd")) for i in range(10)]
    parts = [part_of(cases, part, n_parts) for part in range(1, n_parts + 1)]
    assert sorted(case.scan for part in parts for case in part) == [case.scan for case in cases]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts == [part_of(cases[::-1], part, n_parts) for part in range(1, n_parts + 1)]
