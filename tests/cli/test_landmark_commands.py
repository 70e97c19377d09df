"""`convert`, `relabel` and `folds` as a user runs them."""

from pathlib import Path

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.cli import main
from vertloc.cli.landmark_arguments import FORMAT_NAMES
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.io.landmarks.registry import WRITTEN, read_centroids, read_landmarks
from vertloc.model import save_model
from vertloc.volume import Volume

GRID = Grid((60, 50, 40), (1.0, 1.0, 2.0), (-51.3, -33.7, -812.4), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
LOCAL = Centroids.from_points({"T1": (20, 25, 100), "T2": (20, 26, 78), "T3": (21, 27, 55)})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(Volume(np.zeros(GRID.shape, np.int16), GRID), tmp_path / "1.nii.gz")
    write_lml(tmp_path / "1.lml", LOCAL)
    return tmp_path


def test_the_formats_of_help_are_those_of_the_registry():
    assert set(FORMAT_NAMES) == set(WRITTEN)


def test_convert_goes_there_and_back_through_every_format(folder, capsys):
    for name, suffix in (
        *(("json", ".json"), ("mrk.json", ".mrk.json"), ("csv", ".csv")),
        *(("verse", "_ctd.json"), ("poi", "_poi.json"), ("labels", "_labels.nii.gz")),
    ):
        assert main(["convert", "1.lml", f"x{suffix}", "--image", "1.nii.gz"]) == 0
        assert main(["convert", f"x{suffix}", "back.lml", "--image", "1.nii.gz"]) == 0, name
        back = read_centroids(folder / "back.lml")
        assert back.frame == "local"
        np.testing.assert_allclose(back.points_mm, LOCAL.points_mm, atol=0.01)
    assert capsys.readouterr().out.splitlines()[:2] == ["x.json", "back.lml"]


def test_convert_writes_several_formats_into_a_folder(folder):
    names = "lml,json,csv,labels"
    assert main(["convert", "1.lml", "out", "--image", "1.nii.gz", "--format", names, "--frame", "world"]) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        *("1.csv", "1.json", "1.lml", "1_labels.nii.gz", "1_labels.txt")
    ]
    world = read_centroids(folder / "out/1.lml")
    assert world.frame == "world"
    np.testing.assert_allclose(world.points_mm, LOCAL.to_world(GRID).points_mm, atol=0.01)


@pytest.mark.usefixtures("folder")
def test_convert_says_what_is_missing(capsys):
    assert main(["convert", "1.lml", "x.mrk.json"]) == 2
    assert "name it with --image SCAN" in capsys.readouterr().err
    assert main(["convert", "1.lml", "x.fcsv", "--image", "1.nii.gz"]) == 2
    assert "are read, but not written" in capsys.readouterr().err
    assert main(["convert", "1.lml", "1.lml", "--image", "1.nii.gz"]) == 2
    assert "choose another name" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["convert", "1.lml", "out", "--format", "lml,pdf"])
    assert "got 'pdf'" in capsys.readouterr().err


def test_relabel_shifts_the_chain_and_keeps_the_original(folder, capsys):
    assert main(["relabel", "1.lml", "--point", "3=T4"]) == 0
    assert capsys.readouterr().out == "1.lml: T2, T3, T4\n"
    assert read_centroids(folder / "1.lml").labels == ("T2", "T3", "T4")
    assert (folder / "1.lml.original").exists()
    assert main(["relabel", "1.lml", "--point", "7=T4"]) == 2
    assert "1.lml: 7=T4: there are 3 points" in capsys.readouterr().err


def test_relabel_says_which_files_of_the_scan_keep_their_names(folder, capsys):
    assert main(["convert", "1.lml", "1.mrk.json", "--image", "1.nii.gz"]) == 0
    (folder / "1.json").write_text('{"Modality": "CT"}')  # as dcm2niix leaves it: no landmarks
    capsys.readouterr()
    assert main(["relabel", "1.lml", "--point", "3=T4"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ["not relabelled: 1.mrk.json; make them anew with vertloc convert"]
    assert main(["relabel", "1.lml", "--point", "3=T4", "--out", "2.lml"]) == 0
    assert "not relabelled" not in capsys.readouterr().out


def test_points_that_count_voxels_are_refused_with_the_way_out(folder, capsys):
    assert main(["convert", "1.lml", "1_ctd.json", "--image", "1.nii.gz"]) == 0
    assert main(["relabel", "1_ctd.json", "--point", "3=T4"]) == 2
    assert "--image SCAN" in capsys.readouterr().err
    assert main(["relabel", "1_ctd.json", "--point", "3=T4", "--image", "1.nii.gz"]) == 0
    assert (folder / "1_ctd.json.original").exists()


def test_folds_split_by_patient(folder, capsys):
    for patient in range(1, 6):
        for scan in (f"{patient}a", f"{patient}b"):
            stem = folder / "db" / f"patient000{patient}" / scan / scan
            write_image(Volume(np.zeros(GRID.shape, np.int16), GRID), stem.with_suffix(".mha"))
            write_lml(stem.with_suffix(".lml"), LOCAL)
    assert main(["folds", "--data", "db", "--k", "5", "--seed", "3", "--out", "folds"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "folds/fold1.txt: 2 scans"
    lines = [(folder / f"folds/fold{i}.txt").read_text().splitlines()[1:] for i in range(1, 6)]
    assert all(len({scan[0] for scan in fold}) == 1 for fold in lines)
    assert main(["folds", "--data", "db", "--k", "6", "--out", "more"]) == 2
    assert "5 patients cannot be split into 6 folds" in capsys.readouterr().err


def test_predict_writes_every_format_asked_for_and_resume_adds_one(toy_model, toy_scans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(toy_model, tmp_path / "model.npz")
    scan = toy_scans[5]
    for subject in ("s0001", "s0002"):
        write_image(scan.volume, tmp_path / subject / "ct.nii.gz")
    command = ["predict", "--model", "model.npz", "--out", "out", "s0001", "s0002", "--quiet"]
    assert main([*command, "--format", "lml,json"]) == 0
    assert sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("ct*") if "records" not in p.parts) == [
        *("s0001/ct.json", "s0001/ct.lml", "s0002/ct.json", "s0002/ct.lml")
    ]
    found = read_landmarks(tmp_path / "out/s0001/ct.json")
    assert set(found.confidence) == set(found.centroids.labels)
    grid = scan.volume.grid
    np.testing.assert_allclose(
        read_centroids(tmp_path / "out/s0001/ct.lml").to_world(grid).points_mm, found.centroids.points_mm, atol=0.01
    )
    more = "lml,json,mrk.json,csv,verse,poi,labels"
    assert main([*command, "--resume", "--format", more]) == 0
    for suffix in (".mrk.json", ".csv", "_ctd.json", "_poi.json", "_labels.nii.gz"):
        again = read_centroids(tmp_path / f"out/s0002/ct{suffix}", grid).to_world(grid)
        np.testing.assert_allclose(again.points_mm, found.centroids.points_mm, atol=0.01)
    assert main([*command, "--format", "sr"]) == 2
