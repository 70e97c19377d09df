"""Texts -> the terminal, whatever is in them: names of files may hold any bytes, and consoles know few characters."""

from __future__ import annotations

import io
import re
import sys
from argparse import Namespace

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, halves of characters, and marks that turn the direction of writing."""


def say(args: Namespace, text: str) -> None:
    """Print to standard output, unless asked to be quiet."""
    if not args.quiet:
        show(text)


def show(text: str) -> None:
    """Print to standard output, whatever is in the text."""
    print(printable(text))


def complain(args: Namespace, text: str) -> None:
    """Print an error to standard error."""
    print(printable(f"vertloc {args.command}: {text}"), file=sys.stderr)


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: names of files may hold escape sequences, and any bytes."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not in the system's encoding
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def print_anything() -> None:
    """Let the standard streams replace what their encoding cannot show: printing does not decide over the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
