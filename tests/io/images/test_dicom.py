import io
import logging
import struct
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_series import OBLIQUE, SHAPE, SPACING, voxels, write_series
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from vertloc.errors import ImageError
from vertloc.io.images import image_files, open_image, read_grid, read_image, series_below
from vertloc.io.images.dicom_zip import unpack_zip


def itk(folder, uid=""):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    return sitk.ReadImage(names)


def assert_as_itk_reads_it(found, image):
    np.testing.assert_array_equal(found.voxels, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(found.grid.spacing_mm, image.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(found.grid.origin_mm, image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(found.grid.direction, image.GetDirection(), atol=1e-5)


@pytest.mark.parametrize("axes", [np.eye(3), OBLIQUE, np.diag([1.0, -1.0, -1.0])])
@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"TransferSyntaxUID": ImplicitVRLittleEndian},
        {"RescaleSlope": 1, "RescaleIntercept": -1024, "PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11},
        {"RescaleSlope": 2, "RescaleIntercept": -1000},
        {"RescaleSlope": 0.5, "RescaleIntercept": -1000.5},
    ],
)
def test_a_series_is_read_as_simpleitk_reads_it(tmp_path, axes, elements):
    write_series(tmp_path / "a", np.clip(voxels(), -1000, 1500) // 2 * 2, axes, **elements)
    found = read_image(tmp_path / "a")
    assert_as_itk_reads_it(found, itk(tmp_path / "a"))
    assert found.warnings == ()
    assert read_grid(tmp_path / "a") == found.grid
    assert len(image_files(tmp_path / "a")) == SHAPE[0]


def test_one_file_and_a_zip_stand_for_their_series(tmp_path):
    folder = write_series(tmp_path / "a")
    expected = read_image(folder)
    write_series(folder, voxels(1), SeriesInstanceUID="1.2.3.5", SeriesNumber=4, origin=(0, 0, 0))
    one = next(path for path in folder.iterdir() if "-3-" in path.name)
    with zipfile.ZipFile(tmp_path / "Doe Jane.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for path in folder.iterdir():
            if "-3-" in path.name:
                out.write(path, f"../../{path.name}")
        out.writestr("readme.txt", "no image")
    for path in (one, tmp_path / "Doe Jane.zip"):
        found = read_image(path)
        np.testing.assert_array_equal(found.voxels, expected.voxels)
        assert (found.grid, found.name) == (expected.grid, expected.name)
    assert not (tmp_path.parent / one.name).exists()


def test_the_name_comes_from_the_series_and_not_from_the_patient(tmp_path):
    name = read_image(write_series(tmp_path / "a")).name
    assert name.startswith("series3-")
    assert "Doe" not in name
    assert "0815" not in name
    assert name == read_image(write_series(tmp_path / "b", PatientName="Roe^Richard")).name
    assert name != read_image(write_series(tmp_path / "c", SeriesInstanceUID="9.9")).name


def test_slabs_are_the_slices_of_the_whole(tmp_path):
    scan = open_image(write_series(tmp_path / "a", places=[0, 1, 2, 3, 5, 6, 7]))
    whole = scan.read()
    bounds = [(0, 3), (2, 5), (5, 6), (6, 8)]
    for (begin, end), slab in zip(bounds, scan.slabs(bounds), strict=True):
        np.testing.assert_array_equal(slab, whole[begin:end])
    for slab in scan.slabs([(3, 8)]):
        np.testing.assert_array_equal(slab, whole[3:8])


# --- defects that are said, and read in spite of it ---


def warnings_of(path, **kwargs):
    found = read_image(path, **kwargs)
    return found, " | ".join(found.warnings)


def test_a_missing_slice_is_interpolated_and_said(tmp_path):
    values = voxels()
    found, said = warnings_of(write_series(tmp_path / "a", values, places=[0, 1, 2, 4, 5, 6, 7]))
    assert "1 slices are missing" in said
    assert found.voxels.shape[0] == 8
    np.testing.assert_allclose(found.voxels[3], (values[2].astype(float) + values[3]) / 2, atol=0.51)
    np.testing.assert_array_equal(found.voxels[[0, 1, 2, 4, 5, 6, 7]], values)
    assert found.grid.spacing_mm == SPACING


def test_uneven_distances_are_interpolated_and_said(tmp_path):
    ramp = np.broadcast_to((100 * np.array([0, 1, 2, 3.4, 4.4, 5.4, 6.4])).round()[:, None, None], SHAPE)
    found, said = warnings_of(write_series(tmp_path / "a", ramp, places=[0, 1, 2, 3.4, 4.4, 5.4, 6.4]))
    assert "not evenly spaced" in said
    expected = 100 * np.arange(7)[:, None, None] + np.zeros((1, *SHAPE[1:]))
    np.testing.assert_allclose(found.voxels, expected, atol=1)


def test_doubled_slices_are_left_out_and_said(tmp_path):
    folder = write_series(tmp_path / "a")
    expected = read_image(folder).voxels
    write_series(
        folder, voxels(5)[:3], SeriesNumber=13, change=lambda k: {"InstanceNumber": 100 + k, "SeriesNumber": 3}
    )
    for path in list(folder.iterdir()):
        made = pydicom.dcmread(path)
        made.SeriesInstanceUID = "1.2.3.4"
        made.save_as(path)
    found, said = warnings_of(folder)
    assert "3 slices lie where another one does" in said
    np.testing.assert_array_equal(found.voxels, expected)


def test_a_second_orientation_in_a_series_is_left_out_and_said(tmp_path):
    folder = write_series(tmp_path / "a")
    expected = read_image(folder).voxels
    write_series(folder / "b", voxels(2)[:4], OBLIQUE)
    found, said = warnings_of(folder)
    assert "2 orientations or sizes" in said
    assert "4 are left out" in said
    np.testing.assert_array_equal(found.voxels, expected)


def test_a_wide_gap_cuts_a_stack_and_is_said(tmp_path):
    values = voxels(0, (9, *SHAPE[1:]))
    found, said = warnings_of(write_series(tmp_path / "a", values, places=[0, 1, 2, 30, 31, 32, 33, 34, 35]))
    assert "the larger part of 6 of 9 slices" in said
    np.testing.assert_array_equal(found.voxels, values[3:])


@pytest.mark.parametrize("shear", [0.3, -0.2])
def test_the_slices_of_a_tilted_gantry_are_shifted_into_place_and_it_is_said(tmp_path, shear):
    # A ramp in the patient: after shifting, every voxel has the value of its place.
    k, j, i = np.indices(SHAPE).astype(float)
    along, y = k * SPACING[2], j * SPACING[1] + k * SPACING[2] * shear
    values = np.round(10 * y + 4 * i * SPACING[0] + 6 * along)
    found, said = warnings_of(write_series(tmp_path / "a", values, shear=shear))
    assert f"sheared by {np.degrees(np.arctan(abs(shear))):.1f} degrees (tilted gantry)" in said
    index = np.argwhere(found.voxels > -1500)
    assert len(index) > 0.9 * values.size
    at = found.grid.to_world(index) - (-10.0, 20.0, -300.0)
    expected = at @ (4, 10, 6)
    inside = found.voxels[tuple(index.T)]
    # The outermost row of a slice holds its value up to a pixel further on.
    assert np.quantile(np.abs(inside - expected), 0.9) < 1.1
    assert np.abs(inside - expected).max() < 10 * SPACING[1] + 1


def test_a_rescale_of_each_slice_is_its_own(tmp_path):
    values = voxels() // 4 * 4
    found = read_image(
        write_series(tmp_path / "a", values, change=lambda k: {"RescaleSlope": 1 + k % 2, "RescaleIntercept": -4 * k})
    )
    np.testing.assert_array_equal(found.voxels, values)


def test_bits_above_those_in_use_are_not_read(tmp_path):
    values = voxels().clip(0, 1000)
    stored = [(plane.astype("<u2") | 0xF000).tobytes() for plane in values]
    elements = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "RescaleIntercept": 0}
    found = read_image(write_series(tmp_path / "a", values, change=lambda k: {"PixelData": stored[k]}, **elements))
    np.testing.assert_array_equal(found.voxels, values)


def test_packed_pixels_are_read(tmp_path):
    folder = write_series(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for path in folder.iterdir():
        made = pydicom.dcmread(path)
        made.compress(RLELossless)
        made.save_as(tmp_path / "b" / path.name)
    found, expected = read_image(tmp_path / "b"), read_image(folder)
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    assert found.grid == expected.grid


def test_big_endian_pixels_are_read(tmp_path):
    big = [(plane + 24).astype(">i2").tobytes() for plane in voxels()]
    write_series(tmp_path / "a", change=lambda k: {"PixelData": big[k]}, TransferSyntaxUID=ExplicitVRBigEndian)
    np.testing.assert_array_equal(read_image(tmp_path / "a").voxels, voxels())


def test_private_and_nested_elements_are_passed_over(tmp_path):
    def nested(_):
        inner = pydicom.Dataset()
        inner.ImagePositionPatient = [9, 9, 9]
        inner.ReferencedImageSequence = [pydicom.Dataset()]
        return {"SourceImageSequence": [inner, inner]}

    found = read_image(write_series(tmp_path / "a", change=nested))
    np.testing.assert_array_equal(found.voxels, voxels())


# --- which series ---


def test_the_ct_series_with_most_slices_is_taken_or_the_one_asked_for(tmp_path, caplog):
    write_series(tmp_path / "a", voxels(1))
    write_series(tmp_path / "a", voxels(2)[:4], SeriesInstanceUID="1.2.3.5", SeriesNumber=7)
    write_series(tmp_path / "a", voxels(3), SeriesInstanceUID="1.2.3.6", SeriesNumber=8, Modality="MR")
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(read_image(tmp_path / "a").voxels, voxels(1))
    assert "series 3" in caplog.text
    assert "series 7" in caplog.text
    for series in ("7", "1.2.3.5"):
        np.testing.assert_array_equal(read_image(tmp_path / "a", series).voxels, voxels(2)[:4])
    for series in ("8", "99"):
        with pytest.raises(ImageError, match=r"series .+ is not a CT scan here; there are: series 3 .*7 x modality MR"):
            read_image(tmp_path / "a", series)


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ({"Modality": "MR"}, "modality MR"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"NumberOfFrames": 2}, "multi-frame file.*dcm2niix"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "multi-frame file"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "colour or inverted"),
        ({"ImagePositionPatient": None}, "slice without a position"),
        ({"PixelSpacing": None}, "slice without a pixel spacing"),
    ],
)
def test_what_is_no_ct_slice_is_said_by_its_kind(tmp_path, elements, why):
    with pytest.raises(ImageError, match=f"no CT scan among the DICOM files; there are: 7 x {why}"):
        read_image(write_series(tmp_path / "a", **elements))


