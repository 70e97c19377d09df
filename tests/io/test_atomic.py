import pytest

from vertloc.io.atomic import temporary_beside, write_bytes_atomically


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
    with pytest.raises(FileNotFoundError), temporary_beside(tmp_path / "x"):
        pass


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="x"):
        write_bytes_atomically(tmp_path / "x", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
