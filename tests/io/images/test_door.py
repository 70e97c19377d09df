import gzip
import itertools
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images import (
    ImageFile,
    is_image_path,
    read_grid,
    read_image,
    scan_name,
    volume_from_sitk,
    write_image,
)
from vertloc.volume import Volume

OBLIQUE = Grid((3, 4, 5), (0.35, 0.4, 2.5), (-10.25, 3.5, 1e-3), (0.0, 0.6, 0.8, 1.0, 0.0, 0.0, 0.0, 0.8, -0.6))
SUFFIXES = (".mhd", ".mha", ".nii", ".nii.gz", ".nrrd")
DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def ct(grid=OBLIQUE, dtype="int16", seed=0):
    voxels = np.random.default_rng(seed).integers(0, 120, grid.shape).astype(dtype)
    if np.dtype(dtype).kind != "u":
        voxels -= 60
    return Volume(voxels, grid, "2804506")


def assert_same(found, expected, atol=0.0):
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    assert found.voxels.dtype == expected.voxels.dtype
    assert found.grid.shape == expected.grid.shape
    np.testing.assert_allclose(found.grid.spacing_mm, expected.grid.spacing_mm, rtol=0, atol=atol)
    np.testing.assert_allclose(found.grid.origin_mm, expected.grid.origin_mm, rtol=0, atol=atol)
    np.testing.assert_allclose(found.grid.direction, expected.grid.direction, rtol=0, atol=atol)


def simpleitk_volume(path):
    image = sitk.ReadImage(str(path))
    return volume_from_sitk(image, scan_name(path))


# --- round trips and SimpleITK ---


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_volume_comes_back_and_simpleitk_reads_the_same(tmp_path, suffix, dtype):
    path = tmp_path / f"2804506{suffix}"
    write_image(ct(dtype=dtype), path)
    found = read_image(path)
    # NIfTI stores its geometry in float32, NRRD spacing times direction.
    atol = {".nii": 1e-5, ".nii.gz": 1e-5, ".nrrd": 1e-14}.get(suffix, 0)
    assert_same(found, ct(dtype=dtype), atol)
    assert_same(found, simpleitk_volume(path), atol)
    assert found.name == "2804506"
    assert read_grid(path) == found.grid


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    spacing=st.tuples(*[st.floats(0.05, 20)] * 3),
    origin=st.tuples(*[st.floats(-1e4, 1e4).map(lambda value: round(value, 9))] * 3),
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    angle=st.floats(-3, 3).map(lambda value: round(value, 9)),
    element=st.sampled_from(["MET_SHORT", "MET_USHORT", "MET_UCHAR", "MET_INT", "MET_LONG", "MET_FLOAT", "MET_DOUBLE"]),
    is_big_endian=st.booleans(),
    is_compressed=st.booleans(),
    extra=st.sampled_from(
        ["", "AnatomicalOrientation = RAI\n", "CenterOfRotation = 1 2 3\n", "Modality = MET_MOD_CT\n"]
    ),
    line_end=st.sampled_from(["\n", "\r\n"]),
    separator=st.sampled_from([" = ", "=", "  =  "]),
)
def test_any_metaimage_header_is_read_as_simpleitk_reads_it(
    tmp_path_factory, shape, spacing, origin, axes, signs, angle, element, is_big_endian, is_compressed, extra,
    line_end, separator,
):  # fmt: skip
    folder = tmp_path_factory.mktemp("mhd")
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = (turn @ np.eye(3)[list(axes)]) * signs
    size = {"MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_DOUBLE": 8}.get(element, 4)
    # Random bytes could be NaN; these are small numbers in every type and byte order.
    data = np.random.default_rng(0).integers(0, 64, int(np.prod(shape)) * size, dtype=np.uint8).tobytes()
    if is_compressed:
        data = zlib.compress(data)
        extra += f"CompressedDataSize = {len(data)}\n"
    text = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {is_big_endian}\n"
        f"CompressedData = {is_compressed}\n{extra}TransformMatrix = {' '.join(map(repr, matrix.ravel().tolist()))}\n"
        f"Offset = {' '.join(map(repr, origin))}\nElementSpacing = {' '.join(map(repr, spacing))}\n"
        f"DimSize = {' '.join(map(str, shape[::-1]))}\nElementType = {element}\nElementDataFile = x.raw\n"
    ).replace(" = ", separator)
    (folder / "x.mhd").write_bytes(text.replace("\n", line_end).encode())
    (folder / "x.raw").write_bytes(data)
    assert_same(read_image(folder / "x.mhd"), simpleitk_volume(folder / "x.mhd"))
    (folder / "x.mha").write_bytes(text.replace("x.raw", "LOCAL").replace("\n", line_end).encode() + data)
    assert_same(read_image(folder / "x.mha"), simpleitk_volume(folder / "x.mha"))


