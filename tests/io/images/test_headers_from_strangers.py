"""Headers that say two things, ask for too much, or lead elsewhere: refused or said, before anything is allocated."""

import gzip
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from vertloc.errors import ImageError
from vertloc.geometry import Grid
from vertloc.io.images import image_files, open_image, read_grid, read_image, write_image
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.volume import Volume

GRID = Grid((3, 4, 5), (0.5, 0.5, 2.0), (-10.0, 5.0, 100.0))


def ct(grid=GRID):
    return Volume(np.random.default_rng(0).integers(-900, 900, grid.shape).astype(np.int16), grid, "x")


def nifti(path, affine=None, q=(0.0, 0.0, 0.0), pixdim=(0.5, 0.5, 2.0), codes=(1, 1), slope=1.0, intercept=0.0, units=2,
          vox_offset=352.0, q_offset=(10.0, -5.0, 100.0)):  # fmt: skip
    if affine is None:
        affine = np.array([[0.5, 0, 0, 10], [0, 0.5, 0, -5], [0, 0, 2, 100.0]])
    head = bytearray(348)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, 5, 4, 3, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 4, 16)
    struct.pack_into("<8f", head, 76, 1.0, *pixdim, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, vox_offset, slope, intercept)
    head[123] = units
    struct.pack_into("<2h", head, 252, *codes)
    struct.pack_into("<6f", head, 256, *q, *q_offset)
    struct.pack_into("<12f", head, 280, *affine.ravel())
    head[344:348] = b"n+1\0"
    path.write_bytes(bytes(head) + bytes(4) + ct().voxels.tobytes())
    return path


def metaimage(path, extra="", data=None, **changes):
    keys = {
        "NDims": "3",
        "BinaryData": "True",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-10 5 100",
        "ElementSpacing": "0.5 0.5 2",
        "DimSize": "5 4 3",
        "ElementType": "MET_SHORT",
    } | changes
    text = "ObjectType = Image\n" + extra + "".join(f"{key} = {value}\n" for key, value in keys.items())
    name = "LOCAL" if path.suffix == ".mha" else f"{path.stem}.zraw"
    data = ct().voxels.tobytes() if data is None else data
    path.write_bytes(f"{text}ElementDataFile = {name}\n".encode() + (data if name == "LOCAL" else b""))
    if name != "LOCAL":
        path.with_name(name).write_bytes(data)
    return path


def nrrd(path, *lines, data=None, directions="(0.5,0,0) (0,0.5,0) (0,0,2)"):
    head = ["NRRD0004", "type: short", "dimension: 3", "space: left-posterior-superior", "sizes: 5 4 3",
            f"space directions: {directions}", "endian: little", "space origin: (-10,5,100)"]  # fmt: skip
    if not any(line.startswith("encoding") for line in lines):
        head.append("encoding: raw")
    data = ct().voxels.tobytes() if data is None else data
    path.write_bytes("\n".join([*head, *lines, "", ""]).encode() + data)
    return path


def assert_scan(found, warning=""):
    np.testing.assert_array_equal(found.voxels, ct().voxels)
    np.testing.assert_allclose(found.grid.spacing_mm, GRID.spacing_mm, atol=1e-6)
    np.testing.assert_allclose(found.grid.origin_mm, GRID.origin_mm, atol=1e-5)
    if warning:
        assert any(warning in line for line in found.warnings), found.warnings
    else:
        assert found.warnings == ()


# --- headers that say two things ---


def test_nifti_spacing_that_disagrees_with_the_affine_is_refused_with_both_numbers(tmp_path):
    affine = np.array([[0.5, 0, 0, 10], [0, 0.5, 0, -5], [0, 0, 2.1, 100.0]])
    with pytest.raises(ImageError, match=r"two things: .* 0\.5 x 0\.5 x 2 mm by pixdim, of 0\.5 x 0\.5 x 2\.1 mm"):
        read_image(nifti(tmp_path / "x.nii", affine, codes=(0, 1)))


@pytest.mark.parametrize(
    ("codes", "taken"), [((1, 1), "sform"), ((1, 2), "qform"), ((2, 1), "sform"), ((2, 3), "qform")]
)
def test_nifti_orientations_that_disagree_are_said_and_taken_as_itk_does(tmp_path, codes, taken):
    affine = np.array([[0, -0.5, 0, 40], [0.5, 0, 0, -5], [0, 0, 2, 100.0]])
    found = read_image(nifti(tmp_path / "x.nii", affine, codes=codes))
    assert f"{taken} is taken" in found.warnings[0]
    assert "places 30" in found.warnings[0]
    itk = sitk.ReadImage(str(tmp_path / "x.nii"))
    np.testing.assert_allclose(found.grid.direction, itk.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(found.grid.origin_mm, itk.GetOrigin(), atol=1e-5)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1)])
