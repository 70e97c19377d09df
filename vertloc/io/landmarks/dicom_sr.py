"""DICOM structured report, `<scan>.dcm` <-> Landmarks: TID 1500, a 3-D point and a confidence for each vertebra.

Points (SCOORD3D) are LPS mm in the frame of reference of the scan, which the report names as its evidence; vertebrae
are SNOMED CT codes, and the tracking identifier repeats the name. Needs `pip install vertloc[dicom]`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import vertloc
from vertloc.centroids import Centroids
from vertloc.errors import ImageError, LandmarkError
from vertloc.geometry import Grid
from vertloc.io.images import DicomSeries, open_silently
from vertloc.io.landmarks.json_files import coordinate, probability
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks, in_world, vertebra_name
from vertloc.io.small_files import read_small_file
from vertloc.vertebrae import VERTEBRAE

logger = logging.getLogger(__name__)

SNOMED: dict[str, str] = dict(
    zip(
        VERTEBRAE,
        (
            *("14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001"),
            *("64864005", "53733008", "1626008", "73071006", "56401006", "45296009", "62487009"),
            *("11068009", "82687006", "7610001", "12989004", "23215003"),
            *("66794005", "14293000", "36470004", "11994002", "49668003"),
            *("65985001", ""),
        ),
        strict=True,
    )
)
"""SNOMED CT codes of the vertebrae; S2, T13 and L6 have a code of our own."""

_SR_CLASSES = (b"1.2.840.10008.5.1.4.1.1.88.",)
_TAKEN_OVER = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
_LARGEST_FILE = 64 << 20
_OWN_SCHEME = "99VERTLOC"
_REGION_NAMES = {"C": "cervical", "T": "thoracic", "L": "lumbar", "S": "sacral"}


def is_dicom_sr(beginning: bytes) -> bool:
    """Tell structured reports from DICOM images by the class in the file's header."""
    return beginning[128:132] == b"DICM" and any(name in beginning for name in _SR_CLASSES)


def format_dicom_sr(landmarks: Landmarks, image: ImageReference) -> bytes:
    """Return the bytes of a report on the DICOM series of the image.

    What identifies the patient is taken over from the series, as every viewer expects it.
    Raises LandmarkError for other images, and for a series whose headers lack what a report has to refer to.
    """
    _highdicom()
    world = in_world(landmarks, image)
    series = _series(image)
    try:
        return _report(series, landmarks, world)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise LandmarkError(f"{image.path}: no DICOM report can be made on this series: {error}") from None


def _report(series: list[Any], landmarks: Landmarks, world: Centroids) -> bytes:
    highdicom, codes = _highdicom()
    frame = series[0].FrameOfReferenceUID
    groups = [_measurement(highdicom, codes, label, place, landmarks, frame) for label, place in world]
    report = highdicom.sr.MeasurementReport(
        observation_context=_observer(highdicom, codes),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups or [_nothing_found(highdicom.sr)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    digest = hashlib.sha256(repr([series[0].SeriesInstanceUID, *map(str, world)]).encode()).hexdigest()
    document = highdicom.sr.Comprehensive3DSR(
        evidence=series,
        content=report,
        series_instance_uid=_uid(digest, "series"),
        series_number=900,
        sop_instance_uid=_uid(digest, "instance"),
        instance_number=1,
        manufacturer="vertloc",
        series_description=f"Vertebrae, vertloc {vertloc.__version__}",
        is_complete=True,
        is_verified=False,
    )
    data = io.BytesIO()
    document.save_as(data, enforce_file_format=True)
    return data.getvalue()


def read_dicom_sr(path: Path, _: Grid | None = None) -> Landmarks:
    """Read the 3-D points of vertebrae, world frame, of our reports and of others in the same template."""
    pydicom = _pydicom()
    data = read_small_file(path, LandmarkError, _LARGEST_FILE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break a rule; those that are used are checked here
        try:
            dataset = pydicom.dcmread(io.BytesIO(data))
            kind = str(dataset.get("Modality") or "no modality")
            found = [_vertebra(str(path), group) for group in _groups(dataset)] if kind == "SR" else []
        except LandmarkError:
            raise
        except Exception as error:
            # pydicom parses values as they are asked for, and damaged ones let out errors of any kind.
            raise LandmarkError(f"{path}: cannot be read as a DICOM report: {error}") from None
    if kind != "SR":
        raise LandmarkError(f"{path}: expected a structured report, got {kind}")
    points: dict[str, tuple[float, float, float]] = {}
    confidence: dict[str, float] = {}
    for name, place, sure in found:
        if name is None or place is None:
            continue
        if name in points:
            raise LandmarkError(f"{path}: expected each vertebra once, got {name} again")
        points[name] = place
        if sure is not None:
            confidence[name] = sure
    return Landmarks(Centroids.from_points(points, "world"), confidence)


def _measurement(
    highdicom: Any, codes: Any, label: str, place: Any, landmarks: Landmarks, frame_of_reference: str
) -> Any:
    sr = highdicom.sr
    confidence = []
    if label in landmarks.confidence:
        name = sr.CodedConcept("confidence", _OWN_SCHEME, "Probability of name and place")
        confidence = [sr.Measurement(name, float(landmarks.confidence[label]), codes.UCUM.NoUnits)]
    point = np.asarray(place, dtype=np.float64).reshape(1, 3)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=_uid(f"{label}{frame_of_reference}{point.tolist()}", "point"), identifier=label
        ),
        referenced_region=sr.ImageRegion3D("POINT", point, frame_of_reference),
        finding_type=codes.SCT.AnatomicalStructure,
        finding_sites=[sr.FindingSite(_site(sr, label))],
        measurements=confidence or None,
    )


def _nothing_found(sr: Any) -> Any:
    """Say in a report that there is nothing to report: a report must say something."""
    name = sr.CodedConcept("vertebrae", _OWN_SCHEME, "Vertebrae")
    value = sr.CodedConcept("none", _OWN_SCHEME, "No vertebra found")
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=_uid("none", "point"), identifier="no vertebra found"),
        qualitative_evaluations=[sr.QualitativeEvaluation(name, value)],
    )


