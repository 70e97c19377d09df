"""Ratings of a report: shifted scans are shifted back, once, and whatever is not a rating is refused."""

import json

import pytest
from toy_run import BROKEN, write_toy_run

from vertloc.cli import main
from vertloc.errors import LandmarkError
from vertloc.io.landmarks.lml import read_lml
from vertloc.ratings import Rating, apply_ratings, read_ratings


def saved(*entries, kind="vertloc ratings", version=1):
    return json.dumps({"kind": kind, "version": version, "run": "results", "ratings": list(entries)})


def test_a_scan_rated_one_level_too_low_is_put_right_and_its_original_is_kept(tmp_path):
    scans = write_toy_run(tmp_path)
    path = tmp_path / "results/toy01.lml"
    before = path.read_bytes()
    others = (tmp_path / "results/toy00.lml").read_bytes()
    ratings = (Rating("toy00", "right"), Rating("toy01", "wrong", 1), Rating(BROKEN, "unsure"))
    lines = apply_ratings(tmp_path / "results", ratings)
    assert read_lml(path).labels == scans[1].centroids.labels
    assert path.with_name("toy01.lml.original").read_bytes() == before
    assert (tmp_path / "results/toy00.lml").read_bytes() == others
    assert lines == [f"{path}: {', '.join(scans[1].centroids.labels)}", f"{BROKEN}: rated unsure; left as it is"]


def test_a_scan_that_was_wrong_in_another_way_is_left_for_a_look_by_hand(tmp_path):
    write_toy_run(tmp_path)
    before = (tmp_path / "results/toy01.lml").read_bytes()
    assert apply_ratings(tmp_path / "results", [Rating("toy01", "wrong", 0)]) == ["toy01: rated wrong; left as it is"]
    assert (tmp_path / "results/toy01.lml").read_bytes() == before


def test_a_rated_scan_without_a_result_stops_all_before_any_file_is_changed(tmp_path):
    write_toy_run(tmp_path)
    before = (tmp_path / "results/toy01.lml").read_bytes()
    with pytest.raises(LandmarkError, match="no landmarks of the rated scans elsewhere"):
        apply_ratings(tmp_path / "results", [Rating("toy01", "wrong", 1), Rating("elsewhere", "wrong", 1)])
    assert (tmp_path / "results/toy01.lml").read_bytes() == before


def test_a_shift_that_leaves_no_name_is_refused(tmp_path):
    write_toy_run(tmp_path)
    with pytest.raises(LandmarkError, match="no name would be left after a shift by -24 levels"):
        apply_ratings(tmp_path / "results", [Rating("toy01", "wrong", 24)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "expected ratings saved from a report"),
        (saved(kind="other"), "expected ratings saved from a report"),
        (saved(version=2), "version: expected 1, got 2"),
        (saved(1), "rating 1: expected an object, got int"),
        (saved({"scan": "", "rating": "right"}), "rating 1: scan: expected a name"),
        (saved({"scan": "a", "rating": "good"}), "rating 1: rating: expected right, wrong, unsure, got 'good'"),
        (saved({"scan": "a", "rating": "wrong", "shift": 1.5}), "rating 1: shift: expected a whole number of levels"),
        (saved({"scan": "a", "rating": "wrong", "shift": 99}), "rating 1: shift: expected a whole number of levels"),
    ],
)
def test_what_is_no_file_of_ratings_is_refused_with_the_place(tmp_path, text, message):
    (tmp_path / "ratings.json").write_text(text)
    with pytest.raises(LandmarkError, match=message):
        read_ratings(tmp_path / "ratings.json")


def test_a_right_or_unsure_scan_has_no_shift(tmp_path):
    (tmp_path / "r.json").write_text(
        saved({"scan": "a", "rating": "right", "shift": 3}, {"scan": "b", "rating": "unsure"})
    )
    assert read_ratings(tmp_path / "r.json") == (Rating("a", "right", 0), Rating("b", "unsure", 0))


def test_relabel_takes_ratings_from_the_command_line(tmp_path, monkeypatch, capsys):
    scans = write_toy_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.json").write_text(saved({"scan": "toy01", "rating": "wrong", "shift": 1}))
    assert main(["relabel", "results", "--ratings", "ratings.json"]) == 0
    assert capsys.readouterr().out.startswith("results/toy01.lml: T10, T11")
    assert read_lml(tmp_path / "results/toy01.lml").labels == scans[1].centroids.labels
