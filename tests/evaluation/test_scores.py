"""Folders of landmark files -> scores: hand-worked figures, empty cases, and all that can be wrong with folders."""

import math

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import EvaluationError
from vertloc.evaluation.matching import score_scan
from vertloc.evaluation.scores import Scores, evaluate, summarize
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.volume import Volume


def column(labels, gap=30.0, aside=0.0):
    return Centroids.from_points({label: (aside, 0.0, 500 - gap * i) for i, label in enumerate(labels)})


@pytest.fixture
def folders(tmp_path):
    """An annotated folder in the database's layout, and an empty one for predictions."""
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    predictions.mkdir()
    write_lml(truth / "patient1" / "11" / "11.lml", column(["C6", "C7", "T1", "T2"]))
    write_lml(truth / "patient1" / "12" / "12.lml", column([f"T{i}" for i in range(3, 13)]))
    write_lml(truth / "patient2" / "21" / "21.lml", column(["L4", "L5", "S1"]))
    return truth, predictions


def test_scores_of_three_scans_are_as_worked_out_by_hand(folders):
    truth, predictions = folders
    # 11: C6 and C7 3 mm off, T1 missed, T2 21 mm off; L1 is not annotated.
    points = {"C6": (3, 0, 500), "C7": (3, 0, 470), "T2": (21, 0, 410), "L1": (0, 0, 100)}
    write_lml(predictions / "11.lml", Centroids.from_points(points))
    # 12: everything exact. 21: 4 mm off, in a file named as in 2013.
    write_lml(predictions / "12.lml", column([f"T{i}" for i in range(3, 13)]))
    write_lml(predictions / "21_centroids_conf.lml", column(["L4", "L5", "S1"], aside=4.0))
    scores = evaluate(truth, predictions)
    everything = scores.summary()
    assert (everything.n, everything.n_identified, everything.n_missed, everything.n_extra) == (17, 15, 1, 1)
    errors = [3, 3, 21] + [0] * 10 + [4] * 3
    assert everything.mean_mm == pytest.approx(np.mean(errors))
    assert everything.std_mm == pytest.approx(np.std(errors))
    assert everything.median_mm == pytest.approx(np.median(errors))
    by_region = {r: scores.summary(r) for r in ("cervical", "thoracic", "lumbar", "sacral")}
    assert {r: (s.n, s.n_identified, s.n_missed, s.n_extra) for r, s in by_region.items()} == {
        "cervical": (2, 2, 0, 0),
        "thoracic": (12, 10, 1, 0),
        "lumbar": (2, 2, 0, 1),
        "sacral": (1, 1, 0, 0),
    }
    assert by_region["cervical"].identification_rate == 1.0
    assert by_region["sacral"].mean_mm == pytest.approx(4.0)
    assert scores.n_all_right == 2
    assert scores.without_prediction == ()
    assert [scan.scan for scan in scores.scans] == ["11", "12", "21"]
    assert [scan.patient for scan in scores.scans] == ["patient1", "patient1", "patient2"]


def test_small_scans_have_at_most_nine_annotated_vertebrae(folders):
    assert [scan.scan for scan in evaluate(*folders).small.scans] == ["11", "21"]


def test_a_scan_without_prediction_file_counts_with_all_its_vertebrae(folders):
    truth, predictions = folders
    write_lml(predictions / "11.lml", column(["C6", "C7", "T1", "T2"]))
    scores = evaluate(truth, predictions)
    assert scores.without_prediction == ("12", "21")
    assert scores.summary().identification_rate == pytest.approx(4 / 17)
    assert scores.summary().n_missed == 13


def test_an_empty_prediction_file_is_a_prediction(folders):
    truth, predictions = folders
    write_lml(predictions / "11.lml", Centroids((), np.empty((0, 3))))
    scores = evaluate(truth, predictions, ["11"])
    assert scores.without_prediction == ()
    assert (scores.summary().n, scores.summary().n_missed) == (4, 4)
    assert math.isnan(scores.summary().mean_mm)


def test_only_the_scans_asked_for_are_scored(folders):
    truth, predictions = folders
    write_lml(predictions / "11.lml", column(["C6", "C7", "T1", "T2"]))
    (predictions / "12.lml").write_text("broken, but nobody asked for it")
    scores = evaluate(truth, predictions, ["21", "11"])
    assert [scan.scan for scan in scores.scans] == ["11", "21"]
    assert scores.without_truth == ()


def test_predictions_without_annotation_are_named(folders):
    truth, predictions = folders
    write_lml(predictions / "99.lml", column(["T1"]))
    assert evaluate(truth, predictions).without_truth == ("99",)


