"""A result is used again only if it would come out the same."""

import dataclasses
import os

import pytest

from vertloc.batch.predicting import ModelSource, PredictOptions, predict_cases
from vertloc.batch.records import read_record, write_record
from vertloc.cohorts.case import Case
from vertloc.io.images import write_image
from vertloc.io.landmarks.lml import read_lml

PLAIN = PredictOptions()
RESUME = PredictOptions(resume=True)


@pytest.fixture
def data(tmp_path, toy_scans):
    for name, scan in (("a", toy_scans[5]), ("b", toy_scans[0])):
        write_image(scan.volume, tmp_path / "data" / f"{name}.mhd")
    return tmp_path / "data"


def predict(data, model, out, options, names=("a", "b"), sha256="0" * 64):
    cases = [Case(name, name, data / f"{name}.mhd") for name in names]
    return predict_cases(cases, model, out, options=options, source=ModelSource(data / "model.npz", lambda: sha256))


def files_in(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*.*") if path.is_file()}


@pytest.fixture
def out(data, toy_model, tmp_path):
    predict(data, toy_model, tmp_path / "out", PLAIN)
    return tmp_path / "out"


def test_what_would_come_out_the_same_is_skipped_and_keeps_its_confidence(data, toy_model, out):
    before = files_in(out)
    results = predict(data, toy_model, out, RESUME)
    assert [r.status for r in results] == ["skipped", "skipped"]
    assert len(results[0].confidence) > 3
    assert results[0].record == read_record(out, "a")
    assert files_in(out) == before


def test_a_missing_result_is_made(data, toy_model, out):
    before = files_in(out)
    (out / "a.lml").unlink()
    assert [r.status for r in predict(data, toy_model, out, RESUME)] == ["done", "skipped"]
    after = files_in(out)
    assert {path for path in after if path.suffix == ".lml"} == {path for path in before if path.suffix == ".lml"}
    assert all(after[path] == before[path] for path in after if path.suffix == ".lml")


@pytest.mark.parametrize("kind", ["model", "frame", "settings", "image"])
def test_a_result_of_something_else_is_made_anew_and_that_is_said(data, toy_model, out, caplog, kind):
    options, sha256, model = RESUME, "0" * 64, toy_model
    if kind == "model":
        sha256 = "1" * 64
    if kind == "frame":
        options = dataclasses.replace(RESUME, frame="world")
    if kind == "settings":
        posterior = dataclasses.replace(model.settings.posterior, smallest_probability=0.03)
        model = dataclasses.replace(model, settings=dataclasses.replace(model.settings, posterior=posterior))
    if kind == "image":
        for name in ("a.mhd", "b.mhd"):
            os.utime(data / name, ns=(1, 1))
    results = predict(data, model, out, options, sha256=sha256)
    assert [r.status for r in results] == ["done", "done"]
    assert f"a: predicted again: the result that is there is of another {kind}" in caplog.text
    assert read_record(out, "a").origin.model == sha256
    assert [r.status for r in predict(data, model, out, options, sha256=sha256)] == ["skipped", "skipped"]


def test_a_failed_scan_is_tried_again(data, toy_model, tmp_path):
    good = (data / "a.mhd").read_bytes()
    (data / "a.mhd").write_text("no header")
    assert [r.status for r in predict(data, toy_model, tmp_path / "out", RESUME)] == ["failed", "done"]
    assert read_record(tmp_path / "out", "a").state == "failed"
    (data / "a.mhd").write_bytes(good)
    assert [r.status for r in predict(data, toy_model, tmp_path / "out", RESUME)] == ["done", "skipped"]
    assert read_record(tmp_path / "out", "a").state == "done"


def test_a_result_without_a_record_is_made_anew(data, toy_model, out, caplog):
    (out / "records/a.record").unlink()
    (out / "a.lml").write_text("# 0\n")
    assert [r.status for r in predict(data, toy_model, out, RESUME)] == ["done", "skipped"]
    assert len(read_lml(out / "a.lml")) > 3
    assert "a: predicted again: nothing tells how the result that is there was made" in caplog.text


def test_a_scan_whose_files_were_being_replaced_is_made_anew(data, toy_model, out):
    record = read_record(out, "a")
    write_record(out, dataclasses.replace(record, state="writing"))
    (out / "a.lml").write_text("# of another model\n")
    before = files_in(out)
    assert [r.status for r in predict(data, toy_model, out, RESUME)] == ["done", "skipped"]
    assert files_in(out)[out.relative_to(out) / "a.lml"] != before[out.relative_to(out) / "a.lml"]
    assert read_record(out, "a").state == "done"


def test_a_result_that_a_person_has_changed_is_kept_and_that_is_said(data, toy_model, out, caplog):
    (out / "a.lml").write_text("# 0\n")
    results = predict(data, toy_model, out, RESUME)
    assert [r.status for r in results] == ["skipped", "skipped"]
    assert (out / "a.lml").read_text() == "# 0\n"
    assert "a.lml: changed after it was written; kept as it is" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"format": "vertloc record 1"}', b"\xff\x00", b"[" * 100_000])
def test_a_damaged_record_is_no_record(data, toy_model, out, damage):
    before = files_in(out)
    (out / "records/a.record").write_bytes(damage)
    assert read_record(out, "a") is None
    assert [r.status for r in predict(data, toy_model, out, RESUME)] == ["done", "skipped"]
    after = files_in(out)
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.suffix == ".lml")


def test_a_missing_picture_is_drawn_from_the_record_as_it_would_have_been(data, toy_model, tmp_path, out):
    predict(data, toy_model, tmp_path / "other", PredictOptions(preview=True))
    results = predict(data, toy_model, out, PredictOptions(resume=True, preview=True))
    assert [r.status for r in results] == ["skipped", "skipped"]
    for name in ("a.png", "b.png"):
        assert (out / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_an_annotation_beside_its_image_is_never_replaced(data, toy_model):
    (data / "a.lml").write_text("made by hand")
    resumed = predict(data, toy_model, data, RESUME)
    assert [r.status for r in resumed] == ["skipped", "done"]
    assert (data / "a.lml").read_text() == "made by hand"


def test_what_killed_processes_left_is_removed_at_the_start(data, toy_model, out):
    from vertloc.io import atomic

    left = [folder / f".vertloc-{atomic._where()}-4194305-00000000.a.lml" for folder in (out, out / "records")]
    for path in left:
        path.write_bytes(b"half")
    predict(data, toy_model, out, RESUME)
    assert not any(path.exists() for path in left)
