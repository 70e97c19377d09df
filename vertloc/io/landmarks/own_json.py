"""`<scan>.json`, our own format, which loses nothing: both frames, confidence, alternatives, warnings, provenance.

Its schema, `schemas/landmarks-1.json`, is part of the package; `vertloc convert` and the tests hold files to it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.json_files import format_json, member, point, probability, read_json, short
from vertloc.io.landmarks.landmarks import Alternative, ImageReference, Landmarks
from vertloc.io.landmarks.poi import is_poi_json, read_poi
from vertloc.io.landmarks.slicer_markups import read_slicer_markups
from vertloc.io.landmarks.verse import is_verse_json, read_verse
from vertloc.vertebrae import is_vertebra

FORMAT = "vertloc landmarks"
VERSION = 1


def read_own_json(path: Path, _: Grid | None = None) -> Landmarks:
    """Read landmarks; in the world frame where the file has it, else in the local frame.

    Raises LandmarkError for what does not follow the schema, or follows a later version of it.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise LandmarkError(f'{path}: expected "format": "{FORMAT}"')
    if document.get("version") != VERSION:
        raise LandmarkError(f"{path}: expected version {VERSION}, got {short(document.get('version'))}")
    entries = member(str(path), document, "vertebrae", list)
    places = {}
    confidence: dict[str, float] = {}
    edited = []
    is_world = all(isinstance(entry, dict) and entry.get("world_mm") is not None for entry in entries)
    for i, entry in enumerate(entries):
        where = f"{path}: vertebrae[{i}]"
        label = member(where, entry, "label", str)
        if not is_vertebra(label) or label in places:
            raise LandmarkError(f"{where}: expected each vertebra of C1 to S2 once, got {label[:60]!r}")
        places[label] = point(where, entry.get("world_mm" if is_world else "local_mm"))
        if entry.get("confidence") is not None:
            confidence[label] = probability(where, entry["confidence"])
        if member(where, entry, "edited", bool, default=False):
            edited.append(label)
    return Landmarks(
        centroids=Centroids.from_points(places, "world" if is_world else "local"),
        confidence=confidence,
        alternatives=_alternatives(path, document),
        warnings=tuple(map(str, member(str(path), document, "warnings", list, default=[]))),
        edited=tuple(edited),
        provenance=member(str(path), document, "provenance", dict, default={}),
    )


def read_any_json(path: Path, grid: Grid | None = None) -> Landmarks:
    """Read a JSON file of whatever format it turns out to be: ours, Slicer's, TPTBox's or VerSe's."""
    document = read_json(path)
    if isinstance(document, dict) and "markups" in document:
        return read_slicer_markups(path)
    if is_poi_json(document):
        return read_poi(path)
    if is_verse_json(document):
        return read_verse(path, grid)
    return read_own_json(path)


def format_own_json(landmarks: Landmarks, image: ImageReference) -> bytes:
    """Return the bytes of a file; a frame that cannot be known without the image is null."""
    return format_json(own_json_document(landmarks, image))


def own_json_document(landmarks: Landmarks, image: ImageReference) -> dict[str, Any]:
    """Return the plain values of a file."""
    centroids, grid = landmarks.centroids, image.grid
    world = centroids.to_world(grid) if grid else centroids if centroids.frame == "world" else None
    local = centroids.to_local(grid) if grid else centroids if centroids.frame == "local" else None
    index = grid.to_index(world.points_mm)[:, ::-1] if grid and world is not None else None
    vertebrae = [
        {
            "label": label,
            "world_mm": None if world is None else _rounded(world.points_mm[i]),
            "local_mm": None if local is None else _rounded(local.points_mm[i]),
            "voxel": None if index is None else _rounded(index[i]),
            "confidence": landmarks.confidence.get(label),
            "edited": label in landmarks.edited,
        }
        for i, label in enumerate(centroids.labels)
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "scan": image.name,
        "frames": {
            "world_mm": "LPS: millimetres to the patient's left, back and head, with the image's origin and direction",
            "local_mm": "voxel index times spacing, x y z, from the centre of the first stored voxel",
            "voxel": "continuous voxel index, x y z, 0 at the centre of the first stored voxel",
        },
        "image": None if grid is None else _image(grid),
        "vertebrae": vertebrae,
        "alternatives": [{"shift": a.shift, "probability": a.probability} for a in landmarks.alternatives],
        "warnings": list(landmarks.warnings),
        "provenance": dict(landmarks.provenance),
    }


def landmarks_schema() -> str:
    """Return the JSON schema that these files follow, as text."""
    return resources.files("vertloc.io.landmarks").joinpath("schemas/landmarks-1.json").read_text(encoding="utf-8")


def is_own_json(beginning: bytes) -> bool:
    """Tell our files from other JSON: the format is the first thing they say."""
    return f'"format": "{FORMAT}"'.encode() in beginning[:200]


def _alternatives(path: Path, document: dict[str, Any]) -> tuple[Alternative, ...]:
    alternatives = []
    for i, entry in enumerate(member(str(path), document, "alternatives", list, default=[])):
        where = f"{path}: alternatives[{i}]"
        shift = member(where, entry, "shift", int)
        alternatives.append(Alternative(shift, probability(where, entry.get("probability"))))
    return tuple(alternatives)


def _image(grid: Grid) -> dict[str, Any]:
    return {
        "size": list(grid.shape[::-1]),
        "spacing_mm": list(grid.spacing_mm),
        "origin_mm": list(grid.origin_mm),
        "direction": list(grid.direction),
    }


def _rounded(values: Any) -> list[float]:
    """Cut to a ten-thousandth: coordinates are no more exact, and the files stay readable."""
    return [round(float(value), 4) + 0.0 for value in values]