def test_localizers_beside_a_scan_do_no_harm(tmp_path):
    folder = write_series(tmp_path / "a")
    write_series(folder, voxels(2)[:2], OBLIQUE, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesNumber=1)
    found, said = warnings_of(folder)
    np.testing.assert_array_equal(found.voxels, voxels())
    assert said == ""


def test_a_file_of_each_studys_largest_series_is_listed(tmp_path):
    write_series(tmp_path / "p1")
    write_series(tmp_path / "p1/more", voxels(1)[:4], SeriesInstanceUID="1.2.3.5", SeriesNumber=7)
    write_series(tmp_path / "p2", StudyInstanceUID="2.2", SeriesInstanceUID="2.2.1")
    write_series(tmp_path / "p1", voxels(1)[:4], SeriesInstanceUID="1.2.3.9", SeriesNumber=9)
    found = series_below(tmp_path)
    assert [(path.parent.name, len(stack.headers)) for path, stack in found] == [("p1", 7), ("more", 4), ("p2", 7)]
    assert [path.parent.name for path, _ in series_below(tmp_path, "7")] == ["more"]
    assert series_below(tmp_path, "99") == []


# --- files from strangers ---


def test_a_folder_without_dicom_and_too_few_slices_are_refused(tmp_path):
    (tmp_path / "x.txt").write_text("no image")
    with pytest.raises(ImageError, match="no DICOM image found"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="2 x slice in a series of only 2"):
        read_image(write_series(tmp_path / "a", voxels()[:2]))


