"""`.lml` landmark file <-> Centroids in the local frame of the stored array, or in the world frame if the file says so.

Line 1 is `# <number>`; then, from top to bottom, `id<TAB>NAME_center<TAB>x<TAB>y<TAB>z<CR><LF>` with id = 10 x rank and
millimetres of 6 significant digits. Only the names mean something: ids are written, but not trusted.

Files of the database hold the local frame and say nothing about it. A file of ours in the world frame says so in
line 1, `# 0 world LPS mm`: every known reader skips that line and no other.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from vertloc.centroids import Centroids, Frame
from vertloc.errors import LmlError
from vertloc.geometry import Grid
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.landmarks.landmarks import FARTHEST_MM, ImageReference, Landmarks
from vertloc.io.small_files import read_small_text
from vertloc.vertebrae import is_vertebra, lml_id

_HEADER = re.compile(r"#\s*([+-]?[0-9]{1,9})(?:\s+(local|world)\b.*)?", re.IGNORECASE)
_WORLD_MARK = "world LPS mm"
_EDITED = "edited by a person"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WANTED = "'id name_center x y z'"


def read_lml(path: str | Path) -> Centroids:
    """Read the centroids of a scan, in the local frame unless line 1 says `world`.

    Any white space parts the fields; lines may end in LF or CRLF; blank lines and comments are skipped; the name is
    what stands before the first `_`. A file with nothing but its header holds no centroids; an empty file is taken for
    a damaged one. Raises LmlError, with the line, for everything else.
    """
    path = Path(path)
    points: dict[str, tuple[float, float, float]] = {}
    (number, first), *rest = _lines(path)
    _, frame = _header(f"{path}:{number}", first)
    for number, line in rest:
        if line.startswith("#"):
            continue
        name, point = _landmark(f"{path}:{number}", line)
        if name in points:
            raise LmlError(f"{path}:{number}: expected each vertebra once, got {name} again")
        points[name] = point
    return Centroids.from_points(points, frame)


def read_lml_landmarks(path: Path, _: Grid | None = None) -> Landmarks:
    """Read a file as `read_lml` does, with the mark of a person's edit in line 1."""
    centroids = read_lml(path)
    first = _lines(path)[0][1]
    return Landmarks(centroids, edited=centroids.labels if _EDITED in first else ())


def format_lml_landmarks(landmarks: Landmarks, _: ImageReference) -> bytes:
    """Return the bytes of a file in the frame that the centroids have; line 1 says world, and that a person edited."""
    data = format_lml(landmarks.centroids, frame=landmarks.centroids.frame)
    if not landmarks.edited:
        return data
    first, line_end, rest = data.partition(b"\r\n")
    frame = b"" if landmarks.centroids.frame == "world" else b" local"
    return first + frame + b", " + _EDITED.encode("ascii") + line_end + rest


def read_lml_header(path: str | Path) -> int:
    """Read the number of the first line (0 and 2 occur); with it `format_lml` gives back the bytes of the file."""
    path = Path(path)
    number, line = _lines(path)[0]
    return _header(f"{path}:{number}", line)[0]


def write_lml(path: str | Path, centroids: Centroids, header: int = 0, frame: Frame = "local") -> None:
    """Write the centroids of a scan; the file appears whole.

    frame : the frame that the file is meant to hold; programs other than this one take any file for local, so that the
        world frame has to be asked for. Raises ValueError if the centroids are in the other frame.
    """
    write_bytes_atomically(Path(path), format_lml(centroids, header, frame))


def format_lml(centroids: Centroids, header: int = 0, frame: Frame = "local") -> bytes:
    """Return the bytes of an `.lml` file; arguments and errors as for `write_lml`."""
    if centroids.frame != frame:
        raise ValueError(f"this .lml file is to hold points in the {frame} frame, got {centroids.frame}")
    lines = [f"# {header}" if frame == "local" else f"# {header} {_WORLD_MARK}"]
    for label, (x, y, z) in centroids:
        lines.append(f"{lml_id(label)}\t{label}_center\t{x:.6g}\t{y:.6g}\t{z:.6g}")
    return "".join(line + "\r\n" for line in lines).encode("ascii")


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank with their numbers; the first one is the header."""
    text = read_small_text(path, LmlError)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise LmlError(f"{path}:1: expected a first line '# <number>', got an empty file")
    return lines


def _header(where: str, line: str) -> tuple[int, Frame]:
    """Return the number and the frame of the first line."""
    match = _HEADER.fullmatch(line)
    if match is None:
        raise LmlError(f"{where}: expected a first line '# <number>', got {line[:60]!r}")
    return int(match[1]), "world" if (match[2] or "").lower() == "world" else "local"


def _landmark(where: str, line: str) -> tuple[str, tuple[float, float, float]]:
    fields = line.split()
    if len(fields) != 5:
        raise LmlError(f"{where}: expected {_WANTED}, got {len(fields)} fields: {line[:60]!r}")
    if not re.fullmatch(r"[+-]?[0-9]+", fields[0]):
        raise LmlError(f"{where}: expected a whole number as id, got {fields[0][:60]!r}")
    name = fields[1].split("_")[0]
    if not is_vertebra(name):
        raise LmlError(f"{where}: expected a vertebra from C1 to S2, got {fields[1][:60]!r}")
    x, y, z = (_coordinate(where, axis, text) for axis, text in zip("xyz", fields[2:], strict=True))
    return name, (x, y, z)


def _coordinate(where: str, axis: str, text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise LmlError(f"{where}: expected a finite number as {axis}, got {text[:60]!r}")
    if abs(value) > FARTHEST_MM:
        raise LmlError(f"{where}: expected {axis} within {FARTHEST_MM:g} mm, got {text[:60]!r}")
    return value
