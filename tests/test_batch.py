import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from toy import toy_config

from vertloc.batch import predicting
from vertloc.batch.manifest import write_manifest
from vertloc.batch.predicting import predict_cases
from vertloc.cohorts.case import Case
from vertloc.config import config_from_dict
from vertloc.errors import OutputError
from vertloc.geometry import Grid
from vertloc.io.images import read_grid, read_image, write_image
from vertloc.io.landmarks.lml import read_lml
from vertloc.model import save_model
from vertloc.report import overlay
from vertloc.volume import Volume


@pytest.fixture
def data(tmp_path, toy_scans):
    """Two scans with a spine, one without, one damaged, one missing."""
    folder = tmp_path / "data"
    for name, scan in (("a", toy_scans[5]), ("b", toy_scans[0])):
        write_image(scan.volume, folder / f"{name}.mhd")
    air = Volume(np.full((20, 20, 20), -1000, np.int16), Grid((20, 20, 20), (3.0, 3.0, 3.0)))
    write_image(air, folder / "air.nii.gz")
    (folder / "broken.mhd").write_text("no header")
    return folder


def cases(data, *names):
    return [Case(name.partition(".")[0], name, data / name) for name in names]


ALL = ("a.mhd", "broken.mhd", "air.nii.gz", "none.mhd", "b.mhd")


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_bad_scan_does_not_stop_the_others(data, toy_model, tmp_path):
    steps = []
    results = predict_cases(cases(data, *ALL), toy_model, tmp_path / "out", progress=lambda: steps.append(1))
    assert [(r.scan, r.status) for r in results] == [
        ("a", "done"),
        ("broken", "failed"),
        ("air", "empty"),
        ("none", "failed"),
        ("b", "done"),
    ]
    assert len(steps) == 5
    assert names_in(tmp_path / "out") == ["a.lml", "air.lml", "b.lml"]
    assert "broken.mhd: not a MetaImage header" in results[1].message
    assert "none.mhd" in results[3].message
    assert all(r.seconds > 0 for r in results)


def test_a_scan_without_a_spine_gives_a_file_without_points(data, toy_model, tmp_path):
    (result,) = predict_cases(cases(data, "air.nii.gz"), toy_model, tmp_path)
    assert (result.status, result.confidence, result.message) == ("empty", {}, "")
    assert (tmp_path / "air.lml").read_bytes().startswith(b"# 0")
    assert len(read_lml(tmp_path / "air.lml")) == 0


def test_results_do_not_depend_on_the_number_of_threads_and_keep_their_order(data, toy_model, tmp_path):
    one = predict_cases(cases(data, *ALL), toy_model, tmp_path / "one", n_jobs=1)
    four = predict_cases(cases(data, *ALL), toy_model, tmp_path / "four", n_jobs=4)
    assert [(r.scan, r.status, r.message, r.confidence) for r in one] == [
        (r.scan, r.status, r.message, r.confidence) for r in four
    ]
    for name in names_in(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "four" / name).read_bytes()


def test_the_files_hold_what_was_found_in_the_frame_that_was_asked_for(data, toy_model, tmp_path):
    (local,) = predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "local")
    (world,) = predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "world", frame="world")
    labels = local.localization.labels
    assert list(local.confidence) == list(labels)
    assert len(labels) > 3
    in_local, in_world = read_lml(tmp_path / "local/a.lml"), read_lml(tmp_path / "world/a.lml")
    assert in_local.labels == in_world.labels == labels
    np.testing.assert_allclose(in_local.points_mm, local.localization.local.points_mm, atol=0.001)
    np.testing.assert_allclose(in_world.points_mm, world.localization.world.points_mm, atol=0.001)
    expected = read_grid(data / "a.mhd").local_to_world(in_local.points_mm)
    np.testing.assert_allclose(in_world.points_mm, expected, atol=0.001)
    assert np.abs(in_world.points_mm - in_local.points_mm).max() > 5


def test_a_volume_that_was_read_ahead_gives_the_same_result_and_its_error_is_the_scans_failure(
    data, toy_model, tmp_path
):
    (plain,) = predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "plain", n_jobs=2)
    volume = read_image(data / "a.mhd")
    (ahead,) = predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "ahead", n_jobs=2, read_ahead=lambda: volume)
    assert (tmp_path / "ahead/a.lml").read_bytes() == (tmp_path / "plain/a.lml").read_bytes()
    assert ahead.confidence == plain.confidence
    (failed,) = predict_cases(
        cases(data, "a.mhd"), toy_model, tmp_path / "ahead", read_ahead=lambda: read_image(data / "broken.mhd")
    )
    assert failed.status == "failed"
    assert "broken.mhd: not a MetaImage header" in failed.message
    assert names_in(tmp_path / "ahead") == []


def test_resume_leaves_alone_what_is_there(data, toy_model, tmp_path):
    (tmp_path / "a.lml").write_text("# 0\n")
    results = predict_cases(cases(data, "a.mhd", "air.nii.gz"), toy_model, tmp_path, resume=True)
    assert [r.status for r in results] == ["skipped", "empty"]
    assert (tmp_path / "a.lml").read_text() == "# 0\n"
    again = predict_cases(cases(data, "a.mhd", "air.nii.gz"), toy_model, tmp_path)
    assert [r.status for r in again] == ["done", "empty"]
    assert len(read_lml(tmp_path / "a.lml")) > 0