def test_the_stored_axes_and_number_type_are_kept(tmp_path):
    flipped = Grid((2, 3, 4), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (0.0, 0.0, -1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    write_image(ct(flipped), tmp_path / "x.nrrd")
    assert_same(read_image(tmp_path / "x.nrrd"), ct(flipped))


def test_a_fourth_dimension_of_one_is_dropped(tmp_path):
    image = sitk.JoinSeries([sitk.GetImageFromArray(ct().voxels)])
    image.SetSpacing((1.0, 2.0, 3.0, 4.0))
    for suffix in (".nii.gz", ".nii", ".mha", ".mhd"):
        path = tmp_path / f"x{suffix}"
        sitk.WriteImage(image, str(path))
        found = read_image(path)
        np.testing.assert_array_equal(found.voxels, ct().voxels)
        assert found.grid.spacing_mm == (1.0, 2.0, 3.0)


def test_nifti_intensities_are_scaled_as_the_header_says(tmp_path):
    write_image(ct(), tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    struct.pack_into("<2f", data, 112, 2.0, -1024.0)
    (tmp_path / "x.nii").write_bytes(data)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(data))
    for name in ("x.nii", "x.nii.gz"):
        np.testing.assert_array_equal(read_image(tmp_path / name).voxels, ct().voxels * 2.0 - 1024.0)


def test_a_big_endian_nifti_is_read(tmp_path):
    write_image(ct(), tmp_path / "x.nii")
    data = (tmp_path / "x.nii").read_bytes()
    header = np.frombuffer(data[:348], np.uint8).copy()
    # (offset, count, bytes) of the header's numbers.
    for start, count, size in ((0, 1, 4), (40, 8, 2), (68, 3, 2), (76, 8, 4), (108, 3, 4), (252, 2, 2), (256, 18, 4)):
        part = header[start : start + count * size].reshape(count, size)
        header[start : start + count * size] = part[:, ::-1].ravel()
    voxels = np.frombuffer(data[352:], "<i2").astype(">i2")
    (tmp_path / "x.nii").write_bytes(header.tobytes() + data[348:352] + voxels.tobytes())
    found = read_image(tmp_path / "x.nii")
    assert_same(found, ct(), atol=1e-5)
    assert_same(found, simpleitk_volume(tmp_path / "x.nii"))


def test_a_gzip_file_of_several_members_is_whole(tmp_path):
    write_image(ct(), tmp_path / "x.nii")
    data = (tmp_path / "x.nii").read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(data[:380]) + gzip.compress(data[380:]) + gzip.compress(b""))
    np.testing.assert_array_equal(read_image(tmp_path / "x.nii.gz").voxels, ct().voxels)
    assert read_grid(tmp_path / "x.nii.gz").shape == (3, 4, 5)


def test_a_nifti_without_orientation_is_read_with_a_warning(tmp_path, caplog):
    write_image(ct(), tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    struct.pack_into("<2h", data, 252, 0, 0)
    (tmp_path / "x.nii").write_bytes(data)
    assert read_image(tmp_path / "x.nii").grid.direction == Grid((1, 1, 1), (1, 1, 1)).direction
    assert "no orientation" in caplog.text


def test_voxels_are_read_only_and_outlive_the_simpleitk_image():
    image = sitk.GetImageFromArray(ct().voxels)
    volume = volume_from_sitk(image, "x")
    image *= 0
    del image
    np.testing.assert_array_equal(volume.voxels, ct().voxels)
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 1


# --- names ---


def test_names_and_suffixes_in_any_case(tmp_path):
    names = {"2804506.mhd": "2804506", "a.b.nii.gz": "a.b", "X.NII.GZ": "X", "x.nii": "x", "sub-1_ct.nrrd": "sub-1_ct"}
    for name, scan in names.items():
        assert is_image_path(Path("folder", name))
        assert scan_name(Path("folder", name)) == scan
    assert not any(is_image_path(Path(name)) for name in ("x.raw", "x.lml", "x.gz", ".nii.gz", "nii", "x.nii.gz.part"))
    write_image(ct(), tmp_path / "X.MHA")
    assert read_image(tmp_path / "X.MHA").name == "X"
    with pytest.raises(ImageError, match="SimpleITK refuses it"):  # NIfTI alone cares about the case
        write_image(ct(), tmp_path / "Y.NiI.Gz")


# --- writing ---


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_volume_gives_the_same_bytes_and_no_other_files(tmp_path, suffix):
    for folder in ("a", "b"):
        write_image(ct(), tmp_path / folder / f"x{suffix}")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == (["x.mhd", "x.raw"] if suffix == ".mhd" else [f"x{suffix}"])
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_view_that_is_not_contiguous_is_written_in_its_own_order(tmp_path):
    view = ct().aligned()
    for suffix in SUFFIXES:
        write_image(view, tmp_path / f"x{suffix}")
        np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}").voxels, view.voxels)


def test_a_type_or_suffix_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    half = Volume(np.zeros((2, 2, 2), np.float16), Grid((2, 2, 2), (1, 1, 1)))
    for suffix in SUFFIXES:
        with pytest.raises(ValueError, match="float16"):
            write_image(half, tmp_path / f"x{suffix}")
    with pytest.raises(ImageError, match="expected a name ending in"):
        write_image(ct(), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


# --- what is refused ---


def mhd(tmp_path, n_bytes=120, **changes):
    keys = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 2",
        "DimSize": "3 4 5",
        "ElementType": "MET_SHORT",
        "ElementDataFile": "x.raw",
    } | changes
    keys["ElementDataFile"] = keys.pop("ElementDataFile")  # nothing is read after it
    text = "".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None)
    (tmp_path / "x.mhd").write_bytes(text.encode("latin-1"))
    (tmp_path / "x.raw").write_bytes(bytes(n_bytes))
    return tmp_path / "x.mhd"


