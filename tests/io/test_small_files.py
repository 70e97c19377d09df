import os
import socket

import pytest

from vertloc.errors import CohortError
from vertloc.io.small_files import read_small_file, read_small_text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "1.lml")
    with pytest.raises(CohortError, match=r"1\.lml: cannot be read: expected a regular file"):
        read_small_file(tmp_path / "1.lml", CohortError)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no device files here")  # noqa: PTH110
def test_a_device_without_end_is_refused(tmp_path):
    (tmp_path / "1.lml").symlink_to("/dev/zero")
    with pytest.raises(CohortError, match="expected a regular file"):
        read_small_file(tmp_path / "1.lml", CohortError)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no sockets in folders here")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("1.lml")
        with pytest.raises(CohortError, match=r"1\.lml: cannot be read"):
            read_small_file(tmp_path / "1.lml", CohortError)


def test_the_size_is_bounded_to_the_byte(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 10)
    assert read_small_file(path, CohortError, 10) == b"x" * 10
    with pytest.raises(CohortError, match="more than 9 bytes"):
        read_small_file(path, CohortError, 9)


def test_text_may_have_a_byte_order_mark_but_no_nul(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa")
    assert read_small_text(path, CohortError) == "a"
    for data in (b"a\0", b"\xff\xfe"):
        path.write_bytes(data)
        with pytest.raises(CohortError, match="expected a text file, got binary data"):
            read_small_text(path, CohortError)


def test_missing_files_folders_and_impossible_names_are_said_with_their_path(tmp_path):
    with pytest.raises(CohortError, match=r"none: cannot be read: No such file"):
        read_small_file(tmp_path / "none", CohortError)
    with pytest.raises(CohortError, match="cannot be read"):
        read_small_file(tmp_path, CohortError)
    with pytest.raises(CohortError, match="cannot be read"):
        read_small_file(tmp_path / "a\0b", CohortError)
