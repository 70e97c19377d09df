from dataclasses import replace

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.lml import write_lml
from vertloc.known_points import known_levels
from vertloc.localization import localize
from vertloc.vertebrae import RANK, VERTEBRAE

GRID = Grid((60, 50, 40), (1.0, 1.0, 2.0), (-51.3, -33.7, -812.4))


def test_points_files_and_folders_are_read_in_the_frame_of_the_run(tmp_path):
    (x, y, z), local = (-31.3, -8.7, -712.4), (20, 25, 100)
    for text, frame in (("T12=20,25,100", "local"), (f" t12 ={x},{y},{z}", "world")):
        np.testing.assert_allclose(known_levels([text], "s", GRID, frame)["T12"], (x, y, z))
    write_lml(tmp_path / "s0001/ct.lml", Centroids.from_points({"T12": local}))
    for text in (tmp_path, tmp_path / "s0001/ct.lml"):
        np.testing.assert_allclose(known_levels([str(text)], "s0001/ct", GRID, "world")["T12"], (x, y, z))
    assert len(known_levels([str(tmp_path)], "s0002/ct", GRID, "world")) == 0
    assert len(known_levels([], "s", GRID, "local")) == 0


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["T12=1,2"], "expected LEVEL=x,y,z"),
        (["X12=1,2,3"], "expected a vertebra from C1 to S2"),
        (["T12=1,2,three"], "expected three numbers, got 'three'"),
        (["T12=1,2,nan"], "expected three numbers"),
        (["T12=20,25,100", "T12=20,25,100"], "T12 is given twice"),
        (["T12=-300,25,-700"], "s: the known T12 lies outside the image; is it in the local frame"),
        (["nothing.lml"], "or a file or folder of landmarks"),
    ],
)
def test_what_is_none_of_these_is_refused(texts, message):
    with pytest.raises(LandmarkError, match=message):
        known_levels(texts, "s", GRID, "local")


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_known_level_moves_the_whole_chain(toy_model, toy_scans, shift):
    scan = toy_scans[5].volume
    plain = localize(scan, toy_model).world
    middle = plain.labels[len(plain) // 2]
    name = VERTEBRAE[RANK[middle] + shift]
    found = localize(scan, toy_model, known=Centroids.from_points({name: plain[middle]}, "world")).world
    # The same place, corrected in the frame of a spine of other names, and so of another size.
    assert np.linalg.norm(found[name] - plain[middle]) < 1.5
    moved = [np.linalg.norm(found.points_mm - point, axis=1).argmin() for _, point in plain]
    pairs = [(label, found.labels[i]) for (label, _), i in zip(plain, moved, strict=True)]
    agree = [RANK[new] - RANK[old] == shift for old, new in pairs if new in RANK]
    assert len(agree) >= len(plain) - 1
    assert np.mean(agree) > 0.8


def test_a_point_where_nothing_was_found_stays_where_a_person_set_it(toy_model, toy_scans):
    scan = toy_scans[5].volume
    plain = localize(scan, toy_model)
    above = plain.labels[0]
    point = plain.world[above] + (0, 0, 20)  # between two levels, or past the first
    apart = np.linalg.norm(plain.proposals.places_mm - point, axis=1).min()
    assert apart > 12
    name = VERTEBRAE[RANK[above] - 1]
    found = localize(scan, toy_model, known=Centroids.from_points({name: point}, "world")).world
    np.testing.assert_allclose(found[name], point, atol=1e-9)


def test_a_known_level_says_nothing_about_how_unlike_the_scan_is(toy_model, toy_scans):
    scan = toy_scans[5].volume
    plain = localize(scan, toy_model).world
    middle = plain.labels[len(plain) // 2]
    known = Centroids.from_points({middle: plain[middle]}, "world")
    settings = toy_model.settings
    strict = replace(settings.certainty, usual_distance=1e-3, distance_width=1e-3)
    usual = localize(scan, toy_model, known=known)
    unlike = localize(scan, replace(toy_model, settings=replace(settings, certainty=strict)), known=known)
    assert unlike.labels == usual.labels
    np.testing.assert_array_equal(unlike.world.points_mm, usual.world.points_mm)
    assert usual.certainty.shift_probability == unlike.certainty.shift_probability == {0: 1.0}
    assert usual.certainty.distance > 0
    assert unlike.certainty.reasons == ("unlike the scans that the model was trained on",)
    sure = dict(zip(unlike.labels, unlike.confidence, strict=True))
    assert sure.pop(middle) > 0.9
    assert max(sure.values()) < 0.01


@pytest.mark.parametrize("shift", [-1, 2])
def test_a_known_level_that_the_scan_does_not_look_like_makes_it_no_stranger(toy_model, toy_scans, shift):
    scan = toy_scans[5].volume
    plain = localize(scan, toy_model)
    middle = plain.labels[len(plain.labels) // 2]
    known = Centroids.from_points({VERTEBRAE[RANK[middle] + shift]: plain.world[middle]}, "world")
    found = localize(scan, toy_model, known=known)
    assert found.labels != plain.labels
    assert found.certainty.distance == pytest.approx(plain.certainty.distance, rel=0.2)  # at places as much corrected
    assert found.certainty.shift_probability == {0: 1.0}