def test_predictions_in_a_folder_below_the_truth_are_not_taken_for_truth(folders):
    truth, _ = folders
    write_lml(truth / "results" / "11.lml", column(["C6", "C7", "T1", "T2"]))
    assert evaluate(truth, truth / "results").summary().n_identified == 4


def test_a_folder_that_holds_a_scan_under_both_names_is_ambiguous(folders):
    truth, _ = folders
    write_lml(truth / "patient2" / "21" / "21_centroids_conf.lml", column(["L4", "L5", "S1"], aside=4.0))
    with pytest.raises(EvaluationError, match="21: found 2 times"):
        evaluate(truth, truth)


def test_a_folder_scored_against_itself_is_all_right(folders):
    truth, _ = folders
    scores = evaluate(truth, truth)
    assert scores.summary().identification_rate == 1.0
    assert scores.summary().interval == (1.0, 1.0)
    assert scores.n_all_right == 3


def test_hidden_files_are_not_landmark_files(folders):
    truth, predictions = folders
    (truth / "patient1" / "11" / "._11.lml").write_bytes(b"\x00\x05\x16\x07")
    (predictions / ".1a2b.11.lml").write_text("half a fi")
    assert len(evaluate(truth, predictions).scans) == 3


def test_a_truth_folder_without_landmarks_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(EvaluationError, match=r"a: no \.lml file in this folder or below it"):
        evaluate(tmp_path / "a", tmp_path)


def test_missing_folders_are_both_named(tmp_path):
    with pytest.raises(EvaluationError) as error:
        evaluate(tmp_path / "here", tmp_path / "there")
    assert "here: no such folder" in str(error.value)
    assert "there: no such folder" in str(error.value)


def test_all_broken_files_are_listed_at_once(folders):
    truth, predictions = folders
    write_lml(predictions / "11.lml", column(["C6", "C7", "T1", "T2"]))
    (predictions / "12.lml").write_text("# 0\n80\tT1_center\tfar\t2\t3\n")
    (predictions / "21.lml").write_text("# 0\n80\tT1_center\t1\t2\n")
    with pytest.raises(EvaluationError) as error:
        evaluate(truth, predictions)
    assert str(predictions / "12.lml") in str(error.value)
    assert str(predictions / "21.lml") in str(error.value)
    assert "11.lml" not in str(error.value)


def test_a_scan_that_is_annotated_or_predicted_twice_is_an_error(folders):
    truth, predictions = folders
    write_lml(truth / "patient3" / "11" / "11.lml", column(["T1"]))
    write_lml(predictions / "21.lml", column(["L4"]))
    write_lml(predictions / "21_centroids_conf.lml", column(["L4"]))
    with pytest.raises(EvaluationError) as error:
        evaluate(truth, predictions)
    assert "11: found 2 times" in str(error.value)
    assert "21: found 2 times" in str(error.value)


def test_scans_without_annotation_and_scans_asked_for_twice_are_errors(folders):
    with pytest.raises(EvaluationError) as error:
        evaluate(*folders, ["11", "77", "11", "78"])
    message = str(error.value)
    assert "77: no 77.lml below" in message
    assert "78: no 78.lml below" in message
    assert "11: asked for 2 times" in message


def test_a_group_without_vertebrae_has_no_figures_but_exists():
    for summary in (summarize([]), Scores(()).summary("lumbar")):
        assert (summary.n, summary.n_identified, summary.n_missed, summary.n_extra) == (0, 0, 0, 0)
        assert math.isnan(summary.identification_rate)
        assert math.isnan(summary.mean_mm)
        assert math.isnan(summary.std_mm)
        assert math.isnan(summary.median_mm)
        assert all(math.isnan(end) for end in summary.interval)


def test_shifted_scans_are_counted_by_shift():
    truth = column(["T1", "T2", "T3"])
    low, high = (Centroids(labels, truth.points_mm) for labels in (("T2", "T3", "T4"), ("C7", "T1", "T2")))
    scores = Scores(tuple(score_scan(str(i), truth, p) for i, p in enumerate((truth, low, high, low))))
    assert scores.shifts == {-1: 1, 1: 2}


def test_the_interval_holds_the_rate_and_narrows_with_more_patients():
    truth, wrong = column(["T1", "T2", "T3"]), Centroids.from_points({"T1": (0, 0, 0)})

    def width(n):
        scans = [score_scan(str(i), truth, truth if i % 4 else wrong) for i in range(n)]
        low, high = summarize(scans).interval
        assert low <= 0.75 <= high
        return high - low

    assert 0 < width(160) < width(16) < 1
    assert width(16) == width(16)