def test_a_scan_that_fails_leaves_no_result_of_an_earlier_run_behind(data, toy_model, tmp_path):
    out = tmp_path / "out"
    predict_cases(cases(data, "a.mhd", "b.mhd"), toy_model, out, preview=True)
    assert names_in(out) == ["a.lml", "a.png", "b.lml", "b.png"]
    (data / "a.mhd").write_text("damaged meanwhile")
    predict_cases(cases(data, "a.mhd", "b.mhd"), toy_model, out, preview=True)
    assert names_in(out) == ["b.lml", "b.png"]


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(28, "No space left on device"), ValueError("odd"), IndexError()]
)
def test_whatever_goes_wrong_with_a_scan_is_that_scans_failure(data, toy_model, tmp_path, monkeypatch, error):
    def fail_on_a(path, *args, **kwargs):
        if path.name == "a.lml":
            raise error
        return write_lml(path, *args, **kwargs)

    write_lml = predicting.write_lml
    monkeypatch.setattr(predicting, "write_lml", fail_on_a)
    failed, done = predict_cases(cases(data, "a.mhd", "air.nii.gz"), toy_model, tmp_path, preview=True)
    assert (failed.status, done.status) == ("failed", "empty")
    expected = {
        MemoryError: "not enough memory",
        OSError: "[Errno 28] No space left on device",
        ValueError: "unexpected ValueError: odd",
        IndexError: "unexpected IndexError: ",
    }
    assert failed.message == expected[type(error)]
    assert names_in(tmp_path) == ["air.lml", "air.png", "data"]


def test_ctrl_c_stops_the_run_and_leaves_nothing_half_written(data, toy_model, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cases(cases(data, "a.mhd", "b.mhd"), toy_model, tmp_path / "out", progress=interrupt)
    assert names_in(tmp_path / "out") == ["a.lml"]


def test_previews_are_pictures_beside_the_results(data, toy_model, tmp_path):
    results = predict_cases(cases(data, "a.mhd", "air.nii.gz", "broken.mhd"), toy_model, tmp_path / "out", preview=True)
    assert [r.status for r in results] == ["done", "empty", "failed"]
    assert names_in(tmp_path / "out") == ["a.lml", "a.png", "air.lml", "air.png"]
    for name in ("a", "air"):
        assert (tmp_path / f"out/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_previews_without_matplotlib_are_refused_before_any_work(data, toy_model, tmp_path, monkeypatch):
    monkeypatch.setattr(overlay, "find_spec", lambda _: None)
    with pytest.raises(OutputError, match=r"pip install 'vertloc\[plots\]'"):
        predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "out", preview=True)
    assert names_in(tmp_path / "out") == []


def test_an_annotation_beside_its_image_is_never_replaced(data, toy_model):
    (data / "a.lml").write_text("made by hand")
    with pytest.raises(OutputError, match=r"a\.lml: lies beside its image and may be an annotation"):
        predict_cases(cases(data, "b.mhd", "a.mhd"), toy_model, data)
    assert (data / "a.lml").read_text() == "made by hand"
    assert not (data / "b.lml").exists()
    resumed = predict_cases(cases(data, "b.mhd", "a.mhd"), toy_model, data, resume=True)
    assert [r.status for r in resumed] == ["done", "skipped"]
    assert (data / "a.lml").read_text() == "made by hand"


def test_a_place_that_is_no_folder_is_refused(data, toy_model, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="expected a folder for the results, but there is a file"):
            predict_cases(cases(data, "a.mhd"), toy_model, out)


def test_no_case_is_no_result(toy_model, tmp_path):
    assert predict_cases([], toy_model, tmp_path / "out") == []


def test_the_manifest_tells_what_ran_on_what_and_how_it_went(data, toy_model, tmp_path):
    save_model(toy_model, tmp_path / "model.npz")
    results = predict_cases(cases(data, *ALL), toy_model, tmp_path / "out")
    command = ["vertloc", "predict", "é"]
    write_manifest(tmp_path / "run.json", command, results, toy_model, tmp_path / "model.npz", "local", 1.23456)
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert manifest["command"] == command
    assert (manifest["frame"], manifest["seconds"]) == ("local", 1.235)
    assert manifest["counts"] == {"done": 2, "empty": 1, "skipped": 0, "failed": 2}
    assert manifest["settings"] == asdict(toy_model.settings)
    assert config_from_dict(yaml.safe_load(manifest["model"]["configuration"]), "manifest") == toy_config()
    assert manifest["model"]["path"] == str(tmp_path / "model.npz")
    assert manifest["model"]["sha256"] == hashlib.sha256((tmp_path / "model.npz").read_bytes()).hexdigest()
    assert manifest["model"]["seed"] == toy_model.provenance.seed
    assert [case["scan"] for case in manifest["cases"]] == [r.scan for r in results]
    first = manifest["cases"][0]
    assert set(first) == {"scan", "image", "status", "message", "confidence", "seconds"}
    assert first["image"] == str(data / "a.mhd")
    assert first["confidence"] == results[0].confidence
    assert all(0 <= value <= 1 for value in first["confidence"].values())
    assert {"vertloc", "python", "numpy", "numba", "scikit-learn", "SimpleITK"} <= set(manifest["versions"])
