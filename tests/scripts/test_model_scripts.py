"""The scripts behind the packaged model: cross-validation, narrow cuts, training, card."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_reliability_scripts import rows, script
from toy import make_toy_scan, toy_config, write_toy_cohort

from vertloc import load_model
from vertloc.cohorts.loading import load_cohort
from vertloc.io.images import read_image
from vertloc.io.landmarks.registry import read_centroids

PATIENTS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with toy data, a study of it, and narrow cuts of that; and what narrow_study.py printed."""
    root = tmp_path_factory.mktemp("model")
    write_toy_cohort(root / "data", [make_toy_scan(seed) for seed in range(PATIENTS)])
    (root / "toy.yaml").write_text(yaml.safe_dump(toy_config().as_dict()))
    scans = [case.scan for case in load_cohort(root / "data").cases]
    for fold in (0, 1):
        (root / f"fold{fold}.txt").write_text("\n".join(scans[fold::2]))
    study = [sys.executable, "-m", "vertloc", "study", "--data", root / "data", "--no-report", "--out", root / "study"]
    folds = ["--folds", root / "fold0.txt", root / "fold1.txt", "--config", root / "toy.yaml"]
    done = subprocess.run([*map(str, study + folds)], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = script("narrow_study.py", "--study", root / "study", "--data", root / "data", "--out", root / "narrow")
    return root, printed


def test_narrow_cuts_show_the_same_voxels_and_landmarks_at_the_same_world_points(made):
    root, _ = made
    whole = {case.scan: case for case in load_cohort(root / "data").cases}
    cuts = load_cohort(root / "narrow" / "scans").cases
    assert len(cuts) == 2 * PATIENTS
    for cut in cuts:
        small, large = read_image(cut.image_path), read_image(whole[cut.scan.split("-narrow")[0]].image_path)
        first = np.rint(large.grid.to_index(small.grid.to_world([[0, 0, 0]])))[0].astype(int)
        part = tuple(slice(a, a + n) for a, n in zip(first, small.voxels.shape, strict=True))
        np.testing.assert_array_equal(small.voxels, large.voxels[part])
        known = dict(
            read_centroids(whole[cut.scan.split("-narrow")[0]].landmarks_path, large.grid).to_world(large.grid)
        )
        shown = read_centroids(cut.landmarks_path, small.grid).to_world(small.grid)
        assert len(shown) >= 1
        for label, point in shown:
            np.testing.assert_allclose(point, known[label], atol=1e-3)


def test_the_tables_tell_of_every_scan(made):
    _, printed = made
    table, confidence = printed.strip().split("\n\n")
    assert [row[:2] for row in rows(table)] == [["as they are", str(PATIENTS)], ["narrow", str(2 * PATIENTS)]]
    assert [row[0] for row in rows(confidence)] == ["as they are", "narrow"]


def test_a_folder_without_a_study_is_refused(made):
    root, _ = made
    command = [sys.executable, "scripts/narrow_study.py", "--study", root, "--data", root / "data", "--out", root / "x"]
    done = subprocess.run([*map(str, command)], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"narrow_study: {root}: expected a finished study, found no run-<fold>.json\n"


def test_the_packaged_model_is_made_alike_twice_and_its_card_tells_what_was_measured(made):
    root, _ = made
    options = ("--data", root / "data", "--config", root / "toy.yaml", "--study", root / "study")
    for name, jobs in (("a", 1), ("b", 2)):
        places = ("--out", root / f"{name}.npz", "--card", root / f"{name}.md", "--n-jobs", jobs)
        script("build_model.py", *options, "--narrow", root / "narrow", *places)
    assert (root / "a.npz").read_bytes() == (root / "b.npz").read_bytes()
    assert (root / "a.md").read_bytes() == (root / "b.md").read_bytes()
    assert load_model(root / "a.npz").provenance.n_scans == PATIENTS
    card = (root / "a.md").read_text()
    assert f"| data | {PATIENTS} |" in card
    assert f"| narrow | {2 * PATIENTS} |" in card
    assert "| vertebrae in the scan | scans | identified | mean mm |" in card
    script("build_model.py", *options[:4], "--out", root / "c.npz", "--card", root / "c.md")
    assert "make model STUDY=DIR" in (root / "c.md").read_text()
