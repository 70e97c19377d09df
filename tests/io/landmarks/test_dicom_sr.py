"""DICOM reports on a series made here, read back by ourselves and by highdicom."""

import datetime

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.io.landmarks.dicom_sr import SNOMED
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks
from vertloc.io.landmarks.registry import is_landmark_file, read_landmarks, write_landmarks

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

WORLD = Centroids.from_points(
    {"T12": (-31.5, 17.25, -812.4), "L1": (-30.125, 19.5, -843.0), "S2": (1, 2, -1000), "L6": (1, 2, -960)}, "world"
)
LANDMARKS = Landmarks(WORLD, confidence={"T12": 0.97, "L1": 0.5})


@pytest.fixture
def series(tmp_path):
    """A folder with an oblique CT series of three slices, and a localizer of another series."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder = tmp_path / "series"
    folder.mkdir()
    study, frame, ct, localizer = (generate_uid() for _ in range(4))
    for i, uid in enumerate((ct, ct, ct, localizer)):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, uid, frame
        image.Modality, image.PatientID, image.PatientName = "CT", "p1", "Doe^Jane"
        image.PatientBirthDate, image.PatientSex, image.StudyID, image.AccessionNumber = "19700101", "F", "1", ""
        image.StudyDate, image.StudyTime, image.ReferringPhysicianName = "20200101", "120000", ""
        image.Rows = image.Columns = 4
        image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 1
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.ImagePositionPatient = [0, 0, -3.0 * i]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing = [0.7, 0.7]
        image.PixelData = np.zeros((4, 4), np.int16).tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(folder / f"{i}.dcm", enforce_file_format=True)
    return folder


def test_a_report_reads_back_with_its_confidences(series, tmp_path):
    path = tmp_path / "scan.dcm"
    write_landmarks(path, LANDMARKS, ImageReference("scan", None, series))
    assert is_landmark_file(path)
    assert not is_landmark_file(series / "0.dcm")
    again = read_landmarks(path)
    assert (again.centroids.labels, again.centroids.frame) == (WORLD.labels, "world")
    np.testing.assert_allclose(again.centroids.points_mm, WORLD.points_mm, atol=0.01)
    assert again.confidence == pytest.approx(LANDMARKS.confidence)


def test_highdicom_finds_the_points_the_codes_and_the_evidence(series, tmp_path):
    path = tmp_path / "scan.dcm"
    write_landmarks(path, LANDMARKS, ImageReference("scan", None, series))
    report = highdicom.sr.srread(path)
    groups = report.content.get_planar_roi_measurement_groups()
    assert len(groups) == len(WORLD)
    for group, (label, place) in zip(groups, WORLD, strict=True):
        assert group.tracking_identifier == label
        np.testing.assert_allclose(group.roi.value[0], place, atol=0.01)
        site = group.finding_sites[0].value
        assert (site.value, site.scheme_designator) == (
            (SNOMED[label], "SCT") if SNOMED.get(label) else (f"vertebra-{label}", "99VERTLOC")
        )
    assert report.Modality == "SR"
    slices = {pydicom.dcmread(series / f"{i}.dcm").SOPInstanceUID for i in range(3)}
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert {item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence} == slices
    assert report.get("FrameOfReferenceUID") or groups[0].roi.frame_of_reference_uid


def test_the_same_landmarks_of_the_same_series_have_the_same_identity(series, tmp_path):
    for name in ("a", "b"):
        write_landmarks(tmp_path / f"{name}.dcm", LANDMARKS, ImageReference("scan", None, series))
    a, b = (pydicom.dcmread(tmp_path / f"{name}.dcm") for name in "ab")
    assert a.SOPInstanceUID == b.SOPInstanceUID
    assert a.ContentDate <= datetime.date.today().strftime("%Y%m%d")


def test_a_report_on_what_is_no_dicom_is_refused(tmp_path):
    (tmp_path / "a.mhd").write_text("x")
    with pytest.raises(LandmarkError, match="needs a scan that is DICOM"):
        write_landmarks(tmp_path / "x.dcm", LANDMARKS, ImageReference("a", None, tmp_path / "a.mhd"))
    with pytest.raises(LandmarkError, match="refers to the DICOM files of its scan"):
        write_landmarks(tmp_path / "x.dcm", LANDMARKS, ImageReference("a"))
    assert not (tmp_path / "x.dcm").exists()


def test_an_image_is_no_report(series):
    with pytest.raises(LandmarkError, match="expected a structured report, got CT"):
        read_landmarks(series / "0.dcm")


def test_a_series_without_names_and_frame_of_reference_still_gets_a_report(series, tmp_path, caplog):
    for path in series.glob("*.dcm"):
        image = pydicom.dcmread(path)
        for name in ("PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyTime", "FrameOfReferenceUID"):
            delattr(image, name)
        image.save_as(path)
    write_landmarks(tmp_path / "scan.dcm", LANDMARKS, ImageReference("scan", None, series))
    assert "name no frame of reference" in caplog.text
    report = highdicom.sr.srread(tmp_path / "scan.dcm")
    assert str(report.PatientName) == "Doe^Jane"
    np.testing.assert_allclose(read_landmarks(tmp_path / "scan.dcm").centroids.points_mm, WORLD.points_mm, atol=0.01)


def test_a_series_without_what_a_report_refers_to_is_refused_by_name(series, tmp_path):
    for path in series.glob("*.dcm"):
        image = pydicom.dcmread(path)
        del image.StudyInstanceUID
        image.save_as(path)
    with pytest.raises(LandmarkError, match=r"series: no DICOM report can be made on this series: .*StudyInstanceUID"):
        write_landmarks(tmp_path / "scan.dcm", LANDMARKS, ImageReference("scan", None, series))


def test_a_report_of_no_vertebra_reads_back_empty(series, tmp_path):
    empty = Landmarks(Centroids((), np.empty((0, 3)), "world"))
    write_landmarks(tmp_path / "scan.dcm", empty, ImageReference("scan", None, series))
    assert read_landmarks(tmp_path / "scan.dcm").centroids.labels == ()


def test_a_report_says_nothing_of_the_scan_that_was_said_when_it_was_read(series, tmp_path, caplog):
    (series / "1.dcm").unlink()
    image = pydicom.dcmread(series / "2.dcm")
    for i in (5, 6):
        image.SOPInstanceUID = f"1.2.{i}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.ImagePositionPatient = [0, 0, -3.0 * i]
        image.save_as(series / f"{i}.dcm")
    write_landmarks(tmp_path / "scan.dcm", LANDMARKS, ImageReference("scan", None, series))
    assert caplog.text == ""