def test_a_truncated_slice_is_refused_and_a_damaged_header_is_said(tmp_path):
    folder = write_series(tmp_path / "a")
    paths = sorted(folder.iterdir())
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[:-10])
    with pytest.raises(ImageError, match="truncated"):
        read_image(folder)
    paths[0].write_bytes(whole[:300])
    found, said = warnings_of(folder)
    assert "not read; 1 files: " in said
    assert found.voxels.shape[0] in (6, 7)


@pytest.mark.parametrize("seed", range(6))
def test_any_damage_gives_an_image_error_or_an_image(tmp_path, seed):
    folder = write_series(tmp_path / "a")
    rng = np.random.default_rng(seed)
    path = sorted(folder.iterdir())[2]
    whole = path.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(128, 900))] = int(rng.integers(0, 256))
        path.write_bytes(data)
        try:
            read_image(folder)
        except ImageError:
            continue


def test_endless_nesting_and_lengths_past_the_end_are_refused(tmp_path):
    folder = write_series(tmp_path / "a")
    path = sorted(folder.iterdir())[0]
    start = path.read_bytes()[:132]
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    for body in (sequence * 500, b"\x08\x00\x40\x11OB\0\0" + struct.pack("<I", 2**31)):
        path.write_bytes(start + meta + body)
        with pytest.raises(ImageError, match=r"nested deeper|past the end|end in the middle"):
            read_image(path)


