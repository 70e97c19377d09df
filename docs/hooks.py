"""What is made when the documentation is built: settings and commands from the code, equations as MathML.

Pages hold a mark such as `<!-- settings -->` where the text goes, so that they cannot drift from the code.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from latex2mathml.converter import convert

from vertloc.cli.arguments import make_parser
from vertloc.config import Config

_README = Path(__file__).parents[1] / "README.md"


def on_config(config: Any) -> Any:
    """Leave out pages of the navigation that this version does not have."""
    config.nav = _existing(config.nav, Path(config.docs_dir))
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what is generated."""
    for mark, make in (("settings", _settings), ("commands", _commands), ("measured", _measured)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", make())
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    r"""Turn the equations that arithmatex marks, \[...\] and \(...\), into MathML, which needs no script."""
    html = re.sub(
        r'<div class="arithmatex">\\\[(.*?)\\\]</div>', lambda m: _mathml(m.group(1), "block"), html, flags=re.DOTALL
    )
    return re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda m: _mathml(m.group(1), "inline"), html)


def _mathml(latex: str, display: str) -> str:
    plain = latex.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()
    return str(convert(plain, display=display))


def _measured() -> str:
    """Take README's figures of accuracy, so that they stand in one place."""
    text = _README.read_text(encoding="utf-8")
    section = re.search(r"^## What was measured\n(.*?)^(?:\[Performance\]|## )", text, re.MULTILINE | re.DOTALL)
    if section is None:
        raise ValueError(f"{_README}: expected a section '## What was measured'")
    return section.group(1).strip().replace("](docs/", "](")


def _existing(entries: list[Any], folder: Path) -> list[Any]:
    kept = []
    for entry in entries:
        ((title, target),) = entry.items()
        if isinstance(target, list):
            inside = _existing(target, folder)
            kept += [{title: inside}] if inside else []
        elif (folder / target).exists():
            kept.append(entry)
    return kept


def _settings() -> str:
    """Write a section for each settings class, from its fields, constraints and docstring."""
    return "\n\n".join(_sections(Config, ""))


def _sections(settings: type, path: str) -> list[str]:
    """Tables of a settings class and of those inside it, outermost first."""
    described = _described(settings)
    hints = get_type_hints(settings, include_extras=True)
    rows, inside = [], []
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        value = _default(field)
        if dataclasses.is_dataclass(value):
            inside += _sections(type(value), f"{path}{field.name}.")
            continue
        words = described.get(field.name, "").replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{_yaml(value)}` | {_range(hint)} | {words} |")
    if not rows:
        return inside
    title = f"### {path.rstrip('.') or 'top level'}"
    summary = (settings.__doc__ or "").strip().splitlines()[0]
    table = ["| key | default | range | what it does |", "|---|---|---|---|", *rows]
    return ["\n".join([title, "", summary, "", *table]), *inside]


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    default = field.default
    return default.default if hasattr(default, "default") else default


def _yaml(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


def _range(hint: Any) -> str:
    """Say the bounds of an annotated type, or the choices of a literal."""
    choices = [arg for arg in get_args(hint) if isinstance(arg, str)]
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    bounds: dict[str, Any] = {}
    for extra in getattr(hint, "__metadata__", ()):
        for constraint in getattr(extra, "metadata", ()):
            bounds |= {k: getattr(constraint, k) for k in ("ge", "gt", "le", "lt") if hasattr(constraint, k)}
    low = f"{bounds['ge']} to" if "ge" in bounds else f"above {bounds['gt']}" if "gt" in bounds else ""
    high = f"{bounds['le']}" if "le" in bounds else f"below {bounds['lt']}" if "lt" in bounds else ""
    return ", ".join(part for part in (low, high) if part).replace("to, ", "to ")


def _described(settings: type) -> dict[str, str]:
    """Read the lines `name : what it is` of a docstring; indented lines continue."""
    found: dict[str, str] = {}
    name = ""
    for line in (settings.__doc__ or "").splitlines()[1:]:
        match = re.match(r"\s{4}(\w+) : (.*)", line)
        if match:
            name = match.group(1)
            found[name] = match.group(2)
        elif name and line.startswith("        "):
            found[name] += f" {line.strip()}"
        elif line.strip():
            name = ""
    return found


def _commands() -> str:
    """Write a section for each command, from its help."""
    parser = make_parser()
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parts = []
    for name, command in commands.choices.items():
        rows = [f"| {_spelling(action)} | {_cell(action)} |" for action in command._actions if action.dest != "help"]
        example = (command.epilog or "").split("\n\n")[0].removeprefix("example:\n")
        example = "\n".join(line.strip() for line in example.splitlines())
        table = ["| argument | meaning |", "|---|---|", *rows]
        parts.append(
            "\n".join(
                [f"## vertloc {name}", "", _plain(command.description), "", "```console", example, "```", "", *table]
            )
        )
    return "\n\n".join(parts)


def _spelling(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar or ())
    if action.choices:
        metavar = " / ".join(map(str, action.choices))
    if not action.option_strings:
        return f"`{metavar or action.dest}`"
    value = f" {metavar or action.dest.upper()}" if action.nargs != 0 else ""
    return f"`{', '.join(action.option_strings)}{value}`"


def _cell(action: argparse.Action) -> str:
    return _plain(action.help).replace("|", "\\|").replace("\n", " ")


def _plain(text: str | None) -> str:
    return (text or "").replace("<", "&lt;").replace("%%", "%")
