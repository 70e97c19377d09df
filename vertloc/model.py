"""The model, and stored arrays -> a model that is known to make sense before anything uses it.

Loading checks every dtype, shape, index and bound, and that every tree is one that a walk can go down. A damaged or
crafted file is a `ModelError`, never a crash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from vertloc.config import PredictionSettings, check_boxes_can_be_summed, settings_from_dict
from vertloc.errors import ConfigError, ModelError
from vertloc.io.model_file import FORMAT_VERSION, StoredModel, read_model_file, write_model_file
from vertloc.models import find_model
from vertloc.settings import CHECKED
from vertloc.stages.context_features import FeatureRule
from vertloc.stages.dense_labels import N_CLASSES, RadiusFactor
from vertloc.stages.discriminant import LinearDiscriminant
from vertloc.stages.forest import FlatForest
from vertloc.stages.packed_discriminant import pack_discriminant, unpack_discriminant
from vertloc.stages.packed_forest import pack_forest, unpack_distributions, unpack_votes
from vertloc.stages.packed_shape import pack_shape, unpack_shape
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.shape_model import ShapeModel


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    vertloc : package version; seed : of the training; n_scans, n_patients : trained on
    folds : names of the fold files; labels : number of training centroids of each vertebra
    configuration : all settings of the training, as the text of a configuration file: to be read, not used
    """

    vertloc: str
    seed: int
    n_scans: int
    n_patients: int
    folds: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    configuration: str = ""


@dataclass(frozen=True, eq=False)
class Model:
    """Everything a prediction needs.

    preprocess : how the scans were prepared that it was trained on, and all others must be
    label_radius_factor : how wide its labels were; see `DenseLabelSettings`
    settings : how it is applied
    classifier : leaves are (27,) class distributions
    centre_forest : leaves are (4,) votes; None if it was trained without
    discriminant : names places, with features in the spine's frame; None likewise
    """

    preprocess: PreprocessSettings
    label_radius_factor: float
    settings: PredictionSettings
    classifier: FlatForest
    centre_forest: FlatForest | None
    discriminant: LinearDiscriminant | None
    shape: ShapeModel
    provenance: Provenance


@checked(frozen=True, config=CHECKED)
class StoredSettings:
    """The settings in a model file: what prediction reads, and nothing else.

    A later version may add keys to these classes; see `settings_from_dict` for what older models get.
    classifier, centres, naming : the feature rules of the parts that are there
    """

    preprocess: PreprocessSettings
    label_radius_factor: RadiusFactor
    classifier: FeatureRule
    prediction: PredictionSettings
    centres: FeatureRule | None = None
    naming: FeatureRule | None = None

    def __post_init__(self) -> None:
        for name, rule in (("classifier", self.classifier), ("centres", self.centres), ("naming", self.naming)):
            if rule is not None:
                check_boxes_can_be_summed(name, rule, self.preprocess)


def save_model(model: Model, path: Path | str) -> None:
    """Write a model file, under a temporary name first. The same model gives the same bytes.

    Raises ModelError, before anything is written, for a model that `load_model` would refuse.
    """
    arrays = _named("classifier", pack_forest(model.classifier))
    if model.centre_forest is not None:
        arrays |= _named("centres", pack_forest(model.centre_forest))
    if model.discriminant is not None:
        arrays |= _named("naming", pack_discriminant(model.discriminant))
    arrays |= _named("shape", pack_shape(model.shape))
    settings, provenance = asdict(_stored_settings(model)), asdict(model.provenance)
    model_of(
        StoredModel(
            Path(path), {"format_version": FORMAT_VERSION, "settings": settings, "provenance": provenance}, arrays
        )
    )
    write_model_file(Path(path), settings, provenance, arrays)


def _stored_settings(model: Model) -> StoredSettings:
    rules = [None if part is None else part.pool.rule for part in (model.centre_forest, model.discriminant)]
    return StoredSettings(
        model.preprocess, model.label_radius_factor, model.classifier.pool.rule, model.settings, *rules
    )


def load_model(model: Path | str | None = None) -> Model:
    """Read and check a model.

    model : a file, the name of a model that comes with the package, or None for its default one

    Raises ModelError naming the file, what was found and what was wanted.
    """
    return model_of(read_model_file(find_model(model)))


def model_of(stored: StoredModel) -> Model:
    """Check what a model file holds and make the model of it. Raises ModelError like `load_model`."""
    try:
        return _model(stored.header, stored.arrays)
    except (ConfigError, ValueError) as error:
        raise ModelError(f"{stored.path}: {error}") from error


def _named(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _model(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Model:
    version = header["format_version"]
    settings = settings_from_dict(StoredSettings, header.get("settings"), "its settings", version)
    provenance = _provenance(header.get("provenance"))
    classifier = _forest(arrays, "classifier", settings.classifier)
    centre_forest = None if settings.centres is None else _forest(arrays, "centres", settings.centres, votes=True)
    discriminant = None if settings.naming is None else _discriminant(arrays, settings.naming, version)
    how = (settings.preprocess, settings.label_radius_factor, settings.prediction)
    return Model(*how, classifier, centre_forest, discriminant, _shape(arrays), provenance)


def _provenance(raw: object) -> Provenance:
    try:
        return TypeAdapter(Provenance).validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("provenance", *map(str, first["loc"])))
        raise ValueError(f"the header garbles where the model comes from: {where}: {first['msg']}") from error


def _forest(arrays: Mapping[str, NDArray[Any]], prefix: str, rule: FeatureRule, votes: bool = False) -> FlatForest:
    own = _own(arrays, prefix)
    try:
        return unpack_votes(own, rule) if votes else unpack_distributions(own, rule, N_CLASSES)
    except ValueError as error:
        raise ValueError(f"{prefix}/{error}") from error


def _discriminant(arrays: Mapping[str, NDArray[Any]], rule: FeatureRule, version: int) -> LinearDiscriminant:
    try:
        return unpack_discriminant(_own(arrays, "naming"), rule, N_CLASSES, version)
    except ValueError as error:
        raise ValueError(f"naming/{error}") from error


def _shape(arrays: Mapping[str, NDArray[Any]]) -> ShapeModel:
    try:
        return unpack_shape(_own(arrays, "shape"))
    except ValueError as error:
        raise ValueError(f"shape/{error}") from error


def _own(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