def test_any_consistent_nifti_orientation_is_read_as_itk_reads_it(tmp_path, seed, codes):
    rng = np.random.default_rng(seed)
    direction = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    grid = Grid((3, 4, 5), tuple(rng.uniform(0.3, 5, 3)), tuple(rng.uniform(-500, 500, 3)), tuple(direction.ravel()))
    write_image(ct(grid), tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    struct.pack_into("<2h", data, 252, *codes)
    (tmp_path / "x.nii").write_bytes(data)
    found, itk = read_grid(tmp_path / "x.nii"), sitk.ReadImage(str(tmp_path / "x.nii"))
    np.testing.assert_allclose(found.direction, itk.GetDirection(), atol=2e-6)
    np.testing.assert_allclose(found.origin_mm, itk.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(found.spacing_mm, itk.GetSpacing(), rtol=1e-6)


def test_nifti_scaling_by_zero_is_none_and_said(tmp_path):
    assert_scan(read_image(nifti(tmp_path / "x.nii", slope=0.0)))
    found = read_image(nifti(tmp_path / "x.nii", slope=0.0, intercept=-1024.0))
    assert_scan(found, "scl_slope is 0 and scl_inter -1024: intensities are taken as stored")


def test_nifti_units_are_counted_in(tmp_path):
    affine = np.array([[5e-4, 0, 0, 0.01], [0, 5e-4, 0, -0.005], [0, 0, 2e-3, 0.1]])
    metres = {"pixdim": (5e-4, 5e-4, 2e-3), "units": 1, "q_offset": (0.01, -0.005, 0.1)}
    assert_scan(read_image(nifti(tmp_path / "x.nii", affine, **metres)))


def test_nrrd_units_other_than_mm_are_counted_in_and_said(tmp_path):
    lines = ('space units: "cm" "cm" "cm"',)
    path = nrrd(tmp_path / "x.nrrd", *lines, directions="(0.05,0,0) (0,0.05,0) (0,0,0.2)")
    path.write_bytes(path.read_bytes().replace(b"(-10,5,100)", b"(-1,0.5,10)"))
    assert_scan(read_image(path), "lengths in cm: 1 there is taken as 10 mm")
    with pytest.raises(ImageError, match="expected mm, cm, m or um"):
        read_image(nrrd(tmp_path / "y.nrrd", 'space units: "inch" "inch" "inch"'))


def test_metaimage_units_other_than_mm_are_counted_in_and_said(tmp_path):
    found = read_image(
        metaimage(tmp_path / "x.mha", DistanceUnits="cm", Offset="-1 0.5 10", ElementSpacing="0.05 0.05 0.2")
    )
    assert_scan(found, "lengths in cm")
    assert_scan(read_image(metaimage(tmp_path / "x.mha", DistanceUnits="mm")))


def test_two_metaimage_keys_for_one_thing_must_agree(tmp_path):
    assert_scan(read_image(metaimage(tmp_path / "x.mha", Position="-10 5 100")))
    with pytest.raises(ImageError, match=r"two things: Offset .* Position"):
        read_image(metaimage(tmp_path / "x.mha", Position="-10 5 101"))


# --- directions ---


def turned(degrees, decimals=None):
    a = np.radians(degrees)
    matrix = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    return matrix if decimals is None else np.round(matrix, decimals)


def test_rounded_directions_become_the_nearest_rotation_and_sheared_ones_are_named(tmp_path):
    rounded = turned(7, 3)
    for path in (
        metaimage(tmp_path / "x.mha", TransformMatrix=" ".join(map(str, rounded.T.ravel()))),
        nifti(tmp_path / "x.nii", np.c_[np.diag([-1, -1, 1]) @ rounded * (0.5, 0.5, 2), [10, -5, 100]], codes=(0, 1)),
    ):
        found = read_image(path)
        np.testing.assert_allclose(found.grid.direction_matrix, turned(7), atol=1e-3)
        matrix = found.grid.direction_matrix
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-9)
        if path.suffix == ".mha":  # in an affine, rounding is mostly a matter of lengths
            assert "directions are rounded, off by up to 0.00046" in found.warnings[0]
    sheared = np.eye(3) @ [[1, 0, 0], [0, 1, 0.13], [0, 0, 1]]
    sheared /= np.linalg.norm(sheared, axis=0)
    for path in (
        metaimage(tmp_path / "y.mha", TransformMatrix=" ".join(map(str, sheared.T.ravel()))),
        nifti(tmp_path / "y.nii", np.c_[np.diag([-1, -1, 1]) @ sheared * (0.5, 0.5, 2), [10, -5, 100]], codes=(0, 1)),
    ):
        with pytest.raises(ImageError, match=r"axes y and z are 82\.59 degrees apart: sheared .* gantry .* resample"):
            read_image(path)


# --- readers as wide as the format ---


def test_keys_comments_marks_and_packings_that_the_library_writes_are_read(tmp_path):
    extra = "0008|0060 = CT\nPatient-Position = HFS\nITK_InputFilterName = MetaImageIO\n# a comment\n\n"
    assert_scan(read_image(metaimage(tmp_path / "x.mha", extra)))
    path = metaimage(tmp_path / "x.mha")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert_scan(read_image(path))
    raw = ct().voxels.tobytes()
    for data in (gzip.compress(raw), zlib.compress(raw)):
        assert_scan(read_image(metaimage(tmp_path / "z.mhd", data=data, CompressedData="True")))
    assert_scan(read_image(metaimage(tmp_path / "h.mhd", data=b"junk before" + raw, HeaderSize="-1")))
    assert_scan(read_image(metaimage(tmp_path / "h.mhd", data=b"1234" + raw, HeaderSize="4")))
    image = sitk.GetImageFromArray(ct().voxels)
    image.SetSpacing(GRID.spacing_mm)
    image.SetOrigin(GRID.origin_mm)
    image.SetMetaData("0008|0060", "CT")
    sitk.WriteImage(image, str(tmp_path / "s.mha"), True)
    assert_scan(read_image(tmp_path / "s.mha"))


def test_nifti_pairs_and_suffixes_in_any_case_are_read(tmp_path):
    path = nifti(tmp_path / "x.nii")
    data = path.read_bytes()
    (tmp_path / "X.NII.gz").write_bytes(gzip.compress(data))
    (tmp_path / "y.nii.GZ").write_bytes(gzip.compress(data))
    (tmp_path / "p.hdr").write_bytes(data[:40] + data[40:108] + struct.pack("<f", 0) + data[112:344] + b"ni1\0")
    (tmp_path / "p.img").write_bytes(data[352:])
    for name in ("X.NII.gz", "y.nii.GZ", "p.hdr", "p.img"):
        assert_scan(read_image(tmp_path / name))
    assert {file.name for file in image_files(tmp_path / "p.hdr")} == {"p.hdr", "p.img"}
    assert open_image(tmp_path / "p.img").name == "p"
    (tmp_path / "p.hdr").write_bytes(data[:344] + bytes(4))
    with pytest.raises(ImageError, match=r"Analyze 7\.5 .* left from right; convert"):
        read_image(tmp_path / "p.hdr")
    (tmp_path / "p.img").unlink()
    with pytest.raises(ImageError, match=r"p\.hdr and p\.img beside each other"):
        read_image(tmp_path / "p.hdr")


def test_nrrd_voxels_beside_the_header_and_packed_ones_are_read(tmp_path):
    raw = ct().voxels.tobytes()
    assert_scan(read_image(nrrd(tmp_path / "x.nrrd", "encoding: gzip", data=gzip.compress(raw))))
    (tmp_path / "x.raw").write_bytes(raw)
    (tmp_path / "x.raw.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "skip.raw").write_bytes(b"a line\nanother\n123" + raw)
    for lines in (
        ("data file: x.raw",),
        ("encoding: gzip", "datafile: x.raw.gz"),
        ("data file: skip.raw", "line skip: 2", "byte skip: 3"),
        ("data file: skip.raw", "byte skip: -1"),
    ):
        assert_scan(read_image(nrrd(tmp_path / "x.nhdr", *lines, data=b"")))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "x.nhdr")), str(tmp_path / "itk.nhdr"), True)
    assert_scan(read_image(tmp_path / "itk.nhdr"))
    ras = nrrd(tmp_path / "ras.nrrd", directions="(-0.5,0,0) (0,-0.5,0) (0,0,2)")
    ras.write_bytes(ras.read_bytes().replace(b"left-posterior-superior", b"RAS").replace(b"(-10,5", b"(10,-5"))
    assert_scan(read_image(ras))


