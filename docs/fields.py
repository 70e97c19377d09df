"""Docstrings of this project -> Markdown lists: their lines `name : what it is` are fields, whatever the section."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_FIELD = re.compile(r"^([\w, ]+?) : (.+)$")


class Fields(Extension):
    """Rewrites docstrings before they are rendered."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Turn the fields of one docstring into list items."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Make a list item of each field; indented lines go on with it, and a plain line after it is a new paragraph."""
    lines: list[str] = []
    is_field = is_code = False
    for line in text.splitlines():
        is_code = is_code != line.strip().startswith("```")
        match = None if is_code else _FIELD.match(line)
        if match:
            lines += [] if is_field else [""]
            names = ", ".join(f"`{name.strip()}`" for name in match.group(1).split(","))
            lines.append(f"- {names} : {match.group(2)}")
            is_field = True
        elif is_field and line.startswith("    "):
            lines.append(line)
        else:
            lines += ["", line] if is_field and line else [line]
            is_field = False
    return "\n".join(lines)
