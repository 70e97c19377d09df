"""Body centres from masks of whole vertebrae, built here from a body, an arch and a spinous process."""

import json

import numpy as np
import pytest

from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.io.landmarks.label_map import label_centroids
from vertloc.io.landmarks.masks import body_centres
from vertloc.io.landmarks.registry import is_mask_folder, read_landmarks
from vertloc.vertebrae import BODY_DIAMETER_MM, VERSE_NUMBER
from vertloc.volume import Volume

C, S = np.cos(0.35), np.sin(0.35)
GRIDS = {
    "upright": Grid((110, 120, 120), (1.0, 1.0, 1.5), (-60.0, -50.0, -80.0)),
    "flipped, thick": Grid((60, 100, 100), (1.2, 1.2, 2.8), (60.0, 60.0, -80.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    "oblique": Grid((110, 120, 120), (1.0, 1.0, 1.5), (-60.0, -30.0, -90.0), (1, 0, 0, 0, C, -S, 0, S, C)),
}
LABELS = ("T11", "T12", "L1")


def spine(grid, lean=0.3, parts=("body", "arch", "process")):
    """Paint three vertebrae along a line that leans; returns labels and true body centres, world frame."""
    up = np.array([0.0, lean, 1.0]) / np.hypot(lean, 1)
    back = np.array([0.0, 1.0, -lean]) / np.hypot(lean, 1)
    at = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)
    labels = np.zeros(len(at), np.uint8)
    centres = {}
    for i, name in enumerate(LABELS):
        centre = np.array([2.0, -10.0, 0.0]) + up * 32 * (1 - i)
        x, y, z = ((at - centre) @ np.stack([[1, 0, 0], back, up]).T).T
        r = BODY_DIAMETER_MM[name] / 2
        across = np.hypot(x, y / 0.8)
        canal = np.hypot(x / 10, (y - (0.8 * r + 8)) / 8)
        shape = {
            "body": (across <= r) & (np.abs(z) <= 12),
            "arch": (canal > 1) & (np.hypot(x / 16, (y - (0.8 * r + 8)) / 14) <= 1) & (np.abs(z) <= 8) & (across > r),
            "process": (np.abs(x) <= 3) & (y > 0.8 * r + 20) & (y <= 0.8 * r + 45) & (np.abs(z + 6) <= 7),
        }
        for part in parts:
            labels[shape[part]] = VERSE_NUMBER[name]
        centres[name] = centre
    return labels.reshape(grid.shape), centres


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("lean", [0.0, 0.3, -0.3])
def test_the_body_is_what_lies_in_front_of_the_canal(name, lean):
    labels, centres = spine(GRIDS[name], lean)
    found, whole = body_centres(labels, GRIDS[name]), label_centroids(labels, GRIDS[name])
    assert found.labels == LABELS
    for label in LABELS:
        assert np.linalg.norm(found[label] - centres[label]) < 2.0
        assert np.linalg.norm(whole[label] - centres[label]) > 6.0  # the mask's centroid is not it


def test_masks_of_bodies_alone_are_taken_as_they_are():
    grid = GRIDS["upright"]
    labels, centres = spine(grid, parts=("body",))
    found = body_centres(labels, grid)
    np.testing.assert_allclose(found.points_mm, label_centroids(labels, grid).points_mm)
    for label in LABELS:
        assert np.linalg.norm(found[label] - centres[label]) < 0.5


def test_a_vertebra_that_encloses_no_canal_borrows_its_neighbours_front():
    grid = GRIDS["upright"]
    labels, centres = spine(grid)
    opened = labels.copy()
    x = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)[:, 0].reshape(grid.shape)
    opened[(labels == VERSE_NUMBER["T12"]) & (x > 8) & (np.indices(grid.shape)[1] > 55)] = 0
    assert np.linalg.norm(body_centres(opened, grid)["T12"] - centres["T12"]) < 4.0


def test_labels_of_a_file_are_verses(tmp_path):
    grid = GRIDS["upright"]
    labels, centres = spine(grid)
    labels[0, 0, :60] = 26  # a whole sacrum is no S1
    write_image(Volume(labels, grid), tmp_path / "case_seg.nii.gz")
    found = read_landmarks(tmp_path / "case_seg.nii.gz").centroids
    assert found.labels == LABELS
    assert np.linalg.norm(found["L1"] - centres["L1"]) < 2.0


@pytest.mark.parametrize("labels_of", [lambda n: {"background": 0, **n}, lambda n: {str(v): k for k, v in n.items()}])
def test_a_dataset_json_names_the_numbers(labels_of, tmp_path):
    grid = GRIDS["upright"]
    labels, _ = spine(grid, parts=("body",))
    table = np.zeros(256, np.uint8)
    numbers = {"T11": 11, "T12": 12, "L1": 14, "sacrum": 20}
    for name in LABELS:
        table[VERSE_NUMBER[name]] = numbers[name]
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels_of(numbers)}))
    write_image(Volume(table[labels], grid), tmp_path / "labelsTr" / "s0001.nii.gz")
    assert read_landmarks(tmp_path / "labelsTr" / "s0001.nii.gz").centroids.labels == LABELS


def test_a_folder_of_totalsegmentator_holds_one_file_a_vertebra(tmp_path):
    grid = GRIDS["upright"]
    labels, centres = spine(grid)
    folder = tmp_path / "s0001" / "segmentations"
    for name in ("T10", *LABELS):
        mask = (labels == VERSE_NUMBER[name]).astype(np.uint8)
        write_image(Volume(mask, grid), folder / f"vertebrae_{name}.nii.gz")
    write_image(Volume(np.ones(grid.shape, np.uint8), grid), folder / "liver.nii.gz")
    assert is_mask_folder(folder)
    found = read_landmarks(folder).centroids
    assert found.labels == LABELS
    assert np.linalg.norm(found["T11"] - centres["T11"]) < 2.0


def test_a_scan_is_no_mask(tmp_path):
    grid = Grid((5, 5, 5), (1.0, 1.0, 1.0))
    for voxels in (np.full(grid.shape, -1000, np.int16), np.full(grid.shape, 0.5, np.float32)):
        write_image(Volume(voxels, grid), tmp_path / "a_seg.nii.gz")
        with pytest.raises(LandmarkError, match=r"a_seg\.nii\.gz: expected"):
            read_landmarks(tmp_path / "a_seg.nii.gz")