def assert_refused(path, message):
    for read in (read_image, read_grid):
        with pytest.raises(ImageError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert message in str(error.value)


def test_the_header_that_the_refusals_change_is_good(tmp_path):
    assert read_image(mhd(tmp_path)).grid == Grid((5, 4, 3), (1, 1, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ElementSpacing": "0 1 1"}, "expected three positive spacings"),
        ({"ElementSpacing": "-1 1 1"}, "expected three positive spacings"),
        ({"ElementSpacing": "nan 1 1"}, "expected three positive spacings"),
        ({"ElementSpacing": "inf 1 1"}, "expected three positive spacings"),
        ({"ElementSpacing": "1 1"}, "expected 3 numbers for ElementSpacing"),
        ({"ElementSpacing": "1 1 thick"}, "expected numbers for ElementSpacing"),
        ({"ElementSpacing": "1 1 1_0"}, "expected numbers for ElementSpacing"),
        ({"ElementSpacing": None}, "no ElementSpacing"),
        ({"Offset": "\N{NO-BREAK SPACE} 0 0 0"}, "expected numbers for Offset"),
        ({"CenterOfRotation": "0"}, "expected 3 numbers for CenterOfRotation"),
        ({"TransformMatrix": "0 0 0 0 1 0 0 0 1"}, "orthonormal"),
        ({"TransformMatrix": "1 0.5 0 0 1 0 0 0 1"}, "orthonormal"),
        ({"TransformMatrix": "2 0 0 0 2 0 0 0 2"}, "orthonormal"),
        ({"TransformMatrix": "nan 0 0 0 1 0 0 0 1"}, "orthonormal"),
        ({"Offset": "0 nan 0"}, "finite origin"),
        ({"DimSize": "0 4 5"}, "expected three positive sizes"),
        ({"DimSize": "-3 4 5"}, "expected three positive sizes"),
        ({"DimSize": "3 4 5.5"}, "expected whole numbers for DimSize"),
        ({"DimSize": "3 4 6"}, "truncated"),
        ({"DimSize": "100000 100000 100000"}, "GiB"),
        ({"DimSize": "100000 100000 100000", "CompressedData": "True"}, "GiB"),
        ({"DimSize": "1000 1000 1000", "CompressedData": "True"}, "truncated"),
        ({"NDims": "2", "DimSize": "3 20", "ElementSpacing": "1 1", "Offset": "0 0"}, "expected a 3-D volume"),
        ({"NDims": "4", "DimSize": "3 4 1 5", "ElementSpacing": "1 1 1 1", "Offset": "0 0 0 0"}, "expected a 3-D"),
        ({"ElementType": "MET_SHORT_ARRAY"}, "expected one real number a voxel"),
        ({"ElementNumberOfChannels": "3"}, "expected one value a voxel, got 3 channels"),
        ({"BinaryData": "False"}, "voxels as text"),
        ({"CompressedData": "=True"}, "expected True or False for CompressedData"),
        ({"ElementDataFile": "../x.raw"}, "same folder"),
        ({"ElementDataFile": "/etc/passwd"}, "same folder"),
        ({"ElementDataFile": "..\\x.raw"}, "same folder"),
        ({"ElementDataFile": "C:x.raw"}, "same folder"),
        ({"ElementDataFile": ".."}, "same folder"),
        ({"ElementDataFile": "other.raw"}, "data file other.raw is missing"),
        ({"ElementDataFile": "LIST"}, "expected one data file"),
        ({"ElementDataFile": "x%03d.raw 1 5 1"}, "expected one data file"),
        ({"ElementDataFile": None}, "no ElementDataFile"),
        ({"DimSize": None}, "no DimSize"),
    ],
)
def test_a_metaimage_header_that_cannot_be_a_ct_is_refused(tmp_path, changes, message):
    assert_refused(mhd(tmp_path, **changes), message)


def test_what_lies_behind_the_voxels_in_a_raw_file_is_ignored_with_a_warning(tmp_path, caplog):
    volume = read_image(mhd(tmp_path, DimSize="3 4 4"))
    assert volume.voxels.shape == (4, 4, 3)
    assert "the rest is ignored" in caplog.text


@pytest.mark.parametrize("suffix", [".mha", ".nii", ".nrrd"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    write_image(ct(), path)
    path.write_bytes(path.read_bytes()[:-1])
    assert_refused(path, "truncated")


def test_a_truncated_nii_gz_is_refused_where_simpleitk_makes_up_the_rest(tmp_path):
    path = tmp_path / "x.nii.gz"
    grid = Grid((20, 40, 40), (1, 1, 1))
    write_image(ct(grid), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_refused(path, "truncated")


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_a_bit_error_in_compressed_voxels_is_noticed(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ct(Grid((40, 80, 80), (1, 1, 1))).voxels), str(path), True)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_image(path)


@pytest.mark.parametrize(
    ("field", "offset", "value", "message"),
    [
        ("f", 80, 0.0, "positive spacings"),
        ("f", 84, -1.0, "positive spacings"),
        ("f", 88, float("nan"), "positive spacings"),
        ("h", 40, 2, "expected a 3-D volume"),
        ("h", 40, 9, "expected 3 dimensions"),
        ("h", 42, -5, "positive sizes"),
        ("h", 46, 9, "truncated"),
        ("h", 70, 128, "expected one real number a voxel"),
        ("f", 108, float("nan"), "vox_offset"),
        ("f", 256, float("nan"), "finite orientation"),
        ("i", 344, 0, "NIfTI-1 file with its voxels inside"),
        ("i", 0, 349, "not a NIfTI-1 file"),
    ],
)
def test_a_nifti_header_that_cannot_be_a_ct_is_refused(tmp_path, field, offset, value, message):
    write_image(ct(), tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    struct.pack_into(f"<{field}", data, offset, value)
    (tmp_path / "x.nii").write_bytes(data)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(data))
    assert_refused(tmp_path / "x.nii", message)
    assert_refused(tmp_path / "x.nii.gz", message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ((b"type: short", b"type: block"), "expected one real number"),
        ((b"sizes: 5 4 3", b"sizes: 5 4 4"), "truncated"),
        ((b"encoding: raw", b"encoding: raw\ndata file: /etc/passwd"), "same folder"),
        ((b"dimension: 3", b"dimension: 4"), "expected 4 numbers for sizes"),
        ((b"space directions", b"space-directions"), "nothing can be measured"),
        ((b"NRRD000", b"nrrd000"), "not an NRRD file"),
        ((b"\n\n", b"\n"), "no empty line"),
    ],
)
def test_an_nrrd_header_that_cannot_be_a_ct_is_refused(tmp_path, changed, message):
    path = tmp_path / "x.nrrd"
    write_image(Volume(np.full((3, 4, 5), 11, np.int16), Grid((3, 4, 5), (1, 1, 1))), path)
    data = path.read_bytes()
    assert changed[0] in data
    path.write_bytes(data.replace(*changed, 1))
    assert_refused(path, message)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_refused(tmp_path, suffix, bad):
    voxels = ct(dtype="float32").voxels.copy()
    voxels[1, 2, 3] = bad
    write_image(Volume(voxels, OBLIQUE), tmp_path / f"x{suffix}")
    with pytest.raises(ImageError, match=rf"x{suffix}: 1 of 60 voxels are not finite"):
        read_image(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(500), b"\x1f\x8b\x08\x00" + bytes(40)])
def test_another_kind_of_file_under_the_suffix_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    assert_refused(path, "")


def test_colour_flat_and_missing_files_and_folders_are_refused(tmp_path):
    colour = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    for suffix in SUFFIXES:
        sitk.WriteImage(colour, str(tmp_path / f"c{suffix}"))
        with pytest.raises(ImageError):
            read_image(tmp_path / f"c{suffix}")
        with pytest.raises(ImageError, match="no such file"):
            read_image(tmp_path / f"missing{suffix}")
    with pytest.raises(ImageError, match="got 3"):
        volume_from_sitk(colour, "x")
    with pytest.raises(ImageError, match="x: expected a 3-D volume, got 2"):
        volume_from_sitk(sitk.Image(3, 4, sitk.sitkInt16), "x")
    with pytest.raises(ImageError, match="positive sizes"):
        volume_from_sitk(sitk.Image(0, 4, 5, sitk.sitkInt16))
    with pytest.raises(ImageError, match="real numbers"):
        volume_from_sitk(sitk.Image((3, 4, 5), sitk.sitkComplexFloat32))
    with pytest.raises(TypeError, match="ndarray"):
        volume_from_sitk(np.zeros((3, 4, 5)))
    (tmp_path / "folder.mhd").mkdir()
    with pytest.raises(ImageError, match="no DICOM image found"):
        read_image(tmp_path / "folder.mhd")
    (tmp_path / "x.png").write_bytes(b"no image of ours")
    with pytest.raises(ImageError, match="expected an image ending in"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_an_error_of_the_disk_is_an_image_error(tmp_path, monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error

    path = mhd(tmp_path)
    monkeypatch.setattr(ImageFile, "_fill", fail)
    with pytest.raises(ImageError, match=rf"x\.mhd: cannot be read: {error.strerror}"):
        read_image(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_data_file_without_permission_is_refused_by_its_header(tmp_path):
    path = mhd(tmp_path)
    (tmp_path / "x.raw").chmod(0)
    assert_refused(path, "no permission to read x.raw")


@settings(deadline=None, max_examples=150)
@given(
    suffix=st.sampled_from(SUFFIXES),
    edits=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 12), st.binary(max_size=4)), min_size=1, max_size=3),
)
def test_any_damage_gives_an_image_error_or_what_simpleitk_reads(tmp_path_factory, suffix, edits):
    path = tmp_path_factory.mktemp("damaged") / f"x{suffix}"
    write_image(ct(), path)
    data = bytearray(path.read_bytes() if suffix != ".nii.gz" else gzip.decompress(path.read_bytes()))
    for position, n_removed, inserted in edits:
        data[position : position + n_removed] = inserted
    path.write_bytes(data if suffix != ".nii.gz" else gzip.compress(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = read_image(path)
        except ImageError as error:
            assert str(error).startswith(f"{path}: ")
            return
    assert found.voxels.dtype.kind in "iuf"
    assert found.grid == read_grid(path)


def test_refusals_print_nothing_not_even_from_c(tmp_path):
    mhd(tmp_path, ElementSpacing="1 1 1", Modality="MET_MOD_CT", TransformMatrix="0 0 0 0 0 0 0 0 0")
    write_image(ct(), tmp_path / "y.nii")
    data = bytearray((tmp_path / "y.nii").read_bytes())
    struct.pack_into("<f", data, 256, float("nan"))
    (tmp_path / "y.nii").write_bytes(data)
    script = f"""
from pathlib import Path
from vertloc.errors import ImageError
from vertloc.io.images import read_image
for name in ("x.mhd", "y.nii"):
    try:
        read_image(Path({str(tmp_path)!r}, name))
    except ImageError:
        continue
    raise SystemExit(name)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_importing_the_door_does_not_import_simpleitk():
    script = "import sys, vertloc.io.images; raise SystemExit('SimpleITK' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_reading_in_threads_gives_each_its_own_volume(tmp_path):
    paths = [tmp_path / f"{i}{suffix}" for i, suffix in itertools.product(range(8), (".nii.gz", ".nrrd", ".mhd"))]
    for i, path in enumerate(paths):
        write_image(ct(seed=i), path)
    with ThreadPoolExecutor(4) as pool:
        for i, found in enumerate(pool.map(read_image, paths)):
            np.testing.assert_array_equal(found.voxels, ct(seed=i).voxels)
