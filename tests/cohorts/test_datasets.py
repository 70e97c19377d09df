"""Public data sets in miniature: each is found by its shape, read, and can be trained on and scored."""

import json

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.cohorts.layout import find_scans, patient_of
from vertloc.cohorts.loading import load_cohort
from vertloc.evaluation.scores import evaluate
from vertloc.geometry import Grid
from vertloc.io.images import read_grid, write_image
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks
from vertloc.io.landmarks.lml import write_lml
from vertloc.io.landmarks.registry import read_centroids, write_landmarks
from vertloc.vertebrae import VERSE_NUMBER
from vertloc.volume import Volume

GRID = Grid((70, 60, 50), (1.0, 1.0, 1.5), (-20.0, -30.0, -500.0))
CENTROIDS = Centroids.from_points({"L1": (25, 20, 80), "L2": (25, 22, 46), "L3": (25, 24, 14)})


def scan(path):
    write_image(Volume(np.full(GRID.shape, -1000, np.int16), GRID), path)


def bodies(names=("L1", "L2", "L3")):
    """Boxes around the body centres."""
    voxels = np.zeros(GRID.shape, np.uint8)
    for name, (z, y, x) in zip(
        CENTROIDS.labels, GRID.local_to_index(CENTROIDS.points_mm).round().astype(int), strict=True
    ):
        if name in names:
            voxels[z - 6 : z + 7, y - 8 : y + 9, x - 8 : x + 9] = VERSE_NUMBER[name]
    return voxels


def mask(path, voxels):
    write_image(Volume(voxels, GRID), path)


def microsoft(root):
    scan(root / "patient0001/2804506/2804506.mhd")
    write_lml(root / "patient0001/2804506/2804506.lml", CENTROIDS)


def microsoft_2014(root):
    scan(root / "spine-1/patient0001/2804506/2804506.nii.gz")
    write_lml(root / "spine-1/patient0001/2804506/2804506.lml", CENTROIDS)


def microsoft_test(root):
    scan(root / "spine-test-data/2804506.nii.gz")
    write_lml(root / "spine-test-data/2804506.lml", CENTROIDS)


def verse(root):
    scan(root / "rawdata/sub-verse004/sub-verse004_ct.nii.gz")
    derived = root / "derivatives/sub-verse004"
    mask(derived / "sub-verse004_seg-vert_msk.nii.gz", bodies())
    image = ImageReference("a", GRID)
    write_landmarks(derived / "sub-verse004_seg-subreg_ctd.json", Landmarks(CENTROIDS), image, "verse")


def verse_split(root):
    for i in (1, 2):
        stem = f"sub-verse400_split-verse20{i}"
        scan(root / f"rawdata/sub-verse400/{stem}_ct.nii.gz")
        path = root / f"derivatives/sub-verse400/{stem}_seg-vb_ctd.json"
        write_landmarks(path, Landmarks(CENTROIDS), ImageReference("a", GRID), "verse")


def verse_challenge(root):
    scan(root / "verse004/verse004.nii.gz")
    mask(root / "verse004/verse004_seg.nii.gz", bodies())


def totalsegmentator(root):
    scan(root / "s0001/ct.nii.gz")
    scan(root / "s0002/ct.nii.gz")
    for name in (*CENTROIDS.labels, "T12"):
        for subject in ("s0001", "s0002"):
            voxels = (bodies((name,)) > 0).astype(np.uint8)
            mask(root / f"{subject}/segmentations/vertebrae_{name}.nii.gz", voxels)
    mask(root / "s0001/segmentations/liver.nii.gz", np.ones(GRID.shape, np.uint8))
    (root / "meta.csv").write_text("image_id;age\ns0001;3\n")


