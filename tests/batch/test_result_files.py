import json

import numpy as np
import pytest

from vertloc.batch.records import Origin, Record
from vertloc.batch.result_files import landmark_file_names, landmark_files
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.landmarks import ImageReference
from vertloc.io.landmarks.lml import format_lml
from vertloc.io.landmarks.registry import WRITTEN, read_landmarks

GRID = Grid((60, 50, 40), (1.0, 1.0, 2.0), (-51.3, -33.7, -812.4))
RECORD = Record(
    scan="s0001/ct",
    image="/data/s0001/ct.nii.gz",
    origin=Origin("ab12", "local", "cd34", ()),
    state="done",
    confidence={"T1": 0.9, "T2": 0.4},
    world_mm={"T1": (-31.3, -8.7, -712.4), "T2": (-31.3, -7.7, -734.4)},
    warnings=("odd",),
    verdict="unsure",
    reasons=("all one level higher: 30%",),
    shift_probability={0: 0.6, 1: 0.1, -1: 0.3},
    versions={"vertloc": "0.1.0"},
)
IMAGE = ImageReference("s0001/ct", GRID)


def test_lml_alone_is_what_it_always_was():
    files = landmark_files(RECORD, IMAGE, ("lml",), "local")
    assert files == {"s0001/ct.lml": format_lml(RECORD.centroids().to_local(GRID))}
    assert landmark_files(RECORD, IMAGE, ("lml",), "world") == {
        "s0001/ct.lml": format_lml(RECORD.centroids(), frame="world")
    }


def test_every_format_is_made_under_its_name_and_reads_back(tmp_path):
    formats = [name for name in WRITTEN if name != "sr"]
    files = landmark_files(RECORD, IMAGE, formats, "local", ("T2",))
    assert list(files) == landmark_file_names("s0001/ct", formats)
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        if path.suffix != ".txt":
            again = read_landmarks(path, GRID).centroids.to_world(GRID)
            np.testing.assert_allclose(again.points_mm, RECORD.centroids().points_mm, atol=0.01)
    document = json.loads(files["s0001/ct.json"])
    assert document["alternatives"] == [{"shift": -1, "probability": 0.3}, {"shift": 1, "probability": 0.1}]
    assert document["warnings"] == ["unsure: all one level higher: 30%", "odd"]
    assert document["provenance"]["model_sha256"] == "ab12"
    assert document["provenance"]["image"] == "ct.nii.gz"
    assert [vertebra["edited"] for vertebra in document["vertebrae"]] == [False, True]
    assert [vertebra["confidence"] for vertebra in document["vertebrae"]] == [0.9, 0.4]


def test_a_report_of_what_is_no_dicom_is_refused():
    pytest.importorskip("highdicom")
    with pytest.raises(LandmarkError, match="refers to the DICOM files"):
        landmark_files(RECORD, IMAGE, ("sr",), "local")
