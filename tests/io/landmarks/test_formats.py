"""Every format on oblique, flipped and anisotropic grids, read back by ourselves and by readers of other people."""

import csv
import gzip
import json

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.io.landmarks.landmarks import Alternative, ImageReference, Landmarks
from vertloc.io.landmarks.own_json import landmarks_schema
from vertloc.io.landmarks.registry import FORMATS, WRITTEN, format_named, read_landmarks, write_landmarks
from vertloc.io.landmarks.verse import axis_codes
from vertloc.vertebrae import VERSE_NUMBER
from vertloc.volume import Volume

C, S = np.cos(0.3), np.sin(0.3)
TILT = np.array([[1, 0, 0], [0, C, -S], [0, S, C]])
GRIDS = {
    "anisotropic": Grid((60, 90, 80), (0.9, 0.7, 3.1), (-31.5, 17.25, -812.4)),
    "flipped": Grid((60, 90, 80), (0.9, 0.7, 3.1), (40.0, 120.0, -700.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    "sagittal": Grid((50, 70, 100), (2.0, 1.5, 1.0), (-9.0, 4.0, 200.0), (0, 0, 1.0, 1.0, 0, 0, 0, -1.0, 0)),
    "oblique": Grid(
        (60, 90, 80),
        (0.9, 0.7, 3.1),
        (-31.5, 17.25, -812.4),
        tuple((TILT @ np.diag([-1.0, 1.0, -1.0])).ravel().tolist()),
    ),
}
POINTS = [name for name in WRITTEN if name != "sr"]  # reports need a DICOM series; see test_dicom_sr


def landmarks_in(grid):
    inside = np.array([[0.5, 0.45, 0.9], [0.52, 0.5, 0.6], [0.48, 0.52, 0.3]])
    index = inside * (np.array(grid.shape) - 1)
    points = grid.to_world(index)
    points = points[np.argsort(-points[:, 2])]  # C1 is up in the patient, whatever the array
    centroids = Centroids(("T12", "L1", "S1"), points, "world")
    return Landmarks(
        centroids,
        confidence={"T12": 0.97, "L1": 0.5, "S1": 0.125},
        alternatives=(Alternative(1, 0.2), Alternative(-1, 0.01)),
        warnings=("values <b>cannot</b> be HU",),
        edited=("L1",),
        provenance={"vertloc": "0.1.0", "model": {"sha256": "00"}},
    )


@pytest.fixture(params=GRIDS)
def grid(request):
    return GRIDS[request.param]


@pytest.mark.parametrize("name", POINTS)
def test_what_is_written_reads_back_at_the_same_place_of_the_patient(name, grid, tmp_path):
    landmarks = landmarks_in(grid)
    path = tmp_path / f"scan{format_named(name).suffixes[0]}"
    image = ImageReference("scan", grid)
    write_landmarks(path, landmarks, image)
    again = read_landmarks(path, grid).centroids.to_world(grid)
    assert again.labels == landmarks.centroids.labels
    np.testing.assert_allclose(again.points_mm, landmarks.centroids.points_mm, atol=0.01)


@pytest.mark.parametrize("name", POINTS)
def test_local_points_are_the_same_points(name, grid, tmp_path):
    landmarks = landmarks_in(grid)
    local = Landmarks(landmarks.centroids.to_local(grid))
    path = tmp_path / f"scan{format_named(name).suffixes[0]}"
    write_landmarks(path, local, ImageReference("scan", grid))
    again = read_landmarks(path, grid).centroids.to_world(grid)
    np.testing.assert_allclose(again.points_mm, landmarks.centroids.points_mm, atol=0.01)


def test_every_format_is_registered_with_functions_that_are_there():
    for entry in FORMATS:
        module = __import__(f"vertloc.io.landmarks.{entry.reader.split(':')[0]}", fromlist=["x"])
        for place in (entry.reader, entry.formatter, entry.recognizer):
            assert not place or callable(getattr(module, place.split(":")[1]))


def test_without_an_image_what_can_be_known_is_written_and_the_rest_refused(tmp_path):
    local = Landmarks(Centroids.from_points({"T1": (1, 2, 3)}))
    for name in ("mrk.json", "csv", "poi", "verse", "labels"):
        with pytest.raises(LandmarkError, match="image"):
            write_landmarks(tmp_path / f"x{format_named(name).suffixes[0]}", local, ImageReference())
    write_landmarks(tmp_path / "x.json", local, ImageReference())
    again = read_landmarks(tmp_path / "x.json")
    assert again.centroids.frame == "local"
    np.testing.assert_array_equal(again.centroids["T1"], [1, 2, 3])


# Our own JSON


def test_our_json_follows_its_published_schema_and_loses_nothing(grid, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(landmarks_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    landmarks = landmarks_in(grid)
    write_landmarks(tmp_path / "a.json", landmarks, ImageReference("s0001/ct", grid))
    document = json.loads((tmp_path / "a.json").read_text())
    validator.validate(document)
    assert document["scan"] == "s0001/ct"
    again = read_landmarks(tmp_path / "a.json")
    assert (again.confidence, again.alternatives) == (landmarks.confidence, landmarks.alternatives)
    assert (again.warnings, again.edited) == (landmarks.warnings, landmarks.edited)
    assert again.provenance == landmarks.provenance
    for entry, local, index in zip(
        document["vertebrae"],
        landmarks.centroids.to_local(grid).points_mm,
        grid.to_index(landmarks.centroids.points_mm)[:, ::-1],
        strict=True,
    ):
        np.testing.assert_allclose(entry["local_mm"], local, atol=1e-4)
        np.testing.assert_allclose(entry["voxel"], index, atol=1e-4)
    for wrong in ({**document, "version": 2}, {**document, "extra": 1}, {k: document[k] for k in ("format",)}):
        assert not validator.is_valid(wrong)


def test_an_empty_result_is_valid_too(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    empty = Landmarks(Centroids((), np.zeros((0, 3)), "world"))
    write_landmarks(tmp_path / "a.json", empty, ImageReference("a"))
    jsonschema.validate(json.loads((tmp_path / "a.json").read_text()), json.loads(landmarks_schema()))
    assert len(read_landmarks(tmp_path / "a.json").centroids) == 0


# 3D Slicer

# What version 1.0.3 of Slicer's markups schema asks of the keys that we write.
_NUMBERS = {"type": "array", "items": {"type": "number"}}
SLICER = {
    "type": "object",
    "required": ["@schema", "markups"],
    "properties": {
        "@schema": {"type": "string", "pattern": r"markups-schema-v1\.[0-9.]+json#$"},
        "markups": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type"],
                "properties": {
                    "type": {"enum": ["Fiducial", "Line", "Angle", "Curve", "ClosedCurve", "Plane", "ROI"]},
                    "name": {"type": "string"},
                    "coordinateSystem": {"enum": ["LPS", "RAS"]},
                    "coordinateUnits": {"enum": ["mm", "um"]},
                    "locked": {"type": "boolean"},
                    "fixedNumberOfControlPoints": {"type": "boolean"},
                    "labelFormat": {"type": "string"},
                    "controlPoints": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "id": {"type": "string"},
                                "label": {"type": "string"},
                                "description": {"type": "string"},
                                "associatedNodeID": {"type": "string"},
                                "position": {**_NUMBERS, "minItems": 3, "maxItems": 3},
                                "orientation": {**_NUMBERS, "minItems": 9, "maxItems": 9},
                                "selected": {"type": "boolean"},
                                "locked": {"type": "boolean"},
                                "visibility": {"type": "boolean"},
                                "positionStatus": {"enum": ["undefined", "preview", "defined"]},
                            },
                            "additionalProperties": False,
                        },
                    },
                },
                "additionalProperties": False,
            },
        },
    },
}