# --- what leads elsewhere, hangs, or asks for too much ---


@pytest.mark.parametrize(
    "line",
    [
        *("data file: /etc/passwd", "data file: ../other.raw", "datafile: sub/x.raw", "data file: /etc/a:=b"),
        *("Data File: ..", "data file: C:x.raw", "data file: ..\\x.raw"),
    ],
)
def test_an_nrrd_header_reads_no_file_outside_its_folder(tmp_path, line):
    (tmp_path / "in").mkdir()
    (tmp_path / "other.raw").write_bytes(ct().voxels.tobytes())
    with pytest.raises(ImageError, match=r"same folder|missing"):
        read_image(nrrd(tmp_path / "in/x.nrrd", line))


def test_a_line_with_a_key_and_value_is_no_data_file(tmp_path):
    (tmp_path / "secret").write_bytes(b"s" * 120)
    assert_scan(read_image(nrrd(tmp_path / "x.nrrd", "comment:=data file: secret", "a:=b")))
    with pytest.raises(ImageError, match=r"same folder|missing"):
        read_image(nrrd(tmp_path / "y.nrrd", "data file: secret:=x"))


@pytest.mark.parametrize("lines", [("data file: LIST",), ("data file: x%03d.raw 1 3 1",)])
def test_nrrd_voxels_in_many_files_are_refused_with_the_way_out(tmp_path, lines):
    with pytest.raises(ImageError, match=r"save the volume as one \.nrrd"):
        read_image(nrrd(tmp_path / "x.nhdr", *lines, data=b""))


