"""A small JSON file -> plain values, and numbers out of them; every error names the file and the place in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vertloc.errors import LandmarkError
from vertloc.io.landmarks.landmarks import FARTHEST_MM
from vertloc.io.small_files import read_small_text

_LARGEST_FILE = 16 << 20


def read_json(path: Path) -> Any:
    """Read a JSON file of at most 16 MB; NaN and infinities pass. Raises LandmarkError."""
    text = read_small_text(path, LandmarkError, _LARGEST_FILE)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LandmarkError(f"{path}: not valid JSON: {error or 'nested too deeply'}") from None


def format_json(value: object) -> bytes:
    """Return plain values as UTF-8 JSON."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode("utf-8", errors="backslashreplace")


def member(where: str, value: object, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
    """Return `value[key]` of the wanted kind; `default`, if it is not None, where there is no such key."""
    if not isinstance(value, dict):
        raise LandmarkError(f"{where}: expected an object with {key}, got {short(value)}")
    found = value.get(key, default)
    if not isinstance(found, kind) or isinstance(found, bool) is not (kind is bool):
        raise LandmarkError(f"{where}: expected {key} to be {_kind_name(kind)}, got {short(found)}")
    return found


def point(where: str, value: object) -> tuple[float, float, float]:
    """Return three finite coordinates from a list."""
    if not isinstance(value, list) or len(value) != 3:
        raise LandmarkError(f"{where}: expected three coordinates, got {short(value)}")
    x, y, z = (coordinate(where, number) for number in value)
    return x, y, z


def coordinate(where: str, value: object) -> float:
    """Return a finite number that a patient's coordinate can be."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise LandmarkError(f"{where}: expected a finite number as coordinate, got {short(value)}")
    if abs(value) > FARTHEST_MM:  # infinity too, and whole numbers that no float can hold
        raise LandmarkError(f"{where}: expected a coordinate within {FARTHEST_MM:g}, got {short(value)}")
    return float(value)


def probability(where: str, value: object) -> float:
    """Return a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise LandmarkError(f"{where}: expected a probability from 0 to 1, got {short(value)}")
    return float(value)


def short(value: object) -> str:
    """Show a value in a message, cut to 60 characters."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _kind_name(kind: type | tuple[type, ...]) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        int: "a whole number",
        float: "a number",
        bool: "yes or no",
    }
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(names.get(one, one.__name__) for one in kinds)
