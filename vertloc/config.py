"""YAML -> one frozen, validated tree of the stages' settings.

An unknown key is an error that names the nearest known one; a value of the wrong type or out of range is an error that
names the field, what was found and what was wanted.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vertloc.errors import ConfigError
from vertloc.io.yaml_file import read_yaml
from vertloc.settings import CHECKED, Before
from vertloc.stages.centre_votes import CentreVoteSettings
from vertloc.stages.centroid_density import DensitySettings
from vertloc.stages.certainty import CertaintySettings
from vertloc.stages.context_features import ContextFeatureSettings, FeatureRule
from vertloc.stages.dense_labels import DenseLabelSettings
from vertloc.stages.discriminant import DiscriminantSettings
from vertloc.stages.naming import NamingSettings
from vertloc.stages.naming_samples import NamingSampleSettings
from vertloc.stages.posterior import PosteriorSettings
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.sampling import CentreSampleSettings, SamplingSettings
from vertloc.stages.shape_labelling import ShapeSettings
from vertloc.stages.shape_model import ShapeModelSettings
from vertloc.stages.tree_growing import ForestSettings

Settings = TypeVar("Settings")

# Padded by this much on every side, even a small scan takes 100 MB as an integral image.
_FARTHEST_VOXELS = 150
# Sums of boxes are exact as long as they fit the integral image's 32 bits; frames of large patients scale boxes by 5/4.
_LARGEST_SUM = 2**31
_LARGEST_SCALE = 1.25


@dataclass(frozen=True, config=CHECKED)
class ClassifierSettings:
    """The classification forest: which vertebra does a voxel belong to? It sees far, and tells the level.

    samples : voxels of a training scan that are shown to the trees
    features : what it sees: box means up to `largest_offset_mm` away
    forest : how its trees grow
    """

    samples: SamplingSettings = field(default_factory=SamplingSettings)
    features: ContextFeatureSettings = field(default_factory=ContextFeatureSettings)
    forest: ForestSettings = field(default_factory=ForestSettings)


@dataclass(frozen=True, config=CHECKED)
class CentreForestSettings:
    """The centre forest: from a voxel, where is the nearest centroid? It sees near things, which makes its votes sharp.

    grow : false: there is no centre forest; candidates come from the class densities alone
    samples : voxels of a training scan that are shown to the trees
    features : what it sees: the vertebra and its two neighbours
    forest : how its trees grow; votes of many voxels add up, so few trees do, and a mean displacement needs more
        samples than a class
    """

    grow: bool = True
    samples: CentreSampleSettings = field(default_factory=CentreSampleSettings)
    features: ContextFeatureSettings = field(
        default_factory=lambda: ContextFeatureSettings(largest_offset_mm=45.0, largest_size_mm=25.0)
    )
    forest: ForestSettings = field(
        default_factory=lambda: ForestSettings(
            n_trees=8, max_depth=20, min_samples_leaf=8, features_per_tree=300, features_per_node=60
        )
    )


@dataclass(frozen=True, config=CHECKED)
class NamingDiscriminantSettings:
    """The naming discriminant: which vertebra is centred here? It looks from the spine, in the spine's own frame.

    learn : false: there is none; the first chain is the result
    samples : places around the centroids that it is taught with
    features : what it sees, further than the classification forest: ribs, pelvis, skull base
    discriminant : how it is learnt
    """

    learn: bool = True
    samples: NamingSampleSettings = field(default_factory=NamingSampleSettings)
    features: ContextFeatureSettings = field(
        default_factory=lambda: ContextFeatureSettings(
            largest_offset_mm=110.0, largest_size_mm=45.0, lowest_hu=-150.0, highest_hu=350.0
        )
    )
    discriminant: DiscriminantSettings = field(default_factory=DiscriminantSettings)


@dataclass(frozen=True, config=CHECKED)
class PredictionSettings:
    """How a model is applied; stored in the model, and the only settings that `predict --config` changes.

    posterior : volume -> class posterior
    votes : class posterior -> places where vertebral bodies are centred
    density : class posterior and places -> candidates of each vertebra
    chain : candidates -> the most plausible chain
    naming : the same places, named again in the spine's own frame
    certainty : how sure the names are
    """

    posterior: PosteriorSettings = field(default_factory=PosteriorSettings)
    votes: CentreVoteSettings = field(default_factory=CentreVoteSettings)
    density: DensitySettings = field(default_factory=DensitySettings)
    chain: ShapeSettings = field(default_factory=ShapeSettings)
    naming: NamingSettings = field(default_factory=NamingSettings)
    certainty: CertaintySettings = field(default_factory=CertaintySettings)


@dataclass(frozen=True, config=CHECKED)
class Config:
    """All settings: how the forests, the discriminant and the shape model are learnt, and how the model is applied.

    preprocess : scan -> small isotropic volume along the patient's axes
    labels : annotated centroids -> a distribution over 26 vertebrae and background at every voxel
    classifier, centres : the two forests
    naming : the discriminant that names the places they find
    shape : annotated centroids -> displacements between neighbouring vertebrae
    prediction : how the trained model is applied
    """

    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    labels: DenseLabelSettings = field(default_factory=DenseLabelSettings)
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    centres: CentreForestSettings = field(default_factory=CentreForestSettings)
    naming: NamingDiscriminantSettings = field(default_factory=NamingDiscriminantSettings)
    shape: ShapeModelSettings = field(default_factory=ShapeModelSettings)
    prediction: PredictionSettings = field(default_factory=PredictionSettings)

    def __post_init__(self) -> None:
        for name, features in (
            ("classifier", self.classifier.features),
            ("centres", self.centres.features),
            ("naming", self.naming.features),
        ):
            check_boxes_can_be_summed(f"{name}.features", features.rule, self.preprocess)

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values: what YAML or JSON would hold."""
        return dataclasses.asdict(self)

    def as_yaml(self) -> str:
        """Return the text of a configuration file that says the same, without comments."""
        text: str = yaml.safe_dump(self.as_dict(), sort_keys=False)
        return text