def test_markups_are_what_slicer_takes_points_and_a_curve(grid, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    landmarks = landmarks_in(grid)
    write_landmarks(tmp_path / "a.mrk.json", landmarks, ImageReference("a", grid))
    document = json.loads((tmp_path / "a.mrk.json").read_text())
    jsonschema.validate(document, SLICER)
    assert [markup["type"] for markup in document["markups"]] == ["Fiducial", "Curve"]
    for markup in document["markups"]:
        assert (markup["coordinateSystem"], markup["coordinateUnits"]) == ("LPS", "mm")
        found = [point["position"] for point in markup["controlPoints"]]
        np.testing.assert_allclose(found, landmarks.centroids.points_mm, atol=1e-9)
    first = document["markups"][0]["controlPoints"]
    assert [p["description"] for p in first] == [
        "confidence 0.97",
        "confidence 0.50, set by a person",
        "confidence 0.12",
    ]


def test_markups_of_slicer_in_ras_are_read_and_strangers_points_left_out(tmp_path, caplog):
    points = [("T12", [1, 2, 3], "defined"), ("tumour", [0, 0, 0], "defined"), ("L1_center", [0, 0, 0], "undefined")]
    control = [{"label": a, "position": b, "positionStatus": c} for a, b, c in points]
    markups = [{"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": control}]
    path = tmp_path / "a.mrk.json"
    path.write_text(json.dumps({"@schema": "x", "markups": markups}))
    centroids = read_landmarks(path).centroids
    assert (centroids.labels, centroids.frame) == (("T12",), "world")
    np.testing.assert_array_equal(centroids["T12"], [-1, -2, 3])
    assert "'tumour' is no vertebra and is left out" in caplog.text


def test_the_table_has_slicers_columns_first(grid, tmp_path):
    landmarks = landmarks_in(grid)
    write_landmarks(tmp_path / "a.csv", landmarks, ImageReference("a", grid))
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert list(rows[0])[:9] == ["label", "l", "p", "s", "defined", "selected", "visible", "locked", "description"]
    for row, (label, place) in zip(rows, landmarks.centroids, strict=True):
        assert (row["label"], row["defined"]) == (label, "1")
        np.testing.assert_allclose([float(row[k]) for k in "lps"], place, atol=1e-4)
    assert read_landmarks(tmp_path / "a.csv").confidence == pytest.approx(landmarks.confidence)


@pytest.mark.parametrize(
    ("head", "signs"),
    [
        ("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n", (1, 1)),
        ("# Markups fiducial file version = 4.6\n# CoordinateSystem = 0\n", (-1, -1)),
        ("# CoordinateSystem = 1\n", (1, 1)),
        ("# CoordinateSystem = RAS\n", (-1, -1)),
    ],
)
def test_fcsv_is_read_in_both_systems_and_never_written(head, signs, tmp_path):
    columns = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    path = tmp_path / "a.fcsv"
    path.write_text(f"{head}{columns}vtkMRML_0,1.5,2,3,0,0,0,1,1,1,0,L3,,\n1,1,2,-20,0,0,0,1,1,1,0,L4,,\n")
    centroids = read_landmarks(path).centroids
    assert centroids.labels == ("L3", "L4")
    np.testing.assert_allclose(centroids["L3"], [1.5 * signs[0], 2 * signs[1], 3])
    with pytest.raises(LandmarkError, match="are read, but not written"):
        write_landmarks(path, Landmarks(centroids), ImageReference())


# VerSe and TPTBox


def test_verse_counts_voxels_as_nibabel_does(grid, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    write_image(Volume(np.zeros(grid.shape, np.int16), grid), tmp_path / "a.nii.gz")
    image = nibabel.load(tmp_path / "a.nii.gz")
    landmarks = landmarks_in(grid)
    write_landmarks(tmp_path / "a_ctd.json", landmarks, ImageReference("a", grid))
    head, *entries = json.loads((tmp_path / "a_ctd.json").read_text())
    assert tuple(head["direction"]) == nibabel.aff2axcodes(image.affine) == axis_codes(grid)
    for entry, (label, place) in zip(entries, landmarks.centroids, strict=True):
        assert entry["label"] == VERSE_NUMBER[label]
        ras = nibabel.affines.apply_affine(image.affine, [entry["X"], entry["Y"], entry["Z"]])
        np.testing.assert_allclose(ras * [-1, -1, 1], place, atol=0.01)


def verse_file(folder, entries, direction=("L", "P", "S")):
    path = folder / "sub-verse004_seg-subreg_ctd.json"
    path.write_text(json.dumps([{"direction": list(direction)}, *entries]))
    return path


@pytest.mark.parametrize("label", [10**400, -(10**400), 1e308, float("inf"), float("nan"), 8.5])
def test_a_label_that_no_vertebra_of_verse_has_is_refused(label, tmp_path):
    path = verse_file(tmp_path, [{"label": label, "X": 20, "Y": 20, "Z": 25}])
    with pytest.raises(LandmarkError, match=r"\[1\]: expected a label of VerSe, 1 to 29, got"):
        read_landmarks(path, Grid((50, 40, 40), (1.0, 1.0, 2.0)))


def test_what_verse_files_leave_open_is_not_guessed(tmp_path):
    grid = Grid((50, 40, 40), (1.0, 1.0, 2.0))
    one = {"label": 8, "X": 20, "Y": 20, "Z": 25}
    assert read_landmarks(verse_file(tmp_path, [one]), grid).centroids["T1"].tolist() == [20, 20, 50]
    skipped = [{"label": 9, "X": float("nan"), "Y": 1, "Z": 2}, {"label": 27, "X": 1, "Y": 1, "Z": 2}]
    path = tmp_path / "b_ctd.json"
    path.write_text(json.dumps([{"direction": ["L", "P", "S"]}, *skipped]))
    assert len(read_landmarks(path, grid).centroids) == 0
    with pytest.raises(LandmarkError, match="voxel indices, which mean nothing without their image"):
        read_landmarks(path)
    with pytest.raises(LandmarkError, match=r"its axes run \['P', 'I', 'R'\], those of the image \['L', 'P', 'S'\]"):
        read_landmarks(verse_file(tmp_path, [one], ("P", "I", "R")), grid)
    path.write_text(json.dumps([one]))
    with pytest.raises(LandmarkError, match="files of the 2019 and 2020 challenges contradict each other"):
        read_landmarks(path, grid)


@pytest.mark.parametrize("first", [0, 1])
def test_a_mask_beside_a_verse_file_tells_where_it_counts_from(first, tmp_path, caplog):
    caplog.set_level("INFO")
    grid = Grid((60, 40, 40), (1.0, 1.0, 1.0))
    mask = np.zeros(grid.shape, np.uint8)
    entries = []
    for number, z in ((20, 40), (21, 12)):
        mask[z - 8 : z + 9, 10:25, 12:29] = number
        entries.append({"label": number, "X": 20.1 + first, "Y": 15.0 + first, "Z": z + first})
    write_image(Volume(mask, grid), tmp_path / "sub-verse004_seg-vert_msk.nii.gz")
    centroids = read_landmarks(verse_file(tmp_path, entries), grid).centroids
    np.testing.assert_allclose(centroids["L1"], [20.1, 15, 40], atol=1e-9)
    assert f"voxels count from {first}" in caplog.text


def test_points_of_tptbox_in_both_systems(tmp_path):
    head = {"format": "POI_GLOBAL", "level_one_info": "Vertebra_Instance", "level_two_info": "Location"}
    path = tmp_path / "a_poi.json"
    for system, signs in (("itk", (1, 1, 1)), ("nib", (-1, -1, 1))):
        points = {"T9": {"50": [1, 2, 3], "41": [9, 9, 9]}, "20": {"Vertebra_Corpus": [4, 5, -60]}}
        path.write_text(json.dumps([{**head, "coordinate_system": system}, points, {"rib": {"50": [0, 0, 0]}}]))
        centroids = read_landmarks(path).centroids
        assert centroids.labels == ("T9", "L1")
        np.testing.assert_array_equal(centroids["T9"], np.array([1, 2, 3]) * signs)


def test_tptbox_reads_our_points(grid, tmp_path):
    tptbox = pytest.importorskip("TPTBox")
    landmarks = landmarks_in(grid)
    write_landmarks(tmp_path / "a_poi.json", landmarks, ImageReference("a", grid))
    poi = tptbox.POI_Global.load(tmp_path / "a_poi.json")
    assert poi.itk_coords
    for label, place in landmarks.centroids:
        np.testing.assert_allclose(poi[VERSE_NUMBER[label], 50], place, atol=0.01)
    write_landmarks(tmp_path / "a_ctd.json", landmarks, ImageReference("a", grid))


# Label maps


def test_label_maps_lie_on_the_scans_grid_as_nibabel_sees_it(grid, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    write_image(Volume(np.zeros(grid.shape, np.int16), grid), tmp_path / "a.nii.gz")
    landmarks = landmarks_in(grid)
    write_landmarks(tmp_path / "a_labels.nii.gz", landmarks, ImageReference("a", grid))
    scan, labels = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "a_labels.nii.gz")
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-4)
    np.testing.assert_allclose(labels.get_qform(), scan.affine, atol=1e-3)
    voxels = np.asarray(labels.dataobj)
    assert set(np.unique(voxels)) == {0, *(VERSE_NUMBER[label] for label in landmarks.centroids.labels)}
    exact = json.loads(labels.header.extensions[0].get_content())["world_mm"]
    for label, place in landmarks.centroids:
        middle = np.argwhere(voxels == VERSE_NUMBER[label]).mean(axis=0)
        drawn = nibabel.affines.apply_affine(labels.affine, middle) * [-1, -1, 1]
        assert np.linalg.norm(drawn - place) < 1.5
        np.testing.assert_allclose(exact[label], place, atol=0.01)
    lines = (tmp_path / "a_labels.txt").read_text().splitlines()
    assert lines[0].split() == ["0", "0", "0", "0", "0", "0", "0", '"Clear', 'Label"']
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:]] == [
        ("19", '"T12"'),
        ("20", '"L1"'),
        ("26", '"S1"'),
    ]