def _site(sr: Any, label: str) -> Any:
    if SNOMED.get(label):
        region, number = _REGION_NAMES[label[0]], label[1:]
        return sr.CodedConcept(SNOMED[label], "SCT", f"{label} vertebra ({region} {number})")
    return sr.CodedConcept(f"vertebra-{label}", _OWN_SCHEME, f"{label} vertebra")


def _observer(highdicom: Any, codes: Any) -> Any:
    sr = highdicom.sr
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_uid(vertloc.__version__, "device"), name="vertloc", model_name="vertloc", serial_number=vertloc.__version__
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return sr.ObservationContext(observer_device_context=context)


def _series(image: ImageReference) -> list[Any]:
    """Read the headers of the files that the scan was read from."""
    pydicom = _pydicom()
    if image.path is None:
        raise LandmarkError("a DICOM report refers to the DICOM files of its scan, and no scan is given")
    try:
        scan = open_silently(image.path)
    except ImageError as error:
        raise LandmarkError(f"a DICOM report needs a scan that is DICOM: {error}") from None
    if not isinstance(scan, DicomSeries):
        raise LandmarkError(f"a DICOM report needs a scan that is DICOM; {image.path} is none")
    files = dict.fromkeys(header.path for header in scan.stack.headers)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    for header in headers:
        _fill_in(header)
    if len({header.FrameOfReferenceUID for header in headers}) > 1:
        logger.warning("%s: its slices name several frames of reference; the report takes that of the first", scan.path)
    elif headers[0].FrameOfReferenceUID == _own_frame(headers[0]):
        logger.warning("%s: its slices name no frame of reference; the report names one of its own", scan.path)
    return headers


def _fill_in(header: Any) -> None:
    """Give a slice what a report takes over from it and what tools that remove names leave out."""
    for name in _TAKEN_OVER:
        if name not in header:
            setattr(header, name, "")
    if not header.get("FrameOfReferenceUID"):
        header.FrameOfReferenceUID = _own_frame(header)


def _own_frame(header: Any) -> str:
    return _uid(str(header.SeriesInstanceUID), "frame of reference")


def _groups(dataset: Any) -> list[Any]:
    """List the measurement groups: containers that hold a tracking identifier or a finding site."""
    found, left = [], [(dataset, 0)]
    while left:
        item, depth = left.pop()
        children = list(item.get("ContentSequence") or ())
        if any(_meaning(child) in ("Tracking Identifier", "Finding Site") for child in children):
            found.append(item)
        elif depth < 20:
            left += [(child, depth + 1) for child in reversed(children)]
    return found


def _vertebra(where: str, group: Any) -> tuple[str | None, tuple[float, float, float] | None, float | None]:
    name, place, confidence = None, None, None
    codes = {code: label for label, code in SNOMED.items() if code}
    for child in group.ContentSequence:
        kind, meaning = child.get("ValueType"), _meaning(child)
        if meaning == "Tracking Identifier" and name is None:
            name = vertebra_name(str(child.get("TextValue", "")))
        elif meaning == "Finding Site" and child.get("ConceptCodeSequence"):
            name = codes.get(child.ConceptCodeSequence[0].get("CodeValue"), name)
        elif kind == "SCOORD3D" and child.get("GraphicType") == "POINT" and len(child.get("GraphicData") or ()) == 3:
            x, y, z = (coordinate(where, float(v)) for v in child.GraphicData)
            place = (x, y, z)
        elif kind == "NUM" and meaning.startswith("Probability") and child.get("MeasuredValueSequence"):
            confidence = probability(where, float(child.MeasuredValueSequence[0].NumericValue))
    return name, place, confidence


def _meaning(item: Any) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].get("CodeMeaning", "")) if names else ""


def _uid(text: str, kind: str) -> str:
    """Return a UID below the root for UUIDs: the same landmarks of the same series give the same report."""
    return f"2.25.{int(hashlib.sha256(f'{kind}:{text}'.encode()).hexdigest()[:31], 16)}"


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.errors
    except ImportError:
        raise LandmarkError("DICOM reports need 'pip install vertloc[dicom]'") from None
    return pydicom


def _highdicom() -> tuple[Any, Any]:
    try:
        import highdicom
        import highdicom.sr
        from pydicom.sr.codedict import codes
    except ImportError:
        raise LandmarkError("DICOM reports need 'pip install vertloc[dicom]'") from None
    return highdicom, codes
