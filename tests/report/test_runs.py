"""Reading a folder of results: what needs a look comes first, and what is not there is not missed."""

import json

import pytest
from toy_run import BROKEN, WARNING, write_toy_run

from vertloc.errors import ReportError
from vertloc.report.runs import read_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_toy_run(folder)
    return folder


def test_scans_that_need_a_look_come_first_each_with_its_reasons(folder):
    run = read_run(folder / "results", folder / "data")
    assert [scan.scan for scan in run.scans] == [BROKEN, "toy01", "toy00"]
    failed, shifted, right = run.scans
    assert failed.concerns == ["failed: gone.mhd: no such file"]
    assert shifted.concerns == [
        "7 of 7 not identified, most named 1 level too low",
        "unsure of the level (all 1 level higher: 41%)",
        f"least sure of {next(iter(shifted.confidence))} (57%)",
        WARNING,
    ]
    assert right.concerns == []
    assert run.scores is not None
    assert run.scores.shifts == {1: 1}


def test_without_the_truth_nothing_is_scored(folder):
    run = read_run(folder / "results")
    assert run.scores is None
    assert all(scan.score is None for scan in run.scans)
    assert [scan.scan for scan in run.scans] == [BROKEN, "toy01", "toy00"]


def test_alternatives_are_read_as_mapping_or_pairs_the_likeliest_first(tmp_path):
    for given in ({"T11": 0.1, "T9": 0.3}, [["T11", 0.1], ["T9", 0.3]]):
        case = {"scan": "a", "image": "a.nii", "status": "done", "alternatives": {"T10": given}}
        (tmp_path / "run.json").write_text(json.dumps({"cases": [case]}))
        (scan,) = read_run(tmp_path).scans
        assert list(scan.alternatives["T10"]) == [("T9", 0.3), ("T11", 0.1)]


def test_other_readings_of_the_chain_are_read_as_in_the_json_of_a_scan(tmp_path):
    alternatives = [{"shift": 0, "probability": 0.6}, {"shift": 1, "probability": 0.31}]
    case = {"scan": "a", "image": "a.nii", "status": "done", "verdict": "unsure", "alternatives": alternatives}
    (tmp_path / "run.json").write_text(json.dumps({"cases": [case]}))
    (scan,) = read_run(tmp_path).scans
    assert scan.shifts == [(1, 0.31)]
    assert scan.concerns == ["unsure of the level (all 1 level lower: 31%)"]


def test_the_reasons_of_an_unsure_verdict_are_said_in_the_words_of_the_run(tmp_path):
    reasons = ["unlike the scans that the model was trained on"]
    shifts = {"0": 0.7, "1": 0.3}
    case = {"scan": "a", "state": "done", "verdict": "unsure", "reasons": reasons, "shift_probability": shifts}
    (tmp_path / "run.json").write_text(json.dumps({"cases": [case]}))
    (scan,) = read_run(tmp_path).scans
    assert scan.shifts == [(1, 0.3)]
    assert scan.concerns == ["unsure of the level (unlike the scans that the model was trained on)"]


def test_a_study_has_a_cohort_for_each_fold(tmp_path):
    for fold in ("fold1", "fold2"):
        case = {"scan": f"of-{fold}", "image": "a.nii", "status": "empty"}
        other = {**case, "scan": f"of-{'fold2' if fold == 'fold1' else 'fold1'}"}
        (tmp_path / f"run-{fold}.json").write_text(json.dumps({"cases": [case], "earlier": [other]}))
    run = read_run(tmp_path)
    assert run.cohorts == ("fold1", "fold2")
    assert [(scan.scan, scan.cohort) for scan in run.scans] == [("of-fold1", "fold1"), ("of-fold2", "fold2")]


def test_parts_of_a_job_array_are_no_cohorts(tmp_path):
    for part in (1, 2):
        case = {"scan": f"scan{part}", "image": "a.nii", "status": "empty"}
        (tmp_path / f"run-{part}-of-2.json").write_text(json.dumps({"cases": [case]}))
    run = read_run(tmp_path)
    assert run.cohorts == ()
    assert [scan.scan for scan in run.scans] == ["scan1", "scan2"]


def test_records_stand_in_for_a_manifest_that_was_never_written(tmp_path):
    (tmp_path / "records").mkdir()
    for name in "ab":
        record = {"scan": name, "image": f"{name}.nii", "state": "done", "world_mm": {"L1": [1.0, 2.0, 3.0]}}
        (tmp_path / "records" / f"{name}.record").write_text(json.dumps(record))
    scans = read_run(tmp_path).scans
    assert {scan.scan for scan in scans} == {"a", "b"}
    assert all(scan.status == "done" and scan.world_mm == {"L1": [1.0, 2.0, 3.0]} for scan in scans)


def test_points_come_from_the_record_where_no_landmark_file_can_be_read(tmp_path):
    (tmp_path / "records").mkdir()
    record = {"scan": "a", "state": "done", "world_mm": {"L1": [1.0, 2.0, 3.0]}}
    (tmp_path / "records/a.record").write_text(json.dumps(record))
    case = {"scan": "a", "image": "a.nii", "status": "done"}
    (tmp_path / "run.json").write_text(json.dumps({"cases": [case], "earlier": [{**case, "scan": "b"}]}))
    scans = {scan.scan: scan for scan in read_run(tmp_path).scans}
    assert scans["a"].world_mm == {"L1": [1.0, 2.0, 3.0]}
    assert scans["b"].world_mm == {}


DAMAGED = [
    "",
    "[]",
    "{",
    '{"cases": [{"image": "a"}]}',
    '{"cases": [1]}',
    '{"cases": 1}',
    '{"cases": [{"scan": "a", "confidence": {"L1": "high"}}]}',
    '{"cases": [{"scan": "a", "confidence": {"L1": NaN}}]}',
    '{"cases": [{"scan": "a", "alternatives": {"L1": 3}}]}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_manifest_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ReportError, match=str(tmp_path)):
        read_run(tmp_path)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"holds no run\.json"):
        read_run(tmp_path)
    with pytest.raises(ReportError, match="no such folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(ReportError, match="no such folder"):
        write_toy_run(tmp_path)
        read_run(tmp_path / "results", tmp_path / "nowhere")
