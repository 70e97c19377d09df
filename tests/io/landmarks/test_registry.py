from pathlib import Path

import pytest

from vertloc.errors import LandmarkError
from vertloc.io.landmarks.registry import (
    FORMATS,
    is_landmark_path,
    landmark_format,
    landmark_scan_name,
    preferred_landmarks,
    read_centroids,
)


def test_suffixes_are_lower_case_and_belong_to_one_format_each():
    suffixes = [suffix for entry in FORMATS for suffix in entry.suffixes]
    assert suffixes == [suffix.lower() for suffix in suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert len({entry.name for entry in FORMATS}) == len(FORMATS)


def test_the_case_of_a_suffix_does_not_matter_and_a_bare_suffix_is_no_landmark_file():
    assert is_landmark_path(Path("a/2804506.LML"))
    assert landmark_scan_name(Path("a/2804506.LML")) == "2804506"
    assert not is_landmark_path(Path("a/.lml"))
    assert not is_landmark_path(Path("a/2804506.txt"))
    assert landmark_scan_name(Path("a/2804506.txt")) == "2804506.txt"


def test_an_unknown_suffix_is_said_with_the_known_ones():
    with pytest.raises(LandmarkError, match=r"x\.txt: expected a landmark file ending in \.lml"):
        landmark_format(Path("x.txt"))


def test_the_preferred_format_is_the_first_in_the_registry():
    assert preferred_landmarks([Path("b/1.lml"), Path("a/1.lml")]) == Path("a/1.lml")
    assert preferred_landmarks([]) is None


def test_lml_reads_through_the_one_call(tmp_path):
    path = tmp_path / "1.lml"
    path.write_bytes(b"# 0\r\n10\tC1_center\t1\t2\t3\r\n")
    assert read_centroids(path).labels == ("C1",)
    assert read_centroids(str(path)).frame == "local"
