"""Landmark files of every format, damaged in any way: landmarks, or an error that names the file; nothing else."""

import json
import logging
import random
from importlib.util import find_spec

import pytest

from vertloc.annotation_check import annotation_problem
from vertloc.centroids import Centroids
from vertloc.errors import VertlocError
from vertloc.geometry import Grid
from vertloc.io.landmarks.landmarks import Alternative, ImageReference, Landmarks
from vertloc.io.landmarks.registry import (
    WRITTEN,
    format_landmarks,
    format_named,
    is_landmark_file,
    read_landmarks,
)

GRID = Grid((20, 18, 16), (2.0, 2.0, 3.0), (-10.0, -20.0, -700.0))
LANDMARKS = Landmarks(
    Centroids.from_points({"T12": (10, 12, 50), "L1": (11, 13, 25)}).to_world(GRID),
    confidence={"T12": 0.9},
    alternatives=(Alternative(1, 0.2),),
)
ODD = [
    None,
    True,
    "x",
    -1,
    0,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    [],
    {},
    [1],
    [1, 2],
    {"a": 1},
    "T12",
    "L9",
    "",
]


def whole_file(name):
    suffix = format_named(name).suffixes[0]
    return suffix, format_landmarks(name, LANDMARKS, ImageReference("x", GRID))[suffix]


def damaged_bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) or 1)
        kind = rng.random()
        if kind < 0.4 and data:
            data[at] = rng.randrange(256)
        elif kind < 0.6:
            del data[at : at + rng.randint(1, 20)]
        elif kind < 0.8:
            data[at:at] = bytes(rng.choice(b'0123456789eE.-+,\t\n{}[]"#= ') for _ in range(rng.randint(1, 6)))
        else:
            data = data[:at]
    return bytes(data)


def odd_values(document, rng):
    node = document
    while isinstance(node, dict | list) and node:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        if not isinstance(node[key], dict | list) or rng.random() < 0.3:
            if rng.random() < 0.2:
                del node[key]
            else:
                node[key] = rng.choice(ODD)
            break
        node = node[key]
    return json.dumps(document).encode()


def is_harmless(path, data):
    path.write_bytes(data)
    is_landmark_file(path)
    try:
        annotation_problem(read_landmarks(path, GRID).centroids, GRID)
    except VertlocError as error:
        assert path.name in str(error)


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "sr"])
def test_damaged_files_are_read_or_refused_by_name(name, tmp_path):
    logging.disable(logging.WARNING)
    suffix, whole = whole_file(name)
    for seed in range(150):
        rng = random.Random(seed)
        odd = suffix.endswith("json") and seed % 2
        is_harmless(tmp_path / f"x{suffix}", odd_values(json.loads(whole), rng) if odd else damaged_bytes(whole, rng))
    logging.disable(logging.NOTSET)


@pytest.mark.skipif(find_spec("highdicom") is None, reason="reports need the extra 'dicom'")
def test_damaged_reports_are_read_or_refused_by_name(tmp_path, monkeypatch):
    from vertloc.io.landmarks import dicom_sr

    monkeypatch.setattr(dicom_sr, "_series", lambda _: [slice_header()])
    whole = dicom_sr.format_dicom_sr(LANDMARKS, ImageReference("x", GRID))
    for seed in range(100):
        is_harmless(tmp_path / "x.dcm", damaged_bytes(whole, random.Random(seed)))


def slice_header():
    from pydicom.dataset import Dataset
    from pydicom.uid import CTImageStorage

    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.3", "1.2.3.5", "1.2.3.6"
    header.Modality, header.PatientID, header.PatientName = "CT", "p1", "Doe^Jane"
    header.PatientBirthDate, header.PatientSex, header.StudyID, header.AccessionNumber = "19700101", "F", "1", ""
    header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "20200101", "120000", ""
    return header
