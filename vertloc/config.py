"""YAML -> one frozen, validated tree of the stages' settings.

An unknown key is an error that names the nearest known one; a value of the wrong type or out of range is an error that
names the field, what was found and what was wanted.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from vertloc.errors import ConfigError
from vertloc.stages.centre_votes import CentreVoteSettings
from vertloc.stages.centroid_density import DensitySettings
from vertloc.stages.context_features import ContextFeatureSettings
from vertloc.stages.dense_labels import DenseLabelSettings
from vertloc.stages.naming import NamingSettings
from vertloc.stages.naming_samples import NamingSampleSettings
from vertloc.stages.posterior import PosteriorSettings
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.sampling import SamplingSettings
from vertloc.stages.shape_labelling import ShapeSettings
from vertloc.stages.shape_model import ShapeModelSettings
from vertloc.stages.tree_growing import ForestSettings

_MOST_BYTES = 100_000
_DEEPEST = 10
# Padded by this much on every side, even a small scan takes 100 MB as an integral image.
_FARTHEST_VOXELS = 150
# Sums of boxes are exact as long as they fit the integral image's 32 bits; frames of large patients scale boxes by 5/4.
_LARGEST_SUM = 2**31
_LARGEST_SCALE = 1.25


@dataclass(frozen=True)
class Config:
    """The settings of all stages, in the order of the data flow."""

    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    dense_labels: DenseLabelSettings = field(default_factory=DenseLabelSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    features: ContextFeatureSettings = field(default_factory=ContextFeatureSettings)
    forest: ForestSettings = field(default_factory=ForestSettings)
    centre_features: ContextFeatureSettings = field(
        default_factory=lambda: ContextFeatureSettings(largest_offset_mm=45.0, largest_size_mm=25.0)
    )
    centre_forest: ForestSettings = field(
        default_factory=lambda: ForestSettings(
            n_trees=12, max_depth=20, min_samples_leaf=8, features_per_tree=300, features_per_node=60
        )
    )
    naming_features: ContextFeatureSettings = field(
        default_factory=lambda: ContextFeatureSettings(largest_offset_mm=110.0, largest_size_mm=45.0)
    )
    naming_samples: NamingSampleSettings = field(default_factory=NamingSampleSettings)
    naming_forest: ForestSettings = field(
        default_factory=lambda: ForestSettings(
            n_trees=80,
            max_depth=24,
            min_samples_leaf=3,
            features_per_tree=400,
            features_per_node=80,
            patient_share=1.0,
            pool="shared",
        )
    )
    posterior: PosteriorSettings = field(default_factory=PosteriorSettings)
    centre_votes: CentreVoteSettings = field(default_factory=CentreVoteSettings)
    density: DensitySettings = field(default_factory=DensitySettings)
    shape_model: ShapeModelSettings = field(default_factory=ShapeModelSettings)
    shape: ShapeSettings = field(default_factory=ShapeSettings)
    naming: NamingSettings = field(default_factory=NamingSettings)

    def __post_init__(self) -> None:
        if self.naming_forest.pool != "shared":
            raise ValueError(f"naming_forest.pool must be 'shared', got {self.naming_forest.pool!r}")
        for section in ("features", "centre_features", "naming_features"):
            _refuse_what_cannot_be_summed(section, getattr(self, section), self.preprocess)

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values: what YAML or JSON would hold."""
        return dataclasses.asdict(self)


def read_config(path: Path | str) -> Config:
    """Read a YAML configuration; keys that are left out keep their defaults.

    Raises ConfigError if the file cannot be read, is not a mapping, or holds an unknown key or an impossible value.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes are too many for a configuration")
        text = path.read_text(encoding="utf-8")
        _refuse_what_unfolds(text, path)
        data = yaml.load(text, Loader=_StrictLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected a YAML text file, got binary data") from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML lets bare Python errors out where a tag does not fit its value.
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return config_from_dict({} if data is None else data, str(path))


def config_from_dict(data: object, source: str) -> Config:
    """Validate nested plain values, from a file or a model's header; `source` names them in messages.

    Sections and keys that are left out keep their defaults. Raises ConfigError, listing every problem.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected a mapping of sections to settings, got {type(data).__name__}")
    problems = _unknown_keys(data, Config, "")
    if problems:
        raise ConfigError(f"{source}: " + "; ".join(problems))
    merged = Config().as_dict()
    for section, values in data.items():
        if not isinstance(values, dict | None):
            raise ConfigError(f"{source}: {section}: expected a mapping of settings, got {_short(values)}")
        merged[section].update(values or {})
    try:
        # What is no plain value is checked as its text, which is of no wanted type either.
        return _adapter().validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(map(_problem, error.errors()))) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: holds a value of no plain type: {error}") from error


@functools.cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _problem(error: Any) -> str:
    """Say where, what was wanted and what was found."""
    where = ".".join(map(str, error["loc"]))
    message = str(error["msg"]).removeprefix("Value error, ")
    # The settings' own messages name the value they found.
    found = "" if error["type"] == "value_error" else f", got {_short(error['input'])}"
    return f"{where}: {message}{found}" if where else message + found


def _short(value: object, show: Callable[[object], str] = repr) -> str:
    text = show(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _refuse_what_unfolds(text: str, path: Path) -> None:
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


def _refuse_what_cannot_be_summed(section: str, features: ContextFeatureSettings, image: PreprocessSettings) -> None:
    farthest = features.reach_mm / image.spacing_mm
    if not farthest <= _FARTHEST_VOXELS:
        raise ValueError(
            f"{section}: largest_offset_mm + largest_size_mm / 2 = {features.reach_mm:g} mm reach {farthest:.0f} voxels"
            f" at preprocess.spacing_mm {image.spacing_mm:g}; at most {_FARTHEST_VOXELS} are allowed"
        )
    voxels = (features.largest_size_mm * _LARGEST_SCALE / image.spacing_mm + 1) ** 3
    outside = round(features.outside_hu)
    intensity = max(abs(image.lowest_hu - outside), abs(image.highest_hu - outside))
    if not voxels * intensity < _LARGEST_SUM:
        raise ValueError(
            f"{section}: a box of largest_size_mm {features.largest_size_mm:g} holds too many voxels of"
            f" preprocess.spacing_mm {image.spacing_mm:g} for an exact sum"
        )


def _unknown_keys(data: dict[Any, Any], kind: type, prefix: str) -> list[str]:
    known = _keys(kind)
    types = get_type_hints(kind)
    problems = []
    for key, value in data.items():
        if key not in known:
            candidates = {name: prefix + name for name in sorted(known)}
            if kind is Config and not isinstance(value, dict):  # a setting outside its section
                candidates = {
                    k: f"{f.name}.{k}" for f in reversed(dataclasses.fields(kind)) for k in _keys(types[f.name])
                }
            near = difflib.get_close_matches(str(key), candidates, n=1, cutoff=0.0)
            problems.append(f"{prefix}{_short(key, str)}: unknown key; the nearest known one is {candidates[near[0]]}")
        elif dataclasses.is_dataclass(types[key]) and isinstance(value, dict):
            problems += _unknown_keys(value, types[key], f"{prefix}{key}.")
    return problems


def _keys(kind: type) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]