def test_pipes_are_refused_and_not_waited_for(tmp_path):
    for suffix in (".nii", ".mha", ".nrrd", ".dcm"):
        os.mkfifo(tmp_path / f"x{suffix}")
        with pytest.raises(ImageError, match="cannot be read twice"):
            read_image(tmp_path / f"x{suffix}")
    os.mkfifo(tmp_path / "pipe.raw")
    with pytest.raises(ImageError, match=r"pipe\.raw is missing"):
        read_image(nrrd(tmp_path / "y.nhdr", "data file: pipe.raw", data=b""))


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: nifti(p / "x.nii", vox_offset=2e9), "offset"),
        (lambda p: metaimage(p / "x.mha", NDims="1e9"), "expected a 3-D volume"),
        (lambda p: metaimage(p / "x.mha", NDims="-3"), "expected a 3-D volume"),
        (lambda p: metaimage(p / "x.mha", DimSize="1e308 4 3"), "GiB"),
        (lambda p: metaimage(p / "x.mha", HeaderSize="1e15"), "offset"),
        (lambda p: nrrd(p / "x.nrrd", "byte skip: 1000000000000"), "offset"),
        (lambda p: metaimage(p / "x.mha", ElementSpacing="1e8 1 1"), "longer than any patient"),
        (lambda p: metaimage(p / "x.mha", ElementSpacing="1.7e308 1 1"), "longer than any patient"),
        (lambda p: metaimage(p / "x.mha", Offset="1e15 0 0"), "further from the scanner"),
        (lambda p: metaimage(p / "x.mha", Offset="0 0 1e20"), "further from the scanner"),
    ],
)
def test_numbers_that_no_patient_has_are_refused_at_once(tmp_path, make, message):
    path = make(tmp_path)
    before = peak_mb()
    with pytest.raises(ImageError, match=message):
        preprocess(open_image(path), PreprocessSettings())
    if path.suffix == ".nii":
        path.with_name("x.nii.gz").write_bytes(gzip.compress(path.read_bytes() + bytes(20_000_000)))
        with pytest.raises(ImageError, match=message):
            read_image(path.with_name("x.nii.gz"))
    assert peak_mb() - before < 150


def test_a_diagonal_rod_costs_no_more_than_a_straight_one():
    direction = np.linalg.qr(np.array([[1.0, 1, 1], [1, -1, 0], [1, 1, -2]]).T)[0]
    voxels = np.random.default_rng(0).integers(-900, 900, (2000, 1, 1)).astype(np.int16)
    found = preprocess(
        Volume(voxels, Grid(voxels.shape, (1, 1, 1), (0, 0, 0), tuple(direction.ravel()))), PreprocessSettings()
    )
    assert found.voxels.size < 1000


# --- names of any bytes ---


NAMES = [b"N\xe4me", "脊柱".encode(), b"a b\xff"]


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_names_of_any_bytes_are_read_in_any_locale(tmp_path, locale):
    folder = os.fsencode(tmp_path)
    for i, name in enumerate(NAMES):
        for suffix in (".nii.gz", ".mha", ".mhd", ".nrrd"):
            write_image(ct(), tmp_path / f"plain{suffix}")
            if suffix == ".mhd":
                os.rename(tmp_path / "plain.raw", folder + b"/" + name + b".raw")  # noqa: PTH104
                text = (tmp_path / "plain.mhd").read_bytes().replace(b"plain.raw", name + b".raw")
                (tmp_path / "plain.mhd").write_bytes(text)
            os.rename(tmp_path / f"plain{suffix}", folder + b"/" + name + f"{i}{suffix}".encode())  # noqa: PTH104
    script = """
import sys
from pathlib import Path
from vertloc.io.images import is_image_path, read_image
found = [read_image(path) for path in Path(sys.argv[1]).iterdir() if is_image_path(path)]
assert len({volume.voxels.tobytes() for volume in found}) == 1
sys.exit(100 + len(found))
"""
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
                   "PYTHONPATH": str(Path(__file__).parents[3])}  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, env=environment, check=False
    )
    assert run.returncode == 100 + 4 * len(NAMES), run.stderr.decode(errors="replace")
