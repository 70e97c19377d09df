from pathlib import Path

import numpy as np
import pytest

from vertloc.batch import predicting
from vertloc.batch.predicting import PredictOptions, predict_cases
from vertloc.batch.records import read_record
from vertloc.cohorts.case import Case
from vertloc.errors import OutputError
from vertloc.geometry import Grid
from vertloc.io.images import read_grid, write_image
from vertloc.io.landmarks.lml import read_lml
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


RESUME = PredictOptions(resume=True)
PREVIEW = PredictOptions(preview=True)
WORLD = PredictOptions(frame="world")

ALL = ("a.mhd", "broken.mhd", "air.nii.gz", "none.mhd", "b.mhd")


def names_in(folder):
    """Name what lies in a folder of results, beside the records."""
    return sorted(path.name for path in folder.iterdir() if path.name != "records")


def records_in(folder):
    return sorted(path.name for path in (folder / "records").glob("*.record"))


def test_one_bad_scan_does_not_stop_the_others(data, toy_model, tmp_path):
    steps = []
    results = predict_cases(cases(data, *ALL), toy_model, tmp_path / "out", progress=steps.append)
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
    assert all(r.seconds > 0 for r in results if r.status in ("done", "empty"))


def test_a_scan_without_a_spine_gives_a_file_without_points(data, toy_model, tmp_path):
    (result,) = predict_cases(cases(data, "air.nii.gz"), toy_model, tmp_path)
    assert (result.status, result.confidence) == ("empty", {})
    assert "no Hounsfield units" in result.message
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
    (world,) = predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "world", options=WORLD)
    labels = local.record.centroids().labels
    assert list(local.confidence) == list(labels)
    assert len(labels) > 3
    grid = read_grid(data / "a.mhd")
    in_local, in_world = read_lml(tmp_path / "local/a.lml"), read_lml(tmp_path / "world/a.lml")
    assert in_local.labels == in_world.labels == labels
    np.testing.assert_allclose(in_local.points_mm, local.record.centroids().to_local(grid).points_mm, atol=0.001)
    np.testing.assert_allclose(in_world.points_mm, world.record.centroids().points_mm, atol=0.001)
    expected = grid.local_to_world(in_local.points_mm)
    np.testing.assert_allclose(in_world.points_mm, expected, atol=0.001)
    assert np.abs(in_world.points_mm - in_local.points_mm).max() > 5


def test_a_scan_that_fails_leaves_what_was_there_as_it_was(data, toy_model, tmp_path):
    out = tmp_path / "out"
    predict_cases(cases(data, "a.mhd", "b.mhd"), toy_model, out, options=PREVIEW)
    assert names_in(out) == ["a.lml", "a.png", "b.lml", "b.png"]
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    (data / "a.mhd").write_text("damaged meanwhile")
    (out / "broken.png").write_text("the user's own")
    failed, _, other = predict_cases(cases(data, "a.mhd", "b.mhd", "broken.mhd"), toy_model, out, options=PREVIEW)
    assert "not a MetaImage header" in failed.message
    assert "the earlier result a.lml is kept" in failed.message
    assert "is kept" not in other.message
    assert {path: path.read_bytes() for path in before} == before
    assert (out / "broken.png").read_text() == "the user's own"


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(28, "No space left on device"), ValueError("odd"), IndexError()]
)
def test_whatever_goes_wrong_with_a_scan_is_that_scans_failure(data, toy_model, tmp_path, monkeypatch, error):
    def fail_on_a(out, record, files):
        if record.scan == "a":
            raise error
        return write_results(out, record, files)

    write_results = predicting.write_results
    monkeypatch.setattr(predicting, "write_results", fail_on_a)
    failed, done = predict_cases(
        cases(data, "a.mhd", "air.nii.gz"), toy_model, tmp_path, options=PredictOptions(preview=True)
    )
    assert (failed.status, done.status) == ("failed", "empty")
    expected = {
        MemoryError: "not enough memory",
        OSError: "[Errno 28] No space left on device",
        ValueError: "unexpected ValueError: odd",
        IndexError: "unexpected IndexError: ",
    }
    assert failed.message == expected[type(error)]
    assert names_in(tmp_path) == ["a.png", "air.lml", "air.png", "data"]
    assert read_record(tmp_path, "a").message == failed.message


def test_ctrl_c_stops_the_run_and_leaves_nothing_half_written(data, toy_model, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_cases(cases(data, "a.mhd", "b.mhd"), toy_model, tmp_path / "out", progress=interrupt)
    # What had begun has ended; every scan has its file and its record, or neither.
    found = names_in(tmp_path / "out")
    assert found in (["a.lml"], ["a.lml", "b.lml"])
    assert records_in(tmp_path / "out") == [name.replace(".lml", ".record") for name in found]


def test_previews_are_pictures_beside_the_results(data, toy_model, tmp_path):
    results = predict_cases(
        cases(data, "a.mhd", "air.nii.gz", "broken.mhd"),
        toy_model,
        tmp_path / "out",
        options=PredictOptions(preview=True),
    )
    assert [r.status for r in results] == ["done", "empty", "failed"]
    assert names_in(tmp_path / "out") == ["a.lml", "a.png", "air.lml", "air.png"]
    for name in ("a", "air"):
        assert (tmp_path / f"out/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_odd_about_a_header_is_said_once_with_a_picture_too(data, toy_model, tmp_path, caplog):
    with (data / "a.raw").open("ab") as file:
        file.write(b"more")
    (result,) = predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "out", options=PREVIEW)
    assert len(result.record.warnings) == 1
    assert [record.getMessage() for record in caplog.records] == list(result.record.warnings)


def test_a_relative_path_of_an_image_is_told_as_a_full_one(data, toy_model, monkeypatch):
    monkeypatch.chdir(data.parent)
    relative = [Case("a", "a", Path("data/a.mhd")), Case("none", "none", Path("data/none.mhd"))]
    results = predict_cases(relative, toy_model, Path("out"))
    assert [result.record.image for result in results] == [str(data / name) for name in ("a.mhd", "none.mhd")]


def test_previews_without_matplotlib_are_refused_before_any_work(data, toy_model, tmp_path, monkeypatch):
    monkeypatch.setattr(overlay, "find_spec", lambda _: None)
    with pytest.raises(OutputError, match=r"pip install 'vertloc\[plots\]'"):
        predict_cases(cases(data, "a.mhd"), toy_model, tmp_path / "out", options=PREVIEW)
    assert names_in(tmp_path / "out") == []


def test_an_annotation_beside_its_image_is_never_replaced(data, toy_model):
    (data / "a.lml").write_text("made by hand")
    with pytest.raises(OutputError, match=r"a\.lml: lies beside its image and may be an annotation"):
        predict_cases(cases(data, "b.mhd", "a.mhd"), toy_model, data)
    assert (data / "a.lml").read_text() == "made by hand"
    assert not (data / "b.lml").exists()
    resumed = predict_cases(cases(data, "b.mhd", "a.mhd"), toy_model, data, options=RESUME)
    assert [r.status for r in resumed] == ["done", "skipped"]
    assert (data / "a.lml").read_text() == "made by hand"


def test_a_place_that_is_no_folder_is_refused(data, toy_model, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="expected a folder for the results, but there is a file"):
            predict_cases(cases(data, "a.mhd"), toy_model, out)


def test_no_case_is_no_result(toy_model, tmp_path):
    assert predict_cases([], toy_model, tmp_path / "out") == []
