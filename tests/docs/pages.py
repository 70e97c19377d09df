"""README and documentation pages -> the examples on them, in their order."""

import argparse
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from vertloc.cli.arguments import make_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


@dataclass(frozen=True)
class Example:
    """A code block: `language` is what stands after its fence, `line` the page's line of its first."""

    language: str
    text: str
    line: int


def examples(name):
    """Return the code blocks of a page."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.finditer(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [Example(match[1], match[2], text.count("\n", 0, match.start()) + 2) for match in found]


def blocks(name, *languages):
    """Return the text of a page's code blocks in one of some languages."""
    return [example.text for example in examples(name) if example.language in languages]


def command_lines(text):
    """Split a console block into its commands, as lists of words; a backslash goes on, `#` begins a comment."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def parsers():
    """Return the parser of each command, by its name."""
    (commands,) = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return commands.choices


def help_examples(command):
    """Return the example commands at the end of a command's help, or of the general help, as lists of words."""
    text = (parsers()[command] if command else make_parser()).epilog.split("\n\n")[0]
    return command_lines(text.removeprefix("example:\n"))
