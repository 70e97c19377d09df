"""What was found in a scan -> its landmark files, in the formats that were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vertloc.batch.records import Record
from vertloc.centroids import Centroids, Frame
from vertloc.io.landmarks.landmarks import Alternative, ImageReference, Landmarks
from vertloc.io.landmarks.registry import format_landmarks, written_suffixes


def landmark_files(
    record: Record,
    image: ImageReference,
    formats: Sequence[str],
    frame: Frame,
    known: Sequence[str] = (),
) -> dict[str, bytes]:
    """Make the landmark files of a scan, by name below the folder of the results.

    record : of the finished scan, with its points, confidences, alternatives and warnings
    frame : of the points in an `.lml` file; the other formats say theirs, or have both
    known : labels that a person gave
    Raises LandmarkError for a format that this scan cannot have: a DICOM report of what is no DICOM.
    """
    landmarks = Landmarks(
        record.centroids(),
        confidence=record.confidence,
        alternatives=_alternatives(record.shift_probability),
        warnings=(*(f"unsure: {reason}" for reason in record.reasons), *record.warnings),
        edited=tuple(label for label in record.world_mm if label in known),
        provenance=_provenance(record),
    )
    files = {}
    for name in formats:
        shown = landmarks
        if name == "lml":
            shown = Landmarks(_in_frame(record.centroids(), image, frame))
        files.update({f"{record.scan}{suffix}": data for suffix, data in format_landmarks(name, shown, image).items()})
    return files


def landmark_file_names(scan: str, formats: Iterable[str]) -> list[str]:
    """Return the names of the files that `landmark_files` makes."""
    return [f"{scan}{suffix}" for suffix in written_suffixes(formats)]


def _in_frame(world: Centroids, image: ImageReference, frame: Frame) -> Centroids:
    return world.to_local(image.grid) if frame == "local" and image.grid is not None else world


def _alternatives(shift_probability: Mapping[int, float]) -> tuple[Alternative, ...]:
    others = [Alternative(int(shift), float(p)) for shift, p in shift_probability.items() if shift != 0 and p > 0]
    return tuple(sorted(others, key=lambda other: (-other.probability, other.shift)))


def _provenance(record: Record) -> dict[str, Any]:
    origin = record.origin
    made_of = {} if origin is None else {"model_sha256": origin.model, "settings_sha256": origin.settings}
    return {
        "program": "vertloc",
        "versions": dict(record.versions),
        **made_of,
        "image": record.image.rpartition("/")[2],
    }
