import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks
from vertloc.io.landmarks.lml import write_lml
from vertloc.io.landmarks.registry import FORMATS, read_landmarks, write_landmarks
from vertloc.relabelling import parse_points, relabel, relabel_file


def chain(*labels):
    centroids = Centroids.from_points({label: (50, 60, 400 - 20 * i) for i, label in enumerate(labels)})
    return Landmarks(centroids, confidence=dict.fromkeys(labels, 0.9), provenance={"model": "m"})


def names(landmarks):
    return landmarks.centroids.labels


def test_one_right_level_shifts_the_rest_along_the_chain():
    before = chain("T11", "T12", "L1", "L2")
    after = relabel(before, parse_points(["3=L2"], names(before)))
    assert names(after) == ("T12", "L1", "L2", "L3")
    np.testing.assert_array_equal(after.centroids.points_mm, before.centroids.points_mm)
    assert after.edited == names(after)
    assert after.confidence == {}
    assert after.provenance["model"] == "m"
    assert after.provenance["relabelled"] == [{"points": {"3": "L2"}, "labels_before": ["T11", "T12", "L1", "L2"]}]
    assert before.edited == ()


def test_a_point_may_be_named_as_it_is_called_now_and_gaps_stay_gaps():
    before = chain("C6", "T1", "T2")
    assert names(relabel(before, parse_points(["T1=C7"], names(before)))) == ("C5", "C7", "T1")


def test_a_variant_is_a_level_of_its_own():
    before = chain("L3", "L4", "L5", "S1", "S2")
    assert names(relabel(before, parse_points(["4=L6", "5=S1"], names(before)))) == ("L3", "L4", "L5", "L6", "S1")
    before = chain("L4", "L5", "L6", "S1")
    assert names(relabel(before, parse_points(["1=L3"], names(before)))) == ("L3", "L4", "L5", "S1")


def test_names_beyond_the_ends_are_left_out_with_a_warning():
    before = chain("L5", "S1", "S2")
    after = relabel(before, parse_points(["1=S1"], names(before)))
    assert names(after) == ("S1", "S2")
    assert after.warnings == ("left out, as there is no name for it any more: the former S2",)
    np.testing.assert_array_equal(after.centroids.points_mm, before.centroids.points_mm[:2])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["5=L1"], "there are 4 points, T11, T12, L1, L2; the topmost is point 1"),
        (["0=L1"], "the topmost is point 1"),
        (["C3=C4"], "no point is called so"),
        (["1=X9"], "expected a point and its level"),
        (["L5"], "expected a point and its level, as in 4=L5 or L4=L5, got 'L5'"),
        (["1=L1", "1=L2"], "cannot be L1 as well"),
        (["1=L3", "2=L1"], "the levels contradict each other"),
    ],
)
def test_what_cannot_be_is_refused(texts, message):
    before = chain("T11", "T12", "L1", "L2")
    with pytest.raises(LandmarkError, match=message):
        relabel(before, parse_points(texts, names(before)))


def test_a_file_keeps_its_first_original_and_is_marked(tmp_path):
    path = tmp_path / "1.lml"
    write_lml(path, chain("T11", "T12", "L1").centroids)
    data = path.read_bytes()
    relabel_file(path, ["1=T12"])
    relabel_file(path, ["1=T10"])
    assert (tmp_path / "1.lml.original").read_bytes() == data
    first, *rest = path.read_bytes().split(b"\r\n")
    assert first == b"# 0 local, edited by a person"
    assert rest[0].startswith(b"170\tT10_center\t")
    again = read_landmarks(path)
    assert (names(again), again.edited, again.centroids.frame) == (
        ("T10", "T11", "T12"),
        ("T10", "T11", "T12"),
        "local",
    )


def test_a_world_file_stays_a_world_file(tmp_path):
    path = tmp_path / "1.lml"
    world = Centroids(("T11", "T12"), np.array([[1, 2, 3], [1, 2, -20]]), "world")
    write_lml(path, world, frame="world")
    relabel_file(path, ["2=L1"], out=tmp_path / "new.lml")
    assert read_landmarks(tmp_path / "new.lml").centroids.frame == "world"
    assert names(read_landmarks(path)) == ("T11", "T12")
    assert not (tmp_path / "1.lml.original").exists()


@pytest.mark.parametrize("name", [e.name for e in FORMATS if e.formatter and e.name != "sr"])
def test_results_of_every_format_can_be_relabelled(name, tmp_path):
    suffix = next(entry.suffixes[0] for entry in FORMATS if entry.name == name)
    image = ImageReference("1", Grid((230, 70, 60), (1.0, 1.0, 2.0), (0.0, 0.0, -100.0)))
    write_landmarks(tmp_path / f"1{suffix}", chain("T11", "T12", "L1"), image)
    relabel_file(tmp_path / f"1{suffix}", ["3=T12"], image=image)
    again = read_landmarks(tmp_path / f"1{suffix}", image.grid)
    assert names(again) == ("T10", "T11", "T12")
    if name == "json":
        assert again.edited == names(again)
        assert again.provenance["relabelled"][0]["labels_before"] == ["T11", "T12", "L1"]
