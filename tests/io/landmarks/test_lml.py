import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.centroids import Centroids
from vertloc.errors import LmlError
from vertloc.io.landmarks.lml import format_lml, read_lml, read_lml_header, write_lml
from vertloc.vertebrae import VARIANTS, VERTEBRAE

# The conventions of the database: CRLF, tabs, %.6g, ten times the rank, from top to bottom.
FILE = (
    b"# 2\r\n"
    b"10\tC1_center\t74.2058\t37.0346\t240\r\n"
    b"70\tC7_center\t-0.5\t1234.57\t559.182\r\n"
    b"80\tT1_center\t61.8749\t76.6946\t1e-05\r\n"
    b"190\tT12_center\t100\t0\t30.0001\r\n"
    b"240\tL5_center\t112.827\t47.6157\t97.5\r\n"
    b"260\tS2_center\t119.526\t103\t55\r\n"
)


def written(tmp_path, data):
    path = tmp_path / "2804506.lml"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("first", [b"# 0\r\n", b"# 2\r\n", b"# -7\r\n"])
def test_a_file_of_the_database_comes_back_byte_for_byte(tmp_path, first):
    path = written(tmp_path, first + FILE[5:])
    again = format_lml(read_lml(path), header=read_lml_header(path))
    assert again == first + FILE[5:]


def test_points_are_local_and_read_as_written(tmp_path):
    centroids = read_lml(written(tmp_path, FILE))
    assert centroids.frame == "local"
    assert centroids.labels == ("C1", "C7", "T1", "T12", "L5", "S2")
    np.testing.assert_array_equal(centroids["C7"], [-0.5, 1234.57, 559.182])


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from((*VERTEBRAE, *VARIANTS)),
        st.tuples(*[st.floats(-2000, 2000)] * 3),
    )
)
def test_what_is_written_reads_back_to_six_digits(tmp_path_factory, points):
    path = tmp_path_factory.mktemp("lml") / "x.lml"
    write_lml(path, Centroids.from_points(points))
    again = read_lml(path)
    assert set(again.labels) == set(points)
    for label, point in again:
        np.testing.assert_allclose(point, points[label], rtol=5.1e-6, atol=1e-300)
    assert format_lml(again) == path.read_bytes()


def test_no_centroids_are_a_file_with_only_its_header(tmp_path):
    write_lml(tmp_path / "x.lml", Centroids((), np.zeros((0, 3))))
    assert (tmp_path / "x.lml").read_bytes() == b"# 0\r\n"
    assert len(read_lml(tmp_path / "x.lml")) == 0


def test_variants_get_the_number_between_their_neighbours():
    centroids = Centroids.from_points({"L6": (1, 2, 3), "T13": (4, 5, 6), "S1": (7, 8, 9)})
    assert [line.split(b"\t")[:2] for line in format_lml(centroids).splitlines()[1:]] == [
        [b"195", b"T13_center"],
        [b"245", b"L6_center"],
        [b"250", b"S1_center"],
    ]


def test_world_points_are_written_only_when_asked_for():
    world = Centroids.from_points({"C1": (1, 2, 3)}, "world")
    with pytest.raises(ValueError, match="local frame"):
        format_lml(world)
    assert format_lml(world, frame="world").splitlines()[1] == b"10\tC1_center\t1\t2\t3"


def test_a_world_file_says_so_in_line_1_and_only_there_and_is_read_back_as_world(tmp_path):
    world = Centroids.from_points({"C1": (-1, 2, 3), "C2": (4, 5, -800)}, "world")
    write_lml(tmp_path / "x.lml", world, header=2, frame="world")
    first, *rest = (tmp_path / "x.lml").read_bytes().splitlines()
    assert first == b"# 2 world LPS mm"
    assert rest == format_lml(Centroids(world.labels, world.points_mm)).splitlines()[1:]
    again = read_lml(tmp_path / "x.lml")
    assert again.frame == "world"
    np.testing.assert_array_equal(again.points_mm, world.points_mm)
    assert read_lml_header(tmp_path / "x.lml") == 2


@pytest.mark.parametrize("first", [b"# 0 local", b"#0 LOCAL index times spacing", b"# 0"])
def test_a_local_file_may_say_so(tmp_path, first):
    assert read_lml(written(tmp_path, first + b"\n10\tC1_center\t1\t2\t3\n")).frame == "local"


