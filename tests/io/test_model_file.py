"""Damaged and crafted files are tested through `load_model`, in tests/test_model.py."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from vertloc.errors import ModelError
from vertloc.io.model_file import read_model_file, write_model_file

ARRAYS = {
    "classifier/features": np.arange(3, dtype=np.uint16),
    "classifier/leaf_values": np.random.default_rng(0).random((40_000, 27), np.float32),
    "naming/size_mm": np.empty((0, 2, 3), np.float32),
}


def test_header_and_arrays_come_back_aligned_and_writable(tmp_path):
    path = tmp_path / "m.npz"
    write_model_file(path, {"a": {"b": 1.5}}, {"seed": 3}, ARRAYS)
    stored = read_model_file(path)
    assert stored.path == path
    assert (stored.header["settings"], stored.header["provenance"]) == ({"a": {"b": 1.5}}, {"seed": 3})
    assert stored.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(stored.arrays[name], array, strict=True)
        assert stored.arrays[name].flags.aligned
        assert stored.arrays[name].flags.writeable


def test_a_byte_changed_anywhere_in_a_large_array_is_noticed(tmp_path):
    path = tmp_path / "m.npz"
    write_model_file(path, {}, {}, ARRAYS)
    right = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        begin = archive.getinfo("classifier/leaf_values.npy").header_offset + 300
        size = archive.getinfo("classifier/leaf_values.npy").compress_size
    for position in (begin, begin + size // 2, begin + size - 500):
        data = bytearray(right)
        data[position] ^= 1
        path.write_bytes(data)
        with pytest.raises(
            ModelError, match=r"m\.npz: (classifier/leaf_values is damaged|not a model file, or a damaged)"
        ):
            read_model_file(path)


def test_a_changed_array_under_a_right_checksum_of_the_archive_is_noticed(tmp_path):
    path = tmp_path / "m.npz"
    write_model_file(path, {}, {}, ARRAYS)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for position in (-1, -2_000_000, 128):
        changed = bytearray(members["classifier/leaf_values.npy"])
        changed[position] ^= 1
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in (members | {"classifier/leaf_values.npy": bytes(changed)}).items():
                archive.writestr(name, data)
        with pytest.raises(ModelError, match=r"m\.npz: classifier/leaf_values is damaged: its checksum differs"):
            read_model_file(path)


def test_members_that_unfold_to_far_more_than_the_file_are_refused_unread(tmp_path):
    path = tmp_path / "m.npz"
    write_model_file(path, {}, {}, {"classifier/leaf_values": np.zeros((3_000_000, 27), np.float32)})
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ModelError, match="unfold to more than 20 times the file"):
        read_model_file(path)


def test_a_member_said_to_be_larger_than_the_file_is_refused_before_anything_is_allocated(tmp_path):
    path = tmp_path / "m.npz"
    write_model_file(path, {}, {}, ARRAYS)
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("classifier/leaf_values.npy").compress_size.to_bytes(4, "little")
        directory = archive.start_dir
    data = path.read_bytes()
    path.write_bytes(data[:directory] + data[directory:].replace(size, (2**31).to_bytes(4, "little")))
    with pytest.raises(ModelError, match="a member is said to be larger than the file"):
        read_model_file(path)


def test_only_what_shrinks_to_a_half_is_deflated(tmp_path):
    path, rng = tmp_path / "m.npz", np.random.default_rng(0)
    half_random = rng.integers(0, 256, 300_000).astype(np.uint8) * (rng.random(300_000) < 0.5)
    arrays = {"random": rng.random(9000), "zeros": np.zeros(9000), "half": half_random}
    write_model_file(path, {}, {}, arrays)
    with zipfile.ZipFile(path) as archive:
        kinds = {info.filename.removesuffix(".npy"): info.compress_type for info in archive.infolist()}
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    expected = {"random": stored, "zeros": deflated, "half": stored}
    assert {name: kinds[name] for name in arrays} == expected
    for name, array in read_model_file(path).arrays.items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)


def test_a_file_without_an_end_is_refused():
    with pytest.raises(ModelError, match="/dev/zero: expected a model file, got a device or a pipe"):
        read_model_file(Path("/dev/zero"))