def read_config(path: Path | str) -> Config:
    """Read a YAML configuration; keys that are left out keep their defaults.

    Raises ConfigError if the file cannot be read, is not a mapping, or holds an unknown key or an impossible value.
    """
    path = Path(path)
    return config_from_dict(read_yaml(path), str(path))


def read_prediction_settings(path: Path | str, base: PredictionSettings) -> PredictionSettings:
    """Read the section `prediction` of a YAML file; keys that are left out stay as they are in `base`.

    Raises ConfigError like `read_config`, also for the sections that take effect only when a model is trained.
    """
    path = Path(path)
    data = read_yaml(path)
    if isinstance(data, dict):
        training = [key for key in _keys(Config) if key in data and key != "prediction"]
        if training:
            raise ConfigError(
                f"{path}: {', '.join(training)}: taken from the model, which was trained with it; only the section"
                " 'prediction' can be changed when a model is applied"
            )
    merged = _validated(Config, data, {"prediction": dataclasses.asdict(base)}, str(path))
    return merged.prediction


def config_from_dict(data: object, source: str) -> Config:
    """Validate nested plain values of a configuration; `source` names them in messages.

    Sections and keys that are left out keep their defaults. Raises ConfigError, listing every problem.
    """
    return _validated(Config, data, Config().as_dict(), source)


def settings_from_dict(kind: type[Settings], data: object, source: str, version: int) -> Settings:
    """Validate nested plain values that an earlier version may have written; `source` names them in messages.

    version : of the format they are stored in. A key that is missing was added since: it gets what its `Before` says
        for that version, or else its default. Raises ConfigError, listing every problem.
    """
    return _validated(kind, data, _older_defaults(kind, version), source)