def vertebral_bodies(root):
    scan(root / "train/imagesTr/s0001_0000.nii.gz")
    numbers = {"background": 0, "L1": 14, "L2": 15, "L3": 16, "sacrum": 20}
    (root / "train/dataset.json").write_text(json.dumps({"labels": numbers, "channel_names": {"0": "CT"}}))
    table = np.zeros(256, np.uint8)
    for name in CENTROIDS.labels:
        table[VERSE_NUMBER[name]] = numbers[name]
    mask(root / "train/labelsTr/s0001.nii.gz", table[bodies()])


def ctspine1k(root):
    scan(root / "volumes/COLONOG/1.3.6.1.4.nii.gz")
    mask(root / "labels/COLONOG/1.3.6.1.4_seg.nii.gz", bodies())


def ctspine1k_flat(root):
    scan(root / "1.3.6.1.4.nii.gz")
    mask(root / "1.3.6.1.4_seg.nii.gz", bodies())


LAYOUTS = {
    microsoft: {"2804506": "patient0001"},
    microsoft_2014: {"2804506": "patient0001"},
    microsoft_test: {"2804506": "2804506"},
    verse: {"sub-verse004_ct": "sub-verse004"},
    verse_split: {f"sub-verse400_split-verse20{i}_ct": "sub-verse400" for i in (1, 2)},
    verse_challenge: {"verse004": "verse004"},
    totalsegmentator: {"s0001/ct": "s0001", "s0002/ct": "s0002"},
    vertebral_bodies: {"s0001_0000": "s0001_0000"},
    ctspine1k: {"1.3.6.1.4": "1.3.6.1.4"},
    ctspine1k_flat: {"1.3.6.1.4": "1.3.6.1.4"},
}


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_a_data_set_is_found_by_its_shape_with_annotations_and_patients(make, tmp_path):
    make(tmp_path)
    found = find_scans(tmp_path)
    assert {name: patient_of(files.images[0]) for name, files in found.items()} == LAYOUTS[make]
    cohort = load_cohort(tmp_path)
    assert [case.scan for case in cohort.cases] == list(LAYOUTS[make])
    for case in cohort.cases:
        grid = read_grid(case.image_path)
        centroids = read_centroids(case.landmarks_path, grid).to_local(grid)
        assert centroids.labels == CENTROIDS.labels
        np.testing.assert_allclose(centroids.points_mm, CENTROIDS.points_mm, atol=0.8)


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_results_of_a_data_set_are_scored_as_it_lies(make, tmp_path):
    make(tmp_path / "data")
    for name in LAYOUTS[make]:
        write_lml(tmp_path / f"out/{name}.lml", CENTROIDS.to_world(GRID), frame="world")
    scores = evaluate(tmp_path / "data", tmp_path / "out")
    assert scores.summary().n_identified == scores.summary().n == 3 * len(LAYOUTS[make])
    assert scores.summary().mean_mm < 0.8
    assert {scan.patient for scan in scores.scans} == set(LAYOUTS[make].values())


@pytest.mark.parametrize("suffix", [".json", ".csv", ".mrk.json", ".fcsv", "_poi.json", "_ctd.json", "_labels.nii.gz"])
def test_an_annotation_beside_the_image_may_have_any_format(suffix, tmp_path):
    scan(tmp_path / "1.nii.gz")
    path = tmp_path / f"1{suffix}"
    if suffix == ".fcsv":
        rows = [f"{i},{-x},{-y},{z},0,0,0,1,1,1,0,{n},," for i, (n, (x, y, z)) in enumerate(CENTROIDS.to_world(GRID))]
        path.write_text("\n".join(["# CoordinateSystem = RAS", *rows]))
    else:
        write_landmarks(path, Landmarks(CENTROIDS), ImageReference("1", GRID))
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "notes.csv").write_text("a,b\n")
    assert list(find_scans(tmp_path)) == ["1"]
    (case,) = load_cohort(tmp_path).cases
    assert case.landmarks_path == path
    centroids = read_centroids(path, GRID).to_local(GRID)
    np.testing.assert_allclose(centroids.points_mm, CENTROIDS.points_mm, atol=0.01)
