"""A folder in which everything lies that the documentation's commands name, as small toy data."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from toy import TOY_LEVELS, make_toy_scan, write_toy_cohort

from vertloc.cli import main
from vertloc.io.images import write_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.model import save_model
from vertloc.volume import Volume

sys.path.insert(0, str(Path(__file__).parents[1] / "io/images"))
from dicom_series import write_series

ROOT = Path(__file__).parents[2]
FOLDS = (("2804506", "2805012"), ("4505774", "4542094"))
# What makes a configuration small, wherever the key stands.
SMALL = {
    "n_trees": 2,
    "max_depth": 8,
    "foreground_per_scan": 400,
    "background_per_scan": 400,
    "per_scan": 400,
    "features_per_tree": 60,
    "features_per_node": 10,
    "views_per_scan": 2,
    "n_features": 100,
}


def make_desk(folder, model):
    """Lay out scans, data sets, fold files, configurations, models, results and a study below a folder."""
    for name in ("default", "miccai2013"):
        _write_small_config(ROOT / f"configs/{name}.yaml", folder / f"configs/{name}.yaml")
    shutil.copy(folder / "configs/default.yaml", folder / "my-settings.yaml")
    for name in ("packaged/ct-spine", "model-2", "hospital"):
        path = folder / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        save_model(model, path)
    # T12 to L4: five levels, which may go up or down when the docs put them right by hand.
    scan = _named(make_toy_scan(5, TOY_LEVELS[2:]), "scan")
    _write_scans(folder, scan)
    _write_cohorts(folder)
    _write_results(folder, scan)


def _named(scan, name, patient=None):
    return replace(scan, volume=replace(scan.volume, name=name), patient=patient or scan.patient)


def _write_small_config(path, target):
    def small(value):
        return {k: small(v) if isinstance(v, dict) else SMALL.get(k, v) for k, v in value.items()}

    target.parent.mkdir(exist_ok=True)
    target.write_text(yaml.safe_dump(small(yaml.safe_load(path.read_text(encoding="utf-8")))))


def _write_scans(folder, scan):
    for name in ("scan.nii.gz", "scan1.nii.gz", "scan2.nrrd", "sub-verse004_ct.nii.gz"):
        write_image(scan.volume, folder / name)
    for name in ("folder-of-scans", "more-scans", "new-scans"):
        write_image(scan.volume, folder / name / "another.nii.gz")
    names = ("first", "second", "third")
    for name in names:
        write_image(scan.volume, folder / f"scans/{name}.nii.gz")
    (folder / "scans.txt").write_text("".join(f"scans/{name}.nii.gz\n" for name in names))
    (folder / "known-points").mkdir()
    write_lml(folder / "known-points/second.lml", scan.centroids.to_local(scan.volume.grid))
    write_series(folder / "dicom-folder", np.full((9, 20, 24), 40, np.int16))
    for subject in range(1, 6):
        place = folder / f"Totalsegmentator_dataset/s{subject:04d}"
        write_image(scan.volume, place / "ct.nii.gz")
        mask = Volume((scan.volume.voxels > 500).astype(np.uint8), scan.volume.grid)
        write_image(mask, place / "segmentations/vertebrae_L1.nii.gz")


def _write_cohorts(folder):
    names = [*FOLDS[0], *FOLDS[1], "4556155"]
    scans = [_named(make_toy_scan(seed), name, f"patient{seed + 1:04d}") for seed, name in enumerate(names)]
    for cohort in ("spine-db", "hospital", "annotations"):
        write_toy_cohort(folder / cohort, scans)
    for number, fold in enumerate(FOLDS, 1):
        (folder / f"fold{number}-miccai2013.txt").write_text("".join(f"{scan}\n" for scan in fold))
    write_image(scans[0].volume, folder / "2804506.nii.gz")
    write_lml(folder / "2804506.lml", scans[0].centroids.to_local(scans[0].volume.grid))


def _write_results(folder, scan):
    database, folds = str(folder / "spine-db"), [str(folder / f"fold{number}-miccai2013.txt") for number in (1, 2)]
    model, config = str(folder / "model-2.npz"), str(folder / "configs/default.yaml")
    predict = ["predict", "--quiet", "--model", model, "--out", str(folder / "results")]
    assert main([*predict, "--data", database, "--folds", folds[0]]) == 0
    assert main([*predict, "--resume", str(folder / "scan.nii.gz")]) == 0
    study = ["study", "--quiet", "--no-report", "--data", database, "--folds", *folds, "--config", config]
    assert main([*study, "--out", str(folder / "study")]) == 0
    for number in (10, 20, 30, 40, 100):
        (folder / f"study-{number}").symlink_to("study")
    _write_verse(folder, scan)


def _write_verse(folder, scan):
    points, made = folder / "truth.lml", folder / "made"
    write_lml(points, scan.centroids.to_local(scan.volume.grid))
    image = str(folder / "sub-verse004_ct.nii.gz")
    assert main(["convert", str(points), str(made), "--image", image, "--format", "verse"]) == 0
    (file,) = made.iterdir()
    file.rename(folder / "sub-verse004_seg-subreg_ctd.json")
