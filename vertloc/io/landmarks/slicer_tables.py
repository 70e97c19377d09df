"""`.csv` and `.fcsv`, the tables of 3D Slicer <-> Landmarks.

`.csv`: columns `label,l,p,s,defined,selected,visible,locked,description`, LPS millimetres (or r, a, s); ours has the
confidence and the local coordinates behind them, which Slicer does not read. `.fcsv`, the format before Slicer 5, is
only read; its comment lines say the coordinate system and the columns.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.landmarks.json_files import probability
from vertloc.io.landmarks.landmarks import FARTHEST_MM, ImageReference, Landmarks, in_world, vertebra_name
from vertloc.io.landmarks.slicer_markups import description
from vertloc.io.small_files import read_small_text

logger = logging.getLogger(__name__)

_COLUMNS = ("label", "l", "p", "s", "defined", "selected", "visible", "locked", "description")
_OWN_COLUMNS = ("confidence", "local_x_mm", "local_y_mm", "local_z_mm")
_LPS = (1.0, 1.0, 1.0)
_RAS = (-1.0, -1.0, 1.0)
_FCSV_SYSTEMS = {"lps": _LPS, "1": _LPS, "ras": _RAS, "0": _RAS}
_FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"

Point = tuple[float, float, float]


def is_slicer_csv(beginning: bytes) -> bool:
    """Tell tables of points from other CSV by their header line."""
    first = beginning.removeprefix(b"\xef\xbb\xbf").split(b"\n")[0].replace(b'"', b"").lower()
    return first.startswith((b"label,l,p,s", b"label,r,a,s"))


def read_slicer_csv(path: Path, _: Grid | None = None) -> Landmarks:
    """Read the points named after vertebrae, world frame; undefined rows are skipped. Raises LandmarkError."""
    rows = _rows(path, read_small_text(path, LandmarkError))
    if not rows:
        raise LandmarkError(f"{path}:1: expected a header {','.join(_COLUMNS)}, got an empty file")
    number, header = rows[0]
    columns = {name.strip().lower(): i for i, name in enumerate(header)}
    axes, signs = (("l", "p", "s"), _LPS) if "l" in columns else (("r", "a", "s"), _RAS)
    missing = [name for name in ("label", *axes) if name not in columns]
    if missing:
        raise LandmarkError(f"{path}:{number}: expected a header {','.join(_COLUMNS)}, found no column {missing[0]}")
    defined = columns.get("defined")
    kept = [(n, row) for n, row in rows[1:] if defined is None or len(row) <= defined or row[defined].strip() != "0"]
    points = _points(path, kept, columns["label"], [columns[axis] for axis in axes], signs)
    return Landmarks(Centroids.from_points(points, "world"), _confidences(path, kept, columns))


def format_slicer_csv(landmarks: Landmarks, image: ImageReference) -> bytes:
    """Return the bytes of a table that Slicer loads; local coordinates stay empty without the image."""
    world = in_world(landmarks, image)
    local = None if image.grid is None else world.to_local(image.grid)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, *_OWN_COLUMNS))
    for label, place in world:
        confidence = f"{landmarks.confidence[label]:.4f}" if label in landmarks.confidence else ""
        own = ["", "", ""] if local is None else [_number(v) for v in local[label]]
        row = (label, *map(_number, place), 1, 1, 1, 0, description(label, landmarks), confidence, *own)
        writer.writerow(row)
    return text.getvalue().encode()


def read_fcsv(path: Path, _grid: Grid | None = None) -> Landmarks:
    """Read the points named after vertebrae, world frame. Raises LandmarkError."""
    text = read_small_text(path, LandmarkError)
    signs, columns = _RAS, _FCSV_COLUMNS.split(",")  # what the oldest files mean
    for number, line in enumerate(text.splitlines(), start=1):
        key, _, value = line.lstrip("# ").partition("=")
        if not line.startswith("#"):
            continue
        if key.strip().lower() == "coordinatesystem":
            if value.strip().lower() not in _FCSV_SYSTEMS:
                raise LandmarkError(
                    f"{path}:{number}: expected CoordinateSystem LPS or RAS, got {value.strip()[:60]!r}"
                )
            signs = _FCSV_SYSTEMS[value.strip().lower()]
        if key.strip().lower() == "columns":
            columns = [name.strip() for name in value.split(",")]
    if not text.lstrip().startswith("#"):
        raise LandmarkError(f"{path}:1: expected a first line '# Markups fiducial file', got {text.lstrip()[:60]!r}")
    if not {"x", "y", "z", "label"} <= set(columns):
        raise LandmarkError(f"{path}: expected columns x, y, z and label, got {','.join(columns)[:60]!r}")
    rows = [(number, row) for number, row in _rows(path, text) if not row[0].startswith("#")]
    places = [columns.index(axis) for axis in "xyz"]
    return Landmarks(Centroids.from_points(_points(path, rows, columns.index("label"), places, signs), "world"))


def _rows(path: Path, text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text))
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise LandmarkError(f"{path}:{reader.line_num}: not valid CSV: {error}") from None


def _points(
    path: Path, rows: Sequence[tuple[int, list[str]]], label: int, axes: Sequence[int], signs: Point
) -> dict[str, Point]:
    points: dict[str, Point] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        if len(row) <= max(label, *axes):
            raise LandmarkError(f"{where}: expected at least {max(label, *axes) + 1} columns, got {len(row)}")
        name = vertebra_name(row[label])
        if name is None:
            logger.warning("%s: %r is no vertebra and is left out", where, row[label][:60])
            continue
        if name in points:
            raise LandmarkError(f"{where}: expected each vertebra once, got {name} again")
        x, y, z = (_value(where, row[axis]) * sign for axis, sign in zip(axes, signs, strict=True))
        points[name] = (x, y, z)
    return points


def _confidences(path: Path, rows: Sequence[tuple[int, list[str]]], columns: dict[str, int]) -> dict[str, float]:
    at = columns.get("confidence")
    found = {}
    for number, row in rows:
        name = vertebra_name(row[columns["label"]])
        if at is not None and len(row) > at and row[at].strip() and name is not None:
            found[name] = probability(f"{path}:{number}", _value(f"{path}:{number}", row[at]))
    return found


def _value(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > FARTHEST_MM:
        raise LandmarkError(f"{where}: expected a number within {FARTHEST_MM:g}, got {text[:60]!r}")
    return value


def _number(value: float) -> str:
    return f"{value:.4f}"
