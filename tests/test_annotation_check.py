"""Annotation against image: every way in which they were seen to contradict each other, and what must pass."""

import numpy as np
import pytest

from vertloc.annotation_check import GRACE_MM, annotation_problem
from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.sampling import TrainingScan
from vertloc.vertebrae import VERTEBRAE

# In plane 0.4 mm as cropped spine CT is, slices of 2.5 mm, origin far from zero, a patient lying head first.
GRID = Grid((160, 300, 280), (0.4, 0.4, 2.5), (-51.3, -33.7, -812.4))
LOCAL = Centroids.from_points({f"T{i}": (55.0, 60.0 + i, 380.0 - 25.0 * i) for i in range(1, 13)})
FLIPPED = Grid(GRID.shape, GRID.spacing_mm, (60.0, 50.0, 300.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))


def changed(change):
    return Centroids(LOCAL.labels, change(LOCAL.points_mm))


@pytest.mark.parametrize("grid", [GRID, FLIPPED])
def test_what_fits_passes_in_both_frames(grid):
    assert annotation_problem(LOCAL, grid) == ""
    assert annotation_problem(LOCAL.to_world(grid), grid) == ""
    assert annotation_problem(Centroids((), np.zeros((0, 3))), grid) == ""


def test_a_point_a_little_outside_passes_and_one_further_out_does_not():
    face_mm = -0.5 * GRID.spacing_mm[2]
    for out_mm, is_fine in ((0.75, True), (GRACE_MM - 0.01, True), (GRACE_MM + 0.01, False)):
        lowest = Centroids.from_points({"L1": (50, 60, face_mm - out_mm)})
        assert (annotation_problem(lowest, GRID) == "") == is_fine
    assert annotation_problem(lowest, GRID).startswith("its only point, L1, lies up to 5 mm outside the image")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (
            changed(lambda p: p + np.array([0, 0, 700])),
            "12 of its 12 points lie up to 656 mm outside the image (T1 is the farthest); its frame",
        ),
        (LOCAL.to_world(GRID).points_mm, "would lie inside if they were world LPS mm"),
        (changed(lambda p: p / GRID.spacing_mm), "would lie inside if they were voxel indices"),
        (changed(lambda p: p * 1000), "would lie inside if they were micrometres"),
        (changed(lambda p: p / 10), "0.11 times the usual distance apart; is its unit mm?"),
        (changed(lambda p: p * [1, 1, -1] + [0, 0, 397.5]), "it runs upside down: T12 lies 275 mm above T1"),
    ],
)
def test_each_kind_is_found_and_named(annotation, words):
    if not isinstance(annotation, Centroids):
        annotation = Centroids(LOCAL.labels, annotation)
    assert words in annotation_problem(annotation, GRID)


def test_local_points_in_the_name_of_the_world_are_found():
    assert "if they were index times spacing" in annotation_problem(
        Centroids(LOCAL.labels, LOCAL.points_mm, "world"), GRID
    )


def test_voxel_indices_that_lie_inside_are_found_by_their_distances():
    coarse = Grid((150, 60, 60), (2.0, 2.0, 3.0))
    local = Centroids.from_points({f"T{i}": (55.0, 60.0, 380.0 - 25.0 * i) for i in range(1, 13)})
    assert annotation_problem(local, coarse) == ""
    index = Centroids(local.labels, local.points_mm / coarse.spacing_mm)
    assert "they look like voxel indices" in annotation_problem(index, coarse)


def test_a_stooped_neck_and_an_infant_pass():
    grid = Grid((200, 200, 200), (1.0, 1.0, 1.0))
    stooped = Centroids.from_points({"C6": (100, 60, 100), "C7": (100, 77, 104), "T1": (100, 95, 106)})
    assert annotation_problem(stooped, grid) == ""
    spine = {name: (100, 100, 199 - 7.5 * i) for i, name in enumerate(VERTEBRAE)}
    assert annotation_problem(Centroids.from_points({k: spine[k] for k in VERTEBRAE[:10]}), grid) == ""


def test_a_training_scan_in_memory_is_checked_as_well():
    grid = Grid((80, 60, 60), (3.0, 3.0, 3.0), (0.0, 0.0, -900.0))
    volume = IsotropicVolume(np.zeros(grid.shape, np.int16), grid)
    local = Centroids.from_points({"T1": (80, 80, 100), "T2": (80, 80, 78)})
    TrainingScan(volume, local.to_world(grid), "p", "s")
    with pytest.raises(ValueError, match="s: centroids must be in the world frame, got local"):
        TrainingScan(volume, local, "p", "s")
    with pytest.raises(ValueError, match="s: its annotation does not fit the volume: 2 of its 2 points"):
        TrainingScan(volume, Centroids(local.labels, local.points_mm, "world"), "p", "s")
