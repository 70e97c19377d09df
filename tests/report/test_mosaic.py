"""Mosaics: every slice is where the layout says, in the world where the numbers say, and never too large."""

import io

import numpy as np
import pytest
from toy import make_toy_scan

from vertloc.geometry import Grid
from vertloc.report import mosaic as mosaics
from vertloc.report.mosaic import MOST_BYTES, RANGE_HU, make_mosaic
from vertloc.volume import Volume


def unpacked(mosaic):
    """(z, y, x) grey values of a mosaic, by the layout that its docstring promises."""
    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(mosaic.image)).convert("L"))
    n, height, width = mosaic.shape
    slices = [picture[i // mosaic.columns * height :, i % mosaic.columns * width :][:height, :width] for i in range(n)]
    return np.stack(slices)


def grey(hu):
    return np.clip((hu - RANGE_HU[0]) / (RANGE_HU[1] - RANGE_HU[0]) * 255, 0, 255)


def test_voxels_of_the_mosaic_are_those_of_the_scan_at_their_world_places():
    scan = make_toy_scan(3)
    mosaic = make_mosaic(scan.volume, scan.centroids.points_mm)
    values = unpacked(mosaic)
    rng = np.random.default_rng(0)
    index = rng.integers(1, np.array(mosaic.shape) - 1, (400, 3))
    world = np.array(mosaic.first_mm) + index[:, ::-1] * mosaic.spacing_mm
    stored = np.rint(scan.volume.grid.to_index(world)).astype(int)
    inside = np.all((stored >= 0) & (stored < scan.volume.voxels.shape), axis=1)
    expected = grey(scan.volume.voxels[tuple(stored[inside].T)].astype(float))
    found = values[tuple(index[inside].T)].astype(float)
    assert inside.sum() > 300
    assert np.median(np.abs(found - expected)) < 4
    assert np.corrcoef(found, expected)[0, 1] > 0.95


def test_a_flipped_and_tilted_scan_shows_a_ball_where_it_is_in_the_patient():
    angle = np.radians(15)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    grid = Grid((60, 64, 70), (1.5, 1.5, 2.0), (-40.0, 70.0, 300.0), tuple((turn @ np.diag([1, -1, 1])).ravel()))
    at = grid.to_world([30, 20, 45])[0]
    world = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)
    voxels = 1200.0 * np.exp(-((world - at) ** 2).sum(axis=1) / (2 * 6.0**2))
    mosaic = make_mosaic(Volume(voxels.astype(np.int16).reshape(grid.shape), grid, "ball"), np.empty((0, 3)))
    values = np.clip(unpacked(mosaic).astype(float) - grey(300.0), 0, None)
    z, y, x = (float((values * i).sum() / values.sum()) for i in np.indices(values.shape))
    np.testing.assert_allclose(np.array(mosaic.first_mm) + mosaic.spacing_mm * np.array([x, y, z]), at, atol=0.5)


def test_the_mosaic_is_cut_out_around_the_spine():
    grid = Grid((100, 100, 100), (4.0, 4.0, 4.0))
    volume = Volume(np.zeros(grid.shape, np.int16), grid, "a")
    whole, near = make_mosaic(volume, np.empty((0, 3))), make_mosaic(volume, np.array([[200.0, 200.0, 200.0]]))
    assert whole.shape == (100, 100, 100)
    assert near.spacing_mm == 4.0
    assert np.array(near.shape) * 4 == pytest.approx([120, 200, 180], abs=8)
    assert make_mosaic(volume, np.array([[9e3, 0.0, 0.0]])).shape == (100, 100, 100)


def test_noise_that_does_not_pack_is_shown_coarser_instead_of_larger(monkeypatch):
    monkeypatch.setattr(mosaics, "MOST_BYTES", 30_000)
    grid = Grid((60, 100, 100), (1.0, 1.0, 1.0))
    noise = np.random.default_rng(0).integers(-200, 1200, grid.shape).astype(np.int16)
    mosaic = make_mosaic(Volume(noise, grid, "noise"), np.empty((0, 3)))
    assert len(mosaic.image) <= 30_000 < MOST_BYTES
    assert mosaic.spacing_mm > 1.2


@pytest.mark.parametrize("shape", [(1, 30, 30), (30, 1, 30), (30, 30, 1), (400, 3, 3)])
def test_thin_and_long_scans_are_packed(shape):
    grid = Grid(shape, (2.0, 2.0, 2.0))
    assert unpacked(make_mosaic(Volume(np.zeros(shape, np.int16), grid, "a"), np.empty((0, 3)))).shape == shape
