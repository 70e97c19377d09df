"""run.json is assembled from the records."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from toy import toy_config

from vertloc.batch.manifest import Run, write_manifest
from vertloc.batch.predicting import ModelSource, PredictOptions, predict_cases
from vertloc.cohorts.case import Case
from vertloc.config import config_from_dict
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.io.model_file import file_sha256
from vertloc.model import save_model
from vertloc.volume import Volume

SCANS = ("a", "broken", "air", "none", "b")


@pytest.fixture
def folder(tmp_path, toy_scans, toy_model):
    """Two scans with a spine, one without, one damaged, one missing, and a model."""
    write_image(toy_scans[5].volume, tmp_path / "a.mhd")
    write_image(toy_scans[0].volume, tmp_path / "b.mhd")
    air = Volume(np.full((20, 20, 20), -1000, np.int16), Grid((20, 20, 20), (3.0, 3.0, 3.0)))
    write_image(air, tmp_path / "air.mhd")
    (tmp_path / "broken.mhd").write_text("no header")
    save_model(toy_model, tmp_path / "model.npz")
    return tmp_path


def predict(folder, model, scans=SCANS, options=None):
    cases = [Case(scan, scan, folder / f"{scan}.mhd") for scan in scans]
    sha256 = file_sha256(folder / "model.npz")
    source = ModelSource(folder / "model.npz", lambda: sha256)
    results = predict_cases(cases, model, folder / "out", options=options, source=source)
    return results, Run(["vertloc", "é"], scans, model, folder / "model.npz", sha256, "local", 1.23456)


def manifest_of(folder, run, results):
    write_manifest(folder / "run.json", run, results, folder / "out")
    return json.loads((folder / "run.json").read_text())


def test_the_manifest_tells_what_ran_on_what_and_how_it_went(folder, toy_model):
    results, run = predict(folder, toy_model)
    manifest = manifest_of(folder, run, results)
    assert manifest["command"] == ["vertloc", "é"]
    assert (manifest["frame"], manifest["seconds"], manifest["stopped"]) == ("local", 1.235, False)
    assert manifest["counts"] == {"done": 2, "empty": 1, "skipped": 0, "failed": 2}
    assert manifest["settings"] == asdict(toy_model.settings)
    assert config_from_dict(yaml.safe_load(manifest["model"]["configuration"]), "manifest") == toy_config()
    assert manifest["model"]["path"] == str(folder / "model.npz")
    assert manifest["model"]["sha256"] == hashlib.sha256((folder / "model.npz").read_bytes()).hexdigest()
    assert manifest["model"]["seed"] == toy_model.provenance.seed
    assert [case["scan"] for case in manifest["cases"]] == list(SCANS)
    first = manifest["cases"][0]
    assert first["image"] == str(folder / "a.mhd")
    assert first["confidence"] == results[0].confidence
    assert all(0 <= value <= 1 for value in first["confidence"].values())
    assert (first["model"], first["frame"]) == (manifest["model"]["sha256"], "local")
    assert {"vertloc", "python", "numpy", "numba", "scikit-learn", "SimpleITK"} <= set(manifest["versions"])
    assert manifest["left"] == manifest["earlier"] == []


def test_a_resumed_run_tells_of_the_finished_scans_as_well(folder, toy_model):
    results, run = predict(folder, toy_model)
    before = manifest_of(folder, run, results)
    results, run = predict(folder, toy_model, options=PredictOptions(resume=True))
    after = manifest_of(folder, run, results)
    assert after["counts"] == {"done": 0, "empty": 0, "skipped": 3, "failed": 2}
    for old, new in zip(before["cases"], after["cases"], strict=True):
        assert new["this_run"] == (new["status"] == "failed")
        assert [new[key] for key in ("status", "confidence", "model", "frame")] == [
            old[key] for key in ("status", "confidence", "model", "frame")
        ]


def test_a_stopped_run_tells_what_is_done_and_what_is_left(folder, toy_model):
    _, run = predict(folder, toy_model, scans=("a", "air"))
    stopped = Run(run.command, SCANS, toy_model, run.model_path, run.model_sha256, "local", 1.0, is_stopped=True)
    manifest = manifest_of(folder, stopped, [])
    assert manifest["stopped"]
    assert [case["scan"] for case in manifest["cases"]] == ["a", "air"]
    assert len(manifest["cases"][0]["confidence"]) > 3
    assert manifest["left"] == ["broken", "none", "b"]


def test_results_of_other_runs_in_the_same_folder_keep_their_model_and_frame(folder, toy_model):
    predict(folder, toy_model, scans=("a",), options=PredictOptions(frame="world"))
    results, run = predict(folder, toy_model, scans=("b",))
    manifest = manifest_of(folder, run, results)
    assert [case["scan"] for case in manifest["cases"]] == ["b"]
    (other,) = manifest["earlier"]
    assert (other["scan"], other["frame"], other["this_run"]) == ("a", "world", False)


def test_a_name_of_any_bytes_can_be_told(folder, toy_model):
    name = b"N\xe4me".decode("utf-8", "surrogateescape")
    (folder / f"{name}.mhd").write_bytes((folder / "a.mhd").read_bytes())
    results, run = predict(folder, toy_model, scans=(name,))
    assert manifest_of(folder, run, results)["cases"][0]["scan"] == name
