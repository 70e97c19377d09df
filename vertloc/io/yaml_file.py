"""A small YAML file -> plain values, refused early if it could unfold, repeat itself or run anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from vertloc.errors import ConfigError
from vertloc.io.small_files import read_small_text

_MOST_BYTES = 100_000
_DEEPEST = 10


def read_yaml(path: Path) -> object:
    """Return the plain values of a YAML file; an empty one is an empty mapping. Raises ConfigError naming the file."""
    text = read_small_text(path, ConfigError, _MOST_BYTES)
    try:
        _check_it_does_not_unfold(text, path)
        data = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML lets bare Python errors out where a tag does not fit its value.
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return {} if data is None else data


def _check_it_does_not_unfold(text: str, path: Path) -> None:
    """Refuse aliases, which could make a small file unfold to a huge one, and depth, which PyYAML is slow at."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{path}: YAML aliases are not allowed here")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ConfigError(f"{path}: nested too deeply; expected sections of settings")


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, where PyYAML would keep the last value without a word.

    Reads `1e-3` as the number it is in JSON and YAML 1.2; PyYAML asks for `1.0e-3`.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in first:
                raise yaml.YAMLError(f"line {line}: {name} stands already in line {first[name]}")
            first[name] = line
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)
