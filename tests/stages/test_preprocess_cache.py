"""The cache gives back what preprocessing gave, and nothing else."""

import os

import numpy as np

from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.preprocess_cache import read_preprocessed
from vertloc.volume import Volume


def write_scan(path, seed=0):
    voxels = np.random.default_rng(seed).integers(-1000, 1500, (9, 12, 10)).astype(np.int16)
    tilted = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
    write_image(Volume(voxels, Grid(voxels.shape, (1.5, 2.0, 2.5), (3.0, -4.0, 5.0), tilted)), path)


def assert_same(one, two):
    np.testing.assert_array_equal(one[0].voxels, two[0].voxels)
    assert one[0].grid == two[0].grid
    assert one[1] == two[1]


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


def test_a_damaged_cached_volume_is_made_anew_with_a_warning(tmp_path, caplog):
    cache = tmp_path / "cache"
    write_scan(tmp_path / "a.mhd")
    expected = read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), cache)
    (cached,) = cache.iterdir()
    whole = cached.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PK\x03\x04 nothing"):
        cached.write_bytes(damaged)
        assert_same(read_preprocessed(tmp_path / "a.mhd", PreprocessSettings(), cache), expected)
        assert "made anew" in caplog.text
        assert cached.read_bytes() == whole
        caplog.clear()