def _older_defaults(kind: type, version: int) -> dict[str, Any]:
    """Nested values that the keys of settings had, by what they say, in models of an older format."""
    defaults: dict[str, Any] = {}
    for key, hint in _hints(kind).items():
        section = _section(hint)
        if section is not None:
            defaults[key] = _older_defaults(section, version)
        for mark in get_args(hint):
            if isinstance(mark, Before) and version < mark.version:
                defaults[key] = mark.value
    return {key: value for key, value in defaults.items() if value != {}}


def _validated(kind: type[Settings], data: object, defaults: dict[str, Any], source: str) -> Settings:
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected a mapping of sections to settings, got {type(data).__name__}")
    problems = _unknown_keys(data, kind, "")
    if problems:
        raise ConfigError(f"{source}: " + "; ".join(problems))
    try:
        # What is no plain value is checked as its text, which is of no wanted type either.
        text = json.dumps(_merged(kind, defaults, data), default=str)
        settings: Settings = TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(map(_problem, error.errors()))) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: holds a value of no plain type: {error}") from error
    return settings


def _merged(kind: type, defaults: dict[str, Any], data: dict[Any, Any]) -> dict[Any, Any]:
    """Put `data` over `defaults`, section by section; an empty section changes nothing."""
    types = _hints(kind)
    merged = dict(defaults)
    for key, value in data.items():
        section = _section(types[key])
        if section is not None and isinstance(value, dict | None) and (value or key in defaults):
            merged[key] = _merged(section, defaults.get(key) or {}, value or {})
        else:
            merged[key] = value
    return merged


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


def check_boxes_can_be_summed(section: str, rule: FeatureRule, image: PreprocessSettings) -> None:
    """Raise ValueError if features reach too far for the memory, or their boxes hold too much for an exact sum."""
    farthest = rule.reach_mm / image.spacing_mm
    if not farthest <= _FARTHEST_VOXELS:
        raise ValueError(
            f"{section}: largest_offset_mm + largest_size_mm / 2 = {rule.reach_mm:g} mm reach {farthest:.0f} voxels"
            f" at preprocess.spacing_mm {image.spacing_mm:g}; at most {_FARTHEST_VOXELS} are allowed"
        )
    voxels = (rule.largest_size_mm * _LARGEST_SCALE / image.spacing_mm + 1) ** 3
    outside = round(rule.outside_hu)
    intensity = max(abs(image.lowest_hu - outside), abs(image.highest_hu - outside))
    if not voxels * intensity < _LARGEST_SUM:
        raise ValueError(
            f"{section}: a box of largest_size_mm {rule.largest_size_mm:g} holds too many voxels of"
            f" preprocess.spacing_mm {image.spacing_mm:g} for an exact sum"
        )


def _unknown_keys(data: dict[Any, Any], kind: type, prefix: str) -> list[str]:
    """List the keys that no settings class knows, each with the nearest one that is known."""
    types = _hints(kind)
    problems = []
    for key, value in data.items():
        if key not in types:
            here = {name: prefix + name for name in sorted(types)}
            candidates = here if prefix or isinstance(value, dict) else _all_keys(kind)
            near = difflib.get_close_matches(str(key), candidates, n=1, cutoff=0.0)
            problems.append(f"{prefix}{_short(key, str)}: unknown key; the nearest known one is {candidates[near[0]]}")
            continue
        section = _section(types[key])
        if section is not None and isinstance(value, dict):
            problems += _unknown_keys(value, section, f"{prefix}{key}.")
    return problems


def _all_keys(kind: type, prefix: str = "") -> dict[str, str]:
    """Every key of a tree of settings, with the full name of its first place."""
    found: dict[str, str] = {}
    for key, hint in _hints(kind).items():
        found.setdefault(key, prefix + key)
        section = _section(hint)
        if section is not None:
            found = _all_keys(section, f"{prefix}{key}.") | found
    return found


def _section(hint: Any) -> type | None:
    """Return the settings class that a field holds, optional or not, or None for a plain value."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    return None


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Types of the fields of a settings class; they are text in the source, and compiled here."""
    return get_type_hints(kind, include_extras=True)


def _keys(kind: type) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]