def test_a_frame_that_is_not_known_is_not_guessed_at(tmp_path):
    with pytest.raises(LmlError, match=":1: expected a first line '# <number>', got '# 0 scanner'"):
        read_lml(written(tmp_path, b"# 0 scanner\n"))


@pytest.mark.parametrize(
    "text",
    [
        b"# 0\n10\tC1_center\t1\t2.5\t3\n",
        b"# 0\r\n10 C1_center 1 2.5 3",
        b"\xef\xbb\xbf#0\r\n\r\n  10  C1_center\t +1.0  .25e1 3. \r\n\r\n",
        b"\n# 0\n# seen by two readers\n999\tC1\t1\t2.5\t3\n",
    ],
)
def test_white_space_line_ends_blank_lines_and_ids_do_not_matter(tmp_path, text):
    centroids = read_lml(written(tmp_path, text))
    assert centroids.labels == ("C1",)
    np.testing.assert_array_equal(centroids["C1"], [1, 2.5, 3])


def test_the_name_is_trusted_over_the_id_and_over_the_order(tmp_path):
    centroids = read_lml(written(tmp_path, b"# 0\n10\tL1_center\t1\t1\t1\n200\tC1_center\t2\t2\t2\n"))
    assert centroids.labels == ("C1", "L1")
    assert centroids["L1"][0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", ":1: expected a first line"),
        (b"\r\n \r\n", ":1: expected a first line"),
        (b"10\tC1_center\t1\t2\t3\r\n", ":1: expected a first line '# <number>', got '10"),
        (b"# zero\n", ":1: expected a first line"),
        (b"# 0\n10\tC1_center\t1\t2\n", ":2: expected 'id name_center x y z', got 4 fields"),
        (b"# 0\n\n10\tC1_center\t1\t2\t3\t4\n", ":3: expected 'id name_center x y z', got 6 fields"),
        (b"# 0\nC1\tC1_center\t1\t2\t3\n", ":2: expected a whole number as id, got 'C1'"),
        (b"# 0\n10\tC1_center\t1\ttwo\t3\n", ":2: expected a finite number as y, got 'two'"),
        (b"# 0\n10\tC1_center\t1\t2\t1_0\n", ":2: expected a finite number as z, got '1_0'"),
        (b"# 0\n10\tC1_center\t1\t2,5\t3\n", ":2: expected a finite number as y, got '2,5'"),
        (b"# 0\n10\tC1_center\tnan\t2\t3\n", ":2: expected a finite number as x, got 'nan'"),
        (b"# 0\n10\tC1_center\t1\t2\t1e999\n", ":2: expected a finite number as z, got '1e999'"),
        (b"# 0\n10\tC1_center\t1\t2\t1e308\n", ":2: expected z within 1e+06 mm, got '1e308'"),
        (b"# 0\n10\tC8_center\t1\t2\t3\n", ":2: expected a vertebra from C1 to S2, got 'C8_center'"),
        (b"# 0\n10\tC1_center\t1\t2\t3\n20\tC1_center\t1\t2\t3\n", ":3: expected each vertebra once, got C1 again"),
        (b"# 0\n\x00\x01\x02", ": expected a text file"),
        (b"\x1f\x8b\x08\x00\xff\xfe", ": expected a text file"),
    ],
)
def test_a_broken_line_is_named_with_what_was_wanted(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(LmlError) as error:
        read_lml(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_a_large_file_is_refused_without_reading_it_all(tmp_path):
    path = written(tmp_path, b"# 0\n" + b"\n" * (1 << 20))
    with pytest.raises(LmlError, match="small text file"):
        read_lml(path)


def test_a_missing_file_and_a_folder_are_lml_errors(tmp_path):
    with pytest.raises(LmlError, match=r"nothing\.lml: cannot be read: No such file"):
        read_lml(tmp_path / "nothing.lml")
    with pytest.raises(LmlError, match="cannot be read: Is a directory"):
        read_lml(tmp_path)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_centroids_or_an_lml_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("lml") / "x.lml"
    path.write_bytes(b"# 0\n10\tC1_center\t1\t2\t3\n" + data)
    try:
        assert "C1" in read_lml(path)
    except LmlError as error:
        assert str(error).startswith(str(path))
