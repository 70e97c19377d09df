import pytest

from vertloc.cohorts.fold_files import FoldLine, read_fold_file
from vertloc.errors import CohortError


def scans(tmp_path, data):
    path = tmp_path / "fold1.txt"
    path.write_bytes(data)
    return [line.scan for line in read_fold_file(path)]


@pytest.mark.parametrize(
    "line",
    [
        "2804506",
        "  2804506\t",
        "patient0001/2804506",
        "./patient0001/2804506/2804506.mhd",
        "/data/spine-1/patient0001/2804506/2804506.nii.gz",
        "patient0001\\2804506\\2804506.mhd",
        "patient0001\\2804506\\",
        "2804506.lml",
        "2804506.raw",
        "2804506.NII.GZ",
        "2804506 # metal",
        "patient0001/2804506/",
    ],
)
def test_every_way_to_name_a_scan_gives_its_identifier(tmp_path, line):
    assert scans(tmp_path, line.encode()) == ["2804506"]


def test_a_dot_that_is_no_image_suffix_belongs_to_the_identifier(tmp_path):
    assert scans(tmp_path, b"case.01\ncase.02.nii.gz\n") == ["case.01", "case.02"]


def test_blank_lines_comments_crlf_and_a_byte_order_mark_do_not_count(tmp_path):
    data = b"\xef\xbb\xbf# fold 1\r\n\r\n1\r\n  \r\n2 # second\r\n#3\r\n4"
    assert scans(tmp_path, data) == ["1", "2", "4"]


def test_lines_are_counted_as_an_editor_does_and_repeats_are_kept(tmp_path):
    path = tmp_path / "fold1.txt"
    path.write_bytes(b"# fold\n\n7\r\n8\n7\n")
    assert read_fold_file(path) == (
        FoldLine("7", f"{path}:3"),
        FoldLine("8", f"{path}:4"),
        FoldLine("7", f"{path}:5"),
    )


def test_an_empty_file_names_no_scan(tmp_path):
    assert scans(tmp_path, b"") == []
    assert scans(tmp_path, b"# nothing yet\n/\n") == []


@pytest.mark.parametrize("data", [b"\xff\xfe1\x002\x00", b"12\x0034", b"1\n" * (1 << 20)])
def test_what_is_not_a_small_text_file_is_refused(tmp_path, data):
    with pytest.raises(CohortError, match=r"fold1\.txt: expected a (small )?text file"):
        scans(tmp_path, data)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"nothing\.txt: cannot be read: No such file"):
        read_fold_file(tmp_path / "nothing.txt")
