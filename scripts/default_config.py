"""Write configs/default.yaml: every setting with its default, commented by the docstrings of the settings classes."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from vertloc.config import Config

_PATH = Path(__file__).parents[1] / "configs" / "default.yaml"
_WIDTH = 120
_HEAD = """\
# All settings, with the values that vertloc uses when a configuration leaves them out: made by `make config`.
#
# Copy what you want to change; sections and keys that are left out keep the values below. An unknown key is an error.
# Lengths are millimetres, intensities Hounsfield units, shares and probabilities 0 to 1. Everything but the section
# `prediction` takes effect when a model is trained, and is part of the model; that section can also be given to
# `vertloc predict --config`.
"""
_ENTRY = re.compile(r"(?P<names>[a-z_]\w*(, [a-z_]\w*)*) : (?P<text>.*)", re.DOTALL)


def main() -> int:
    """Write the file, or with --check only say whether it is up to date."""
    parser = argparse.ArgumentParser(description="Write configs/default.yaml from the settings classes.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is not up to date")
    check = parser.parse_args().check
    text = default_yaml()
    if not check:
        _PATH.write_text(text, encoding="utf-8")
        return 0
    if _PATH.read_text(encoding="utf-8") == text:
        return 0
    print(f"{_PATH}: not up to date; run `make config`", file=sys.stderr)
    return 1


def default_yaml() -> str:
    """Return the text of configs/default.yaml."""
    return _HEAD + "".join(_section_lines(Config(), 0))


def _section_lines(settings: Any, depth: int) -> list[str]:
    notes, indent = _notes(type(settings)), "  " * depth
    lines = []
    for field in dataclasses.fields(settings):
        value, note = getattr(settings, field.name), notes[field.name]
        if dataclasses.is_dataclass(value):
            summary = inspect.getdoc(type(value)).splitlines()[0]  # type: ignore[union-attr]
            lines.append("\n" if depth == 0 else "")
            lines += _comment(summary if depth == 0 else note, indent)
            lines.append(f"{indent}{field.name}:\n")
            lines += _section_lines(value, depth + 1)
        else:
            line = f"{indent}{field.name}: {yaml.safe_dump(value).removesuffix('...' + chr(10)).strip()}"
            beside = f"{line:<34}  # {note}\n"
            lines += [beside] if len(beside) <= _WIDTH else [*_comment(note, indent), f"{line}\n"]
    return lines


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}\n" for line in textwrap.wrap(text, _WIDTH - len(indent) - 2)]


def _notes(kind: type) -> dict[str, str]:
    """Return what the docstring of a settings class says of each field. Raises KeyError if it leaves one out."""
    # A line that is indented belongs to the one before it; several entries may share a line.
    text = re.sub(r"\n +", " ", inspect.getdoc(kind) or "")
    notes: dict[str, str] = {}
    for line in text.splitlines():
        for entry in line.split("; ") if line.count(" : ") > 1 else [line]:
            match = _ENTRY.fullmatch(entry)
            if match:
                notes |= dict.fromkeys(match["names"].split(", "), match["text"])
    missing = [field.name for field in dataclasses.fields(kind) if field.name not in notes]
    if missing:
        raise KeyError(f"the docstring of {kind.__name__} does not say what {', '.join(missing)} mean")
    return notes


if __name__ == "__main__":
    sys.exit(main())
