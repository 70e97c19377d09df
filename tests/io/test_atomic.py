import os
import subprocess
import sys
from pathlib import Path

import pytest

from vertloc.errors import OutputError
from vertloc.io.atomic import remove_stale_temporaries, temporary_beside, write_bytes_atomically


def test_bytes_arrive_and_parent_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "run.json"
    write_bytes_atomically(path, b"\x00\r\n\xff")
    assert path.read_bytes() == b"\x00\r\n\xff"
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"a longer old content")
    write_bytes_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="disk full"), temporary_beside(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("disk full")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_target_is_untouched_until_the_block_ends(tmp_path):
    path = tmp_path / "x.nii.gz"
    with temporary_beside(path) as temporary:
        temporary.write_bytes(b"new")
        assert not path.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".x.nii.gz")
    assert path.read_bytes() == b"new"


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="x: cannot be written"), temporary_beside(tmp_path / "x"):
        pass


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="x: cannot be written: Is a directory"):
        write_bytes_atomically(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_error_of_the_system_names_the_file_that_was_asked_for(tmp_path):
    with (
        pytest.raises(OutputError, match=r"x\.lml: cannot be written: No space left"),
        temporary_beside(tmp_path / "x.lml"),
    ):
        raise OSError(28, "No space left on device", str(tmp_path / "something-else"))
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_can_be_written(tmp_path):
    for name in ("x" * 251 + ".lml", "\u810a" * 83 + ".lml"):
        write_bytes_atomically(tmp_path / name, b"new")
        assert (tmp_path / name).read_bytes() == b"new"


KILLED = """
import os, sys
from pathlib import Path
from vertloc.io.atomic import temporary_beside
with temporary_beside(Path(sys.argv[1]) / "a.lml") as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
    assert killed.returncode == -9
    (left,) = tmp_path.iterdir()
    others = [
        ".vertloc-00000000-1-00000000.a.lml",
        ".hidden",
        ".vertloc-mine",
        "a.lml",
    ]  # of another machine, the user's
    for name in others:
        (tmp_path / name).write_text("keep")
    with temporary_beside(tmp_path / "b.lml") as temporary:  # of a process that runs
        temporary.write_bytes(b"half")
        assert remove_stale_temporaries(tmp_path) == [left]
        assert temporary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "b.lml"])
    assert remove_stale_temporaries(tmp_path / "none") == []
