"""Tables: what they say is what the scores say; empty cells stay empty; JSON and CSV can be read by programs."""

import csv
import io
import itertools
import json

import numpy as np
import pytest

import vertloc
from vertloc.centroids import Centroids
from vertloc.evaluation.matching import score_scan
from vertloc.evaluation.scores import Scores
from vertloc.report.published import PUBLISHED
from vertloc.report.tables import scores_csv, scores_json, scores_table, study_table, worst_scans

EMPTY = Centroids((), np.empty((0, 3)))


def column(labels, aside=0.0):
    return Centroids.from_points({label: (aside, 0.0, -30.0 * i) for i, label in enumerate(labels)})


@pytest.fixture
def scores():
    good = score_scan("good", column(["T1", "T2"]), column(["T1", "T2"], 4.0), patient="p1")
    bad_points = Centroids.from_points({"L1": (3, 0, -30), "L3": (5, 0, 0)})
    bad = score_scan("bad", column(["L1", "L2"]), bad_points, patient="p2")
    gone = score_scan("gone", column(["C7"]), EMPTY, has_prediction=False)
    return Scores((bad, gone, good), without_truth=("stray",))


def cells(markdown, first):
    """Cells of the table row that starts with `first`."""
    rows = [line for line in markdown.splitlines() if line.startswith(f"| {first} ")]
    assert len(rows) == 1, rows
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def test_the_table_shows_every_region_with_its_figures(scores):
    table = scores_table(scores)
    assert cells(table, "thoracic") == ["thoracic", "2", "100.0", "100.0 to 100.0", "4.0", "0.0", "4.0", "0", "0"]
    assert cells(table, "cervical") == ["cervical", "1", "0.0", "0.0 to 0.0", "–", "–", "–", "1", "0"]
    assert cells(table, "sacral") == ["sacral", "0", "–", "–", "–", "–", "–", "0", "0"]
    assert cells(table, "all")[:3] == ["all", "5", "40.0"]
    assert cells(table, "with every annotated vertebra identified")[1] == "1"
    assert cells(table, "without a prediction file")[1] == "1"
    assert "stray" in table


def test_published_rows_stand_beside_with_their_source_and_a_warning(scores):
    table = study_table(scores, scores)
    for row in PUBLISHED:
        assert row.reference in table
    assert cells(table, "J-CNN")[3] == "84.2"
    assert "Only scores of the same scans" in table.replace("\n", " ")


def test_every_row_of_a_table_has_as_many_cells_as_its_header(scores):
    for text in (scores_table(scores), worst_scans(scores), scores_table(Scores(()))):
        lines = text.splitlines()
        for above, line in itertools.pairwise(lines):
            if above.startswith("|") and line.startswith("|"):
                assert above.count("|") == line.count("|")


def test_tables_without_scans_have_no_figures():
    assert cells(scores_table(Scores(())), "all") == ["all", "0", "–", "–", "–", "–", "–", "0", "0"]
    assert "| scan" in worst_scans(Scores(()))
    assert len(scores_csv(Scores(())).splitlines()) == 1
    assert json.loads(scores_json(Scores(())))["regions"]["all"]["identification_rate"] is None


def test_the_worst_scans_come_first_and_no_more_than_asked_for(scores):
    lines = [line for line in worst_scans(scores, 2).splitlines() if line.startswith("|")][2:]
    assert [line.split("|")[1].strip() for line in lines] == ["gone", "bad"]
    assert "no prediction file" in lines[0]


def test_equally_bad_scans_are_ranked_by_their_largest_error():
    truth = column(["T1", "T2"])
    near, far = column(["T1", "T2"], 2.0), column(["T1", "T2"], 9.0)
    scores = Scores((score_scan("a", truth, near), score_scan("b", truth, far)))
    lines = [line for line in worst_scans(scores).splitlines() if line.startswith("|")][2:]
    assert [line.split("|")[1].strip() for line in lines] == ["b", "a"]


def test_csv_has_one_row_a_vertebra_and_one_a_label_that_is_not_annotated(scores):
    rows = list(csv.DictReader(io.StringIO(scores_csv(scores))))
    assert [(r["scan"], r["label"], r["status"]) for r in rows] == [
        ("bad", "L1", "wrong"),
        ("bad", "L2", "missed"),
        ("bad", "L3", "not annotated"),
        ("gone", "C7", "missed"),
        ("good", "T1", "identified"),
        ("good", "T2", "identified"),
    ]
    assert (rows[0]["nearest"], rows[0]["region"], rows[0]["patient"]) == ("L2", "lumbar", "p2")
    assert (rows[1]["error_mm"], rows[1]["predicted_x_mm"], rows[1]["true_z_mm"]) == ("", "", "-30")
    assert (rows[2]["true_x_mm"], rows[2]["predicted_x_mm"], rows[2]["error_mm"]) == ("", "5", "5")
    assert float(rows[4]["error_mm"]) == 4.0


def test_json_holds_scores_configuration_and_versions(scores):
    document = json.loads(scores_json(scores, {"trees": 30}, {"numba": "1.2.3"}))
    assert document["configuration"] == {"trees": 30}
    assert document["versions"]["vertloc"] == vertloc.__version__
    assert document["versions"]["numba"] == "1.2.3"
    assert document["n_scans"] == 3
    assert document["scans_without_prediction"] == ["gone"]
    assert document["predictions_without_truth"] == ["stray"]
    assert document["regions"]["all"]["identification_rate"] == 0.4
    assert document["regions"]["cervical"]["mean_mm"] is None
    assert document["small_scans"]["n_scans"] == 3
    bad = document["scans"][0]
    assert (bad["wrong"], bad["missed"], bad["not_annotated"]) == (["L1"], ["L2"], ["L3"])


def test_names_with_a_bar_do_not_break_the_markdown():
    scores = Scores((score_scan("a|b", column(["T1"]), EMPTY),))
    assert "a\\|b" in worst_scans(scores)


def test_names_are_no_markup_in_markdown_and_no_formulas_in_csv():
    named = "=1+1<img src=x>"
    scores = Scores((score_scan(named, column(["T1"]), column(["T2"])),), without_truth=("<b>",))
    text = study_table(scores, scores)
    assert "=1+1&lt;img src=x&gt;" in text
    assert "&lt;b&gt;" in text
    assert "<img" not in text
    assert "<b>" not in text
    rows = list(csv.DictReader(io.StringIO(scores_csv(scores))))
    assert [(r["scan"], r["patient"]) for r in rows] == [(f"'{named}", f"'{named}")] * 2