def test_scans_of_one_patient_are_drawn_together():
    truth, wrong = column(["T1", "T2", "T3"]), Centroids.from_points({"T1": (0, 0, 0)})

    def width(patient_of):
        scans = [score_scan(str(i), truth, truth if i % 16 < 8 else wrong, patient=patient_of(i)) for i in range(64)]
        low, high = summarize(scans).interval
        return high - low

    # Eight patients with eight scans each, all right or all wrong: much less is known than from 64 patients.
    assert width(lambda i: f"p{i // 8}") > 2 * width(str)


def test_patients_are_counted_as_the_layouts_count_them(tmp_path):
    """`<patient>/<scan>.lml` without a folder for each scan, and a release folder that is no patient."""
    for patient in range(1, 6):
        for i in range(6):
            write_lml(tmp_path / "truth" / f"patient{patient:04d}" / f"{patient}{i}.lml", column(["T1", "T2"]))
    write_lml(tmp_path / "truth" / "spine-1" / "70" / "70.lml", column(["T1"]))
    write_lml(tmp_path / "truth" / "spine-1" / "71" / "71.lml", column(["T1"]))
    (tmp_path / "out").mkdir()
    patients = {scan.patient for scan in evaluate(tmp_path / "truth", tmp_path / "out").scans}
    assert patients == {*(f"patient{i:04d}" for i in range(1, 6)), "70", "71"}


GRID = Grid((40, 30, 30), (1.0, 1.0, 2.5), (-51.3, -33.7, -812.4), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
LOCAL = Centroids.from_points({"T1": (11, 12, 80), "T2": (12, 13, 60), "T3": (12, 14, 40)})


def test_results_in_the_world_frame_are_brought_into_the_frame_of_the_annotation(tmp_path):
    write_image(Volume(np.zeros(GRID.shape, np.int16), GRID), tmp_path / "truth/s/s.mha")
    write_lml(tmp_path / "truth/s/s.lml", LOCAL)
    write_lml(tmp_path / "out/s.lml", LOCAL.to_world(GRID), frame="world")
    scores = evaluate(tmp_path / "truth", tmp_path / "out")
    assert scores.summary().n_identified == 3
    assert scores.summary().mean_mm == pytest.approx(0, abs=1e-2)
    write_lml(tmp_path / "truth/s/s.lml", LOCAL.to_world(GRID), frame="world")
    write_lml(tmp_path / "out/s.lml", LOCAL)
    assert evaluate(tmp_path / "truth", tmp_path / "out").summary().mean_mm == pytest.approx(0, abs=1e-2)


def test_frames_that_differ_without_an_image_are_an_error_with_a_way_out(tmp_path):
    write_lml(tmp_path / "truth/s/s.lml", LOCAL)
    write_lml(tmp_path / "out/s.lml", LOCAL.to_world(GRID), frame="world")
    with pytest.raises(
        EvaluationError, match=r"out/s\.lml: holds points in the world frame.*predict with --frame local"
    ):
        evaluate(tmp_path / "truth", tmp_path / "out")


def test_an_unmarked_file_in_another_frame_is_warned_of(tmp_path, caplog):
    write_lml(tmp_path / "truth/s/s.lml", LOCAL)
    write_lml(tmp_path / "out/s.lml", Centroids(LOCAL.labels, LOCAL.to_world(GRID).points_mm))
    evaluate(tmp_path / "truth", tmp_path / "out")
    assert "no predicted point lies within 20 mm of any annotated one" in caplog.text
    caplog.clear()
    write_lml(tmp_path / "out/s.lml", Centroids(("T2", "T3", "T4"), LOCAL.points_mm))
    evaluate(tmp_path / "truth", tmp_path / "out")
    assert caplog.text == ""


def test_scans_of_one_name_are_matched_by_their_folders(tmp_path):
    for i, labels in enumerate((["T1", "T2"], ["L1", "L2"])):
        write_lml(tmp_path / f"truth/s000{i}/ct.lml", column(labels))
        write_lml(tmp_path / f"out/lml/s000{i}/ct.lml", column(labels))
    scores = evaluate(tmp_path / "truth", tmp_path / "out")
    assert [(scan.scan, scan.n_identified) for scan in scores.scans] == [("s0000/ct", 2), ("s0001/ct", 2)]
    assert scores.without_truth == ()


def test_coordinates_of_no_patient_are_refused_by_file_and_line(folders):
    truth, predictions = folders
    (predictions / "11.lml").write_bytes(b"# 0\n80\tT1_center\t1e308\t-1e308\t1\n")
    with pytest.raises(EvaluationError, match=r"11\.lml:2: expected x within 1e\+06 mm, got '1e308'"):
        evaluate(truth, predictions)
