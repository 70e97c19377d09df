"""TPTBox's points of interest, world form, `<scan>_poi.json` <-> Landmarks.

`[{"coordinate_system": "itk", "format": "POI_GLOBAL", ...}, {"T9": {"50": [x, y, z]}, ...}]`: LPS mm for "itk", RAS mm
for "nib"; 50 is the vertebral body. Vertebrae go by name or by VerSe's number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.json_files import format_json, member, point, read_json, short
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks, in_world, vertebra_name
from vertloc.vertebrae import NAME_OF_VERSE

_BODY = "50"
_BODY_NAMES = (_BODY, "Vertebra_Corpus")
_SIGNS = {"itk": (1.0, 1.0, 1.0), "nib": (-1.0, -1.0, 1.0)}


def is_poi_json(document: object) -> bool:
    """Tell TPTBox's files from other JSON."""
    return isinstance(document, list) and bool(document) and isinstance(document[0], dict) and "format" in document[0]


def read_poi(path: Path, _: Grid | None = None) -> Landmarks:
    """Read the body centres of all vertebrae, world frame; other points are skipped. Raises LandmarkError."""
    document = read_json(path)
    if not is_poi_json(document) or document[0].get("format") != "POI_GLOBAL":
        raise LandmarkError(f"{path}: expected TPTBox points in their world form, format POI_GLOBAL")
    system = document[0].get("coordinate_system", "nib")
    if system not in ("itk", "nib"):
        raise LandmarkError(f"{path}: expected coordinate_system itk or nib, got {short(system)}")
    points: dict[str, tuple[float, float, float]] = {}
    for part in document[1:]:
        for key, places in _items(path, part):
            name = vertebra_name(key) or (NAME_OF_VERSE.get(int(key)) if key.isdecimal() and len(key) < 4 else None)
            body = next((places[n] for n in _BODY_NAMES if isinstance(places, dict) and n in places), None)
            if name is None or body is None:
                continue
            if name in points:
                raise LandmarkError(f"{path}: expected each vertebra once, got {name} again")
            x, y, z = (v * s for v, s in zip(point(f"{path}: {key}", body), _SIGNS[system], strict=True))
            points[name] = (x, y, z)
    return Landmarks(Centroids.from_points(points, "world"))


def format_poi(landmarks: Landmarks, image: ImageReference) -> bytes:
    """Return the bytes of a file with the body centres in the "itk" coordinate system."""
    world = in_world(landmarks, image)
    head = {
        "coordinate_system": "itk",
        "format": "POI_GLOBAL",
        "level_one_info": "Vertebra_Instance",
        "level_two_info": "Location",
    }
    return format_json([head, {label: {_BODY: [float(v) for v in place]} for label, place in world}])


def _items(path: Path, part: Any) -> list[tuple[str, Any]]:
    if not isinstance(part, dict):
        raise LandmarkError(f"{path}: expected points by vertebra, got {short(part)}")
    return [
        (str(key), member(str(path), part, key, (dict, list))) for key in part if isinstance(part[key], dict | list)
    ]
