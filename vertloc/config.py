"""YAML -> one frozen, validated tree of the stages' settings.

An unknown key is an error that names the nearest known one; a value of the wrong type or out of range is an error that
names the field, what was found and what was wanted.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
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
from vertloc.stages.forest_growing import ForestSettings
from vertloc.stages.naming import NamingSettings
from vertloc.stages.naming_samples import NamingSampleSettings
from vertloc.stages.posterior import PosteriorSettings
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.sampling import SamplingSettings
from vertloc.stages.shape_labelling import ShapeSettings
from vertloc.stages.shape_model import ShapeModelSettings

_MOST_BYTES = 1_000_000


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
        )
    )
    posterior: PosteriorSettings = field(default_factory=PosteriorSettings)
    centre_votes: CentreVoteSettings = field(default_factory=CentreVoteSettings)
    density: DensitySettings = field(default_factory=DensitySettings)
    shape_model: ShapeModelSettings = field(default_factory=ShapeModelSettings)
    shape: ShapeSettings = field(default_factory=ShapeSettings)
    naming: NamingSettings = field(default_factory=NamingSettings)

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
        # Aliases could make a small file unfold to a huge one; no configuration needs them.
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ConfigError(f"{path}: YAML aliases are not allowed here")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
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
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {section}: expected a mapping of settings, got {values!r}")
        merged[section].update(values)
    try:
        return TypeAdapter(Config).validate_json(json.dumps(merged), strict=True)
    except TypeError as error:
        raise ConfigError(f"{source}: a value is of no plain type: {error}") from error
    except ValidationError as error:
        found = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(found)) from error


def _unknown_keys(data: dict[Any, Any], kind: type, prefix: str) -> list[str]:
    known = {f.name for f in dataclasses.fields(kind)}
    types = get_type_hints(kind)
    problems = []
    for key, value in data.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0.0)
            problems.append(f"{prefix}{key}: unknown key; the nearest known one is {prefix}{near[0]}")
        elif dataclasses.is_dataclass(types[key]) and isinstance(value, dict):
            problems += _unknown_keys(value, types[key], f"{prefix}{key}.")
    return problems