def test_a_map_that_somebody_redrew_is_read_from_its_voxels(tmp_path):
    grid = Grid((40, 40, 40), (1.0, 1.0, 1.0))
    path = tmp_path / "a_labels.nii.gz"
    write_landmarks(path, Landmarks(Centroids.from_points({"C3": (20, 20, 20)}, "world")), ImageReference("a", grid))
    data = bytearray(gzip.decompress(path.read_bytes()))
    voxels = np.frombuffer(bytes(data[-(40**3) :]), np.uint8).reshape(40, 40, 40)
    moved = np.roll(voxels, 5, axis=2)
    path.write_bytes(gzip.compress(bytes(data[: -(40**3)]) + moved.tobytes()))
    np.testing.assert_allclose(read_landmarks(path).centroids["C3"], [25, 20, 20], atol=0.1)


# What is no such file


@pytest.mark.parametrize("suffix", [s for entry in FORMATS for s in entry.suffixes if entry.name != "lml"])
@pytest.mark.parametrize(
    "data", [b"", b"\x00\xff\x12", b"{}", b"[]", b"[[[", b"null", b"1" * 6000, b"[{}]", b'{"markups": 3}']
)
def test_what_is_no_such_file_is_a_vertloc_error_that_names_it(suffix, data, tmp_path):
    from vertloc.errors import VertlocError

    if suffix == ".dcm":
        pytest.importorskip("pydicom")
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(VertlocError) as error:
        read_landmarks(path, GRIDS["anisotropic"])
    assert "x" + suffix in str(error.value)
