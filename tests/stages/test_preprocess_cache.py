"""The cache gives back what preprocessing gave, and nothing else."""

import os

import numpy as np
import pytest

from vertloc.geometry import Grid
from vertloc.io.array_file import write_array_file
from vertloc.io.images import write_image
from vertloc.stages import preprocess_cache
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.preprocess_cache import read_preprocessed
from vertloc.volume import Volume


def write_scan(path, seed=0):
    voxels = np.random.default_rng(seed).integers(-1000, 1500, (9, 12, 10)).astype(np.int16)
    tilted = (0.0, 0.8, 0.6, 1.0, 0.0, 0.0, 0.0, 0.6, -0.8)
    write_image(Volume(voxels, Grid(voxels.shape, (1.5, 2.0, 2.5), (3.0, -4.0, 5.0), tilted)), path)


def assert_same(one, two):
    np.testing.assert_array_equal(one[0].voxels, two[0].voxels)
    for name in ("grid", "tilted", "warnings", "are_hounsfield_units"):
        assert getattr(one[0], name) == getattr(two[0], name)
    assert one[1] == two[1]


@pytest.mark.parametrize("largest", [255, 1500])
def test_what_was_odd_about_a_scan_is_cached_with_it(tmp_path, largest):
    voxels = np.random.default_rng(0).integers(0 if largest < 1000 else -1000, largest, (9, 12, 10)).astype(np.int16)
    write_image(Volume(voxels, Grid(voxels.shape, (1.5, 2.0, 2.5))), tmp_path / "a.mhd")
    first, again = (read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), tmp_path / "cache") for _ in range(2))
    assert first[0].are_hounsfield_units == (largest > 1000)
    assert_same(first, again)


def test_a_cached_volume_is_the_preprocessed_one(tmp_path):
    write_scan(tmp_path / "a.mhd")
    expected = read_preprocessed(tmp_path / "a.mhd", PreprocessSettings())
    cache = tmp_path / "cache"
    assert_same(read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), cache), expected)
    assert len(list(cache.iterdir())) == 1
    # The second time the voxels are not read at all: with the same size and time, other bytes go unnoticed.
    raw = tmp_path / "a.raw"
    status = raw.stat()
    raw.write_bytes(bytes(status.st_size))
    os.utime(raw, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert_same(read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), cache), expected)


def test_a_changed_image_or_setting_is_read_anew(tmp_path):
    cache = tmp_path / "cache"
    write_scan(tmp_path / "a.mhd")
    read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), cache)
    write_scan(tmp_path / "a.mhd", seed=1)
    os.utime(tmp_path / "a.raw", ns=(1, 1))
    for settings in (PreprocessSettings(), PreprocessSettings(spacing_mm=4.0)):
        found = read_preprocessed(tmp_path / "a.mhd", settings, cache)
        assert_same(found, read_preprocessed(tmp_path / "a.mhd", settings))
    assert len(list(cache.iterdir())) == 3


@pytest.fixture
def cached(tmp_path):
    """An image, what becomes of it, and its file in the cache."""
    write_scan(tmp_path / "a.mhd")
    expected = read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    return tmp_path / "a.mhd", expected, path


def test_a_damaged_cached_volume_is_made_anew_with_a_warning(cached, caplog):
    image, expected, path = cached
    whole = path.read_bytes()
    halves = (b"", whole[: len(whole) // 2], b"PK\x03\x04 nothing", whole + b"\0")
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (0, 20, 60, 200, 400, len(whole) - 1)]
    for damaged in (*halves, *flipped):
        path.write_bytes(damaged)
        assert_same(read_preprocessed(image, PreprocessSettings(), path.parent), expected)
        assert "made anew" in caplog.text
        assert path.read_bytes() == whole
        caplog.clear()


def test_the_cached_volume_of_another_scan_is_not_accepted(cached, tmp_path, caplog):
    _, _, path = cached
    write_scan(tmp_path / "b.mhd", seed=1)
    expected = read_preprocessed(tmp_path / "b.mhd", PreprocessSettings(), path.parent)
    (other,) = set(path.parent.iterdir()) - {path}
    other.write_bytes(path.read_bytes())
    assert_same(read_preprocessed(tmp_path / "b.mhd", PreprocessSettings(), path.parent), expected)
    assert "made from something else" in caplog.text


def test_a_whole_file_with_impossible_arrays_is_made_anew(cached, caplog):
    image, expected, path = cached
    key = preprocess_cache._key(image, PreprocessSettings())
    grids = np.ones((2, 18))
    for arrays in ({}, {"voxels": np.zeros((2, 2, 2), np.int16)}, {"voxels": np.zeros(8, np.int16), "grids": grids},
                   {"voxels": np.zeros((2, 2, 2), np.int16), "grids": np.full((2, 18), np.nan)},
                   {"voxels": np.zeros((2, 2, 2), np.int16), "grids": grids}):  # fmt: skip
        write_array_file(path, key, arrays)
        assert_same(read_preprocessed(image, PreprocessSettings(), path.parent), expected)
        assert "made anew" in caplog.text
        caplog.clear()


def test_a_cached_volume_does_not_outlive_the_code_that_made_it(cached, monkeypatch):
    image, expected, path = cached
    monkeypatch.setattr(preprocess_cache, "_code", lambda: "changed")
    assert_same(read_preprocessed(image, PreprocessSettings(), path.parent), expected)
    assert len(list(path.parent.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, caplog):
    write_scan(tmp_path / "a.mhd")
    (tmp_path / "cache").write_text("a file")
    expected = read_preprocessed(tmp_path / "a.mhd", PreprocessSettings())
    assert_same(read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), tmp_path / "cache"), expected)
    assert "going on without" in caplog.text


def test_what_comes_from_the_cache_can_be_computed_with_like_what_was_just_made(cached):
    image, _, path = cached
    volume, _ = read_preprocessed(image, PreprocessSettings(), path.parent)
    assert volume.voxels.flags.writeable
    assert volume.voxels.flags.c_contiguous
