"""Overlays: files are written for every kind of input, points are drawn where they belong, names do not overlap."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.ndimage import center_of_mass, label

from vertloc.centroids import Centroids
from vertloc.evaluation.matching import score_scan
from vertloc.geometry import Grid
from vertloc.report.marks import SIGNS, marks_of
from vertloc.report.overlay import draw_overlay, overlay_figure
from vertloc.volume import Volume

EMPTY = Centroids((), np.empty((0, 3)))


def phantom(shape=(40, 30, 30), spacing=(2.0, 2.0, 2.5), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1), value=100):
    grid = Grid(shape, spacing, (30.0, -20.0, 500.0), tuple(map(float, direction)))
    return Volume(np.full(shape, value, np.int16), grid, "phantom")


def column(volume, labels, aside=0.0):
    """Local centroids down the middle of the volume."""
    x, y, z = volume.grid.extent_mm
    heights = np.linspace(z - 20, 15, len(labels))
    return Centroids(
        tuple(labels), np.stack([np.full(len(labels), x / 2 + aside), np.full(len(labels), y / 2), heights], 1)
    )


def read_png(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def pixels_like(picture, colour, tolerance=40):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.argwhere(np.abs(picture - wanted).max(axis=2) < tolerance)


NECK = ("C3", "C4", "C5", "C6", "C7")


@pytest.mark.parametrize("truth", ["some", "empty", "none"])
@pytest.mark.parametrize("predicted", ["some", "empty"])
def test_a_png_is_written_whether_or_not_there_are_predictions_and_truth(tmp_path, predicted, truth):
    volume = phantom()
    points = column(volume, NECK)
    found = points if predicted == "some" else EMPTY
    true = {"some": points, "empty": EMPTY, "none": None}[truth]
    draw_overlay(volume, found, true, tmp_path / "new" / "a.png", "scan 1", confidence={"C4": 0.5})
    picture = read_png(tmp_path / "new" / "a.png")
    assert picture.ndim == 3
    assert min(picture.shape[:2]) > 100
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize("shape", [(1, 20, 20), (3, 60, 60), (40, 3, 30), (40, 30, 1), (300, 20, 20)])
def test_volumes_with_few_slices_and_long_ones_are_drawn(tmp_path, shape):
    volume = phantom(shape, spacing=(1.5, 1.5, 3.0))
    draw_overlay(volume, EMPTY, None, tmp_path / "a.png")
    draw_overlay(volume, Centroids.from_points({"T1": (0.0, 0.0, 0.0)}), EMPTY, tmp_path / "b.png")
    assert max(read_png(tmp_path / "a.png").shape) < 1300


def test_predictions_far_outside_the_image_do_not_blow_up_the_picture(tmp_path):
    volume = phantom()
    wild = Centroids.from_points({"T1": (40.0, 40.0, 70.0), "T2": (9000.0, -9000.0, 40000.0)})
    draw_overlay(volume, wild, None, tmp_path / "a.png")
    draw_overlay(volume, wild, column(volume, ("T1", "T2")), tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert max(read_png(tmp_path / name).shape) < 1300


@pytest.mark.parametrize("frame", ["local", "world"])
def test_marks_are_drawn_where_the_points_lie_in_either_frame(tmp_path, frame):
    volume = phantom((40, 40, 40), value=-1000)  # 100 mm high, 80 mm wide and deep; stored left to right, back to front
    point = Centroids.from_points({"C5": (30.0, 50.0, 60.0)})
    world = point.to_world(volume.grid)
    given = world if frame == "world" else point
    draw_overlay(volume, given, None, tmp_path / "a.png")
    picture = read_png(tmp_path / "a.png")
    sagittal, coronal = overlay_figure(volume, given).axes
    # The whole volume is shown: faces at y -99 to -19 and x -49 to 31 (local 79 to -1, turned), z 498.75 to 598.75.
    assert (*sagittal.get_xlim(), *sagittal.get_ylim()) == pytest.approx((-99.0, -19.0, 498.75, 598.75))
    assert (*coronal.get_xlim(), *coronal.get_ylim()) == pytest.approx((-49.0, 31.0, 498.75, 598.75))
    blobs, _ = label(np.abs(picture[:-30] - [0x43, 0xD3, 0xFF]).max(axis=2) < 40)  # without the legend
    sizes = np.bincount(blobs.ravel())[1:]
    dots = sorted(center_of_mass(blobs == 1 + i)[::-1] for i in np.argsort(sizes)[-2:])
    (x, y, z), height = world.points_mm[0], len(picture)
    for dot, axes, place in zip(dots, (sagittal, coronal), ((y, z), (x, z)), strict=True):
        column, row = axes.transData.transform(place)
        np.testing.assert_allclose(dot, (column - 0.5, height - row - 0.5), atol=1.0)


def test_every_status_has_its_colour_in_the_picture(tmp_path):
    volume = phantom(value=-1000)
    truth = column(volume, NECK)
    points = dict(zip(NECK, truth.points_mm, strict=True))
    found = Centroids.from_points(
        {"C3": points["C3"] + 1, "C4": points["C4"] + [12, 0, 0], "C5": points["C6"], "T5": points["C7"] - [9, 0, 5]}
    )
    draw_overlay(volume, found, truth, tmp_path / "a.png", "a")
    picture = read_png(tmp_path / "a.png")[30:-30]
    for status in ("identified", "far", "wrong", "missed", "extra"):
        assert len(pixels_like(picture, SIGNS[status].colour)) > 20, status
    assert len(pixels_like(picture, SIGNS["unjudged"].colour)) == 0


def test_marks_join_truth_and_prediction_of_the_same_name():
    truth = Centroids.from_points({"T1": (0, 0, 0), "T2": (0, 0, -22), "T3": (0, 0, -44)}, "world")
    found = Centroids.from_points({"T1": (3, 0, 0), "T2": (0, 0, -40), "T9": (0, 0, -90)}, "world")
    marks = {m.label: m for m in marks_of(found, score_scan("a", truth, found), {"T1": 0.876})}
    assert {label: mark.status for label, mark in marks.items()} == {
        "T1": "identified",
        "T2": "wrong",
        "T3": "missed",
        "T9": "extra",
    }
    assert (marks["T1"].text, marks["T2"].text, marks["T3"].text) == ("T1  88%", "T2", "")
    assert marks["T3"].has_truth
    assert not marks["T3"].is_found
    assert not marks["T9"].has_truth
    assert {m.status for m in marks_of(found, None, {})} == {"unjudged"}


def test_an_identified_vertebra_that_is_far_off_is_marked_so():
    truth = Centroids.from_points({"L3": (0, 0, 0)})
    for distance, status in ((10.0, "identified"), (10.5, "far"), (19.9, "far"), (20.0, "wrong")):
        found = Centroids.from_points({"L3": (distance, 0, 0)})
        assert marks_of(found, score_scan("a", truth, found), {})[0].status == status


def test_long_titles_and_signs_of_formulas_are_only_letters(tmp_path):
    volume = phantom()
    draw_overlay(volume, EMPTY, column(volume, NECK), tmp_path / "a.png", "scan_$x^{2_" * 30)
    figure = overlay_figure(volume, EMPTY, None, "scan_$x^{2_" * 30)
    title, headline = figure.texts
    assert title.get_text().startswith("scan_$x^{2_")
    assert title.get_window_extent().x1 < headline.get_window_extent().x0


def test_pictures_are_the_same_from_several_threads(tmp_path):
    volume = phantom()
    truth, found = column(volume, NECK), column(volume, NECK, 4.0)

    def draw(i):
        draw_overlay(volume, found, truth, tmp_path / f"{i}.png", "scan", {"C3": 0.7})
        return (tmp_path / f"{i}.png").read_bytes()

    alone = draw(0)
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(draw, range(1, 4))) == {alone}


def test_drawing_leaves_inputs_and_pyplot_alone(tmp_path):
    import matplotlib

    backend = matplotlib.rcParams["backend"]
    volume = phantom()
    before = volume.voxels.copy()
    draw_overlay(volume, column(volume, NECK), None, tmp_path / "a.png")
    np.testing.assert_array_equal(volume.voxels, before)
    assert matplotlib.rcParams["backend"] == backend