def test_a_zip_that_unpacks_to_too_much_or_is_damaged_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("x", bytes(128) + b"DICM" + bytes(5_000_000))
    monkeypatch.setattr("vertloc.io.images.dicom_zip.LARGEST_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(ImageError, match="unpacks to more than"):
        read_image(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match="zip cannot be read"):
        read_image(path)


def test_what_was_unpacked_goes_with_the_scan(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("a", bytes(128) + b"DICM")
    (tmp_path / "x.zip").write_bytes(buffer.getvalue())
    held = unpack_zip(tmp_path / "x.zip")
    folder = held.folder
    assert [file.name for file in folder.iterdir()] == ["000000"]
    del held
    assert not folder.exists()


def test_a_real_slice_of_pydicoms_collection_is_read_as_simpleitk_reads_it(tmp_path):
    source = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    z = float(source.ImagePositionPatient[2])
    for k in range(4):
        source.ImagePositionPatient[2] = z + 5 * k
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = f"1.2.{k}"
        source.save_as(tmp_path / f"{k}")
    assert_as_itk_reads_it(read_image(tmp_path), itk(tmp_path))


def real_series(name):
    return Path(get_testdata_file("CT_small.dcm")).parent / "dicomdirtests" / name


def test_a_real_series_of_pydicoms_collection_is_read_as_simpleitk_reads_it():
    folder = real_series("98892001/CT5N")
    assert_as_itk_reads_it(read_image(folder), itk(folder))


def test_a_real_series_with_a_slice_far_from_the_others_is_cut_and_that_is_said():
    found, said = warnings_of(real_series("77654033/CT2"))
    assert "a gap of 202.5 mm in the stack: the larger part of 3 of 4 slices is taken" in said
    expected = sitk.GetArrayFromImage(itk(real_series("77654033/CT2")))
    np.testing.assert_array_equal(found.voxels, expected[1:])
