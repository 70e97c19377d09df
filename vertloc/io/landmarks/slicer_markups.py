"""`.mrk.json`, markups of 3D Slicer <-> Landmarks: a list of named points, and a curve through them.

Positions are LPS or RAS millimetres, as `coordinateSystem` says; we write LPS and always say so. What Slicer would draw
in front of the user is written too: names, a description with the confidence, a spine curve of its own.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.json_files import format_json, member, point, read_json, short
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks, in_world, vertebra_name

logger = logging.getLogger(__name__)

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)

_LPS_SIGNS: dict[object, tuple[float, float, float]] = {
    **dict.fromkeys(("LPS", 1), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("RAS", 0), (-1.0, -1.0, 1.0)),
}
_MM_PER_UNIT = {"mm": 1.0, "um": 0.001}


def read_slicer_markups(path: Path, _: Grid | None = None) -> Landmarks:
    """Read the points of all fiducial lists that are named after vertebrae, world frame; others are left out, said.

    Raises LandmarkError for other files, unknown coordinate systems or units, and a vertebra that stands there twice.
    """
    document = read_json(path)
    points: dict[str, tuple[float, float, float]] = {}
    for i, markup in enumerate(member(str(path), document, "markups", list)):
        where = f"{path}: markups[{i}]"
        if member(where, markup, "type", str) not in ("Fiducial", "PointList"):
            continue
        for name, place in _points(where, markup):
            if name in points:
                raise LandmarkError(f"{where}: expected each vertebra once, got {name} again")
            points[name] = place
    return Landmarks(Centroids.from_points(points, "world"))


def format_slicer_markups(landmarks: Landmarks, image: ImageReference) -> bytes:
    """Return the bytes of a file with the points as a list and, from two of them on, as a curve."""
    world = in_world(landmarks, image)
    markups = [_markup("Fiducial", "vertebrae", world, landmarks)]
    if len(world) > 1:
        markups.append(_markup("Curve", "spine", world, landmarks))
    return format_json({"@schema": SCHEMA, "markups": markups})


def _points(where: str, markup: dict[str, Any]) -> list[tuple[str, tuple[float, float, float]]]:
    system = markup.get("coordinateSystem", "LPS")
    units = markup.get("coordinateUnits", "mm")
    units = units[0] if isinstance(units, list) and units else units
    if not isinstance(system, str | int) or system not in _LPS_SIGNS:
        raise LandmarkError(f"{where}: expected coordinateSystem LPS or RAS, got {short(system)}")
    if not isinstance(units, str) or units not in _MM_PER_UNIT:
        raise LandmarkError(f"{where}: expected coordinateUnits mm or um, got {short(units)}")
    found = []
    for i, entry in enumerate(member(where, markup, "controlPoints", list, default=[])):
        there = f"{where}.controlPoints[{i}]"
        label = member(there, entry, "label", str, default="")
        name = vertebra_name(label)
        if entry.get("positionStatus", "defined") != "defined":
            continue
        if name is None:
            logger.warning("%s: %s is no vertebra and is left out", there, short(label))
            continue
        place = point(there, entry.get("position"))
        x, y, z = (v * sign * _MM_PER_UNIT[units] for v, sign in zip(place, _LPS_SIGNS[system], strict=True))
        found.append((name, (x, y, z)))
    return found


def _markup(kind: str, name: str, world: Centroids, landmarks: Landmarks) -> dict[str, Any]:
    return {
        "type": kind,
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "controlPoints": [
            {
                "id": str(i),
                "label": label,
                "description": description(label, landmarks),
                "associatedNodeID": "",
                "position": [float(v) for v in place],
                "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
            for i, (label, place) in enumerate(world, start=1)
        ],
    }


def description(label: str, landmarks: Landmarks) -> str:
    """Say in words what is known of a vertebra: its confidence, and whether a person set it."""
    parts = [f"confidence {landmarks.confidence[label]:.2f}"] if label in landmarks.confidence else []
    return ", ".join([*parts, *(["set by a person"] if label in landmarks.edited else [])])
