"""The model, and stored arrays -> a model that is known to make sense before anything uses it.

Loading checks every dtype, shape, index and bound, and that every tree is one: children come after their parents,
inside their tree, and no path is deeper than a walk can go. A damaged or crafted file is a `ModelError`, never a crash.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from vertloc.config import PredictionSettings, check_boxes_can_be_summed, settings_from_dict
from vertloc.errors import ConfigError, ModelError
from vertloc.io.model_file import FORMAT_VERSION, StoredModel, read_model_file, write_model_file
from vertloc.kernels.trees import CHILD_ASTRAY, NO_SUCH_LEAF, NOT_ONE_PARENT, SOUND, TOO_DEEP, tree_fault
from vertloc.kernels.walk import STACK_ROWS
from vertloc.settings import CHECKED
from vertloc.stages.context_features import FeaturePool, FeatureRule
from vertloc.stages.dense_labels import N_CLASSES, RadiusFactor
from vertloc.stages.forest import FlatForest
from vertloc.stages.preprocess import PreprocessSettings
from vertloc.stages.shape_model import N_PAIRS, ShapeModel

_VOTE_COLUMNS = 4
_FARTHEST_MM = 1000.0
_DEVIATIONS_MM = (0.01, 1000.0)
_FAULTS = {
    NO_SUCH_LEAF: "a leaf names a row that does not exist",
    CHILD_ASTRAY: "a child does not come after its parent inside the same tree",
    NOT_ONE_PARENT: "a node has two parents or none",
    TOO_DEEP: f"deeper than {STACK_ROWS - 1} levels",
}


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
    naming_forest : leaves are (27,) class distributions, features in the spine's frame; None likewise
    """

    preprocess: PreprocessSettings
    label_radius_factor: float
    settings: PredictionSettings
    classifier: FlatForest
    centre_forest: FlatForest | None
    naming_forest: FlatForest | None
    shape: ShapeModel
    provenance: Provenance


@checked(frozen=True, config=CHECKED)
class StoredSettings:
    """The settings in a model file: what prediction reads, and nothing else.

    A later version may add keys to these classes; see `settings_from_dict` for what older models get.
    classifier, centres, naming : the feature rules of the forests that are there
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
    arrays = _forest_arrays("classifier", model.classifier)
    if model.centre_forest is not None:
        arrays |= _forest_arrays("centres", model.centre_forest)
    if model.naming_forest is not None:
        arrays |= _forest_arrays("naming", model.naming_forest)
    arrays |= {"shape/mean_mm": model.shape.mean_mm, "shape/covariance_mm2": model.shape.covariance_mm2}
    settings, provenance = asdict(_stored_settings(model)), asdict(model.provenance)
    model_of(
        StoredModel(
            Path(path), {"format_version": FORMAT_VERSION, "settings": settings, "provenance": provenance}, arrays
        )
    )
    write_model_file(Path(path), settings, provenance, arrays)


def _stored_settings(model: Model) -> StoredSettings:
    rules = [None if f is None else f.pool.rule for f in (model.centre_forest, model.naming_forest)]
    return StoredSettings(
        model.preprocess, model.label_radius_factor, model.classifier.pool.rule, model.settings, *rules
    )


def load_model(path: Path | str) -> Model:
    """Read and check a model file.

    Raises ModelError naming the file, what was found and what was wanted.
    """
    return model_of(read_model_file(Path(path)))


def model_of(stored: StoredModel) -> Model:
    """Check what a model file holds and make the model of it. Raises ModelError like `load_model`."""
    try:
        return _model(stored.header, stored.arrays)
    except (ConfigError, ValueError) as error:
        raise ModelError(f"{stored.path}: {error}") from error


def _forest_arrays(prefix: str, forest: FlatForest) -> dict[str, NDArray[Any]]:
    return {
        f"{prefix}/roots": forest.roots,
        f"{prefix}/children": forest.children,
        f"{prefix}/features": forest.features,
        f"{prefix}/thresholds": forest.thresholds,
        f"{prefix}/leaf_values": forest.leaf_values,
        f"{prefix}/offset_mm": forest.pool.offset_mm,
        f"{prefix}/size_mm": forest.pool.size_mm,
    }


def _model(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Model:
    settings = settings_from_dict(StoredSettings, header.get("settings"), "its settings", header["format_version"])
    provenance = _provenance(header.get("provenance"))
    centre_forest = naming_forest = None
    if settings.centres is not None:
        centre_forest = _forest(arrays, "centres", _VOTE_COLUMNS, settings.centres)
        _check_votes(centre_forest.leaf_values)
    if settings.naming is not None:
        naming_forest = _forest(arrays, "naming", N_CLASSES, settings.naming)
        _check_distributions(naming_forest.leaf_values, "naming")
    classifier = _forest(arrays, "classifier", N_CLASSES, settings.classifier)
    _check_distributions(classifier.leaf_values, "classifier")
    forests = (classifier, centre_forest, naming_forest)
    how = (settings.preprocess, settings.label_radius_factor, settings.prediction)
    return Model(*how, *forests, _shape_model(arrays), provenance)


def _provenance(raw: object) -> Provenance:
    try:
        return TypeAdapter(Provenance).validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("provenance", *map(str, first["loc"])))
        raise ValueError(f"the header garbles where the model comes from: {where}: {first['msg']}") from error


def _shape_model(arrays: dict[str, NDArray[Any]]) -> ShapeModel:
    mean = _checked(arrays, "shape/mean_mm", np.float64, (N_PAIRS, 3))
    covariance = _checked(arrays, "shape/covariance_mm2", np.float64, (N_PAIRS, 3, 3))
    # Distances along the chain scale the naming forest's features: none may vanish, also over several pairs.
    reached = np.concatenate([np.zeros((1, 3)), np.cumsum(mean, axis=0)])
    distance = np.linalg.norm(reached[:, None] - reached[None], axis=2)[np.triu_indices(N_PAIRS + 1, 1)]
    if distance.min() < 1 or np.abs(mean).max() > _FARTHEST_MM:
        raise ValueError("shape/mean_mm: not the displacements between vertebrae, which are 1 mm to 1 m long")
    low, high = _DEVIATIONS_MM
    if not np.allclose(covariance, covariance.transpose(0, 2, 1), rtol=1e-9, atol=1e-9):
        raise ValueError("shape/covariance_mm2: not symmetric")
    variance = np.linalg.eigvalsh(covariance)
    if not ((variance > low**2) & (variance < high**2)).all():
        raise ValueError(f"shape/covariance_mm2: expected standard deviations within {low} and {high} mm")
    return ShapeModel(mean, covariance)


def _check_distributions(leaves: NDArray[np.float32], prefix: str) -> None:
    with np.errstate(over="ignore"):
        sums = leaves @ np.ones(leaves.shape[1], np.float32)  # ten times faster than a sum over short rows
    if leaves.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError(f"{prefix}/leaf_values: expected class distributions, got rows that do not sum to 1")


def _check_votes(leaves: NDArray[np.float32]) -> None:
    if (np.abs(leaves[:, :3]) > _FARTHEST_MM).any() or (leaves[:, 3] < 0).any() or (leaves[:, 3] > 1).any():
        raise ValueError("centres/leaf_values: expected displacements of at most 1 m and weights within 0 and 1")


def _forest(arrays: dict[str, NDArray[Any]], prefix: str, columns: int, rule: FeatureRule) -> FlatForest:
    roots = _checked(arrays, f"{prefix}/roots", np.int64, (None,))
    children = _checked(arrays, f"{prefix}/children", np.int32, (None, 2))
    n_nodes = len(children)
    features = _checked(arrays, f"{prefix}/features", np.int32, (n_nodes,))
    thresholds = _checked(arrays, f"{prefix}/thresholds", np.float32, (n_nodes,))
    leaf_values = _checked(arrays, f"{prefix}/leaf_values", np.float32, (None, columns))
    offset_mm = _checked(arrays, f"{prefix}/offset_mm", np.float32, (None, 2, 3))
    size_mm = _checked(arrays, f"{prefix}/size_mm", np.float32, (len(offset_mm), 2, 3))
    # Memory is padded by what the rule reaches; single precision may round a little past it.
    farthest, largest = rule.largest_offset_mm * 1.0001, rule.largest_size_mm * 1.0001
    if (size_mm < 0).any() or (size_mm > largest).any() or (np.abs(offset_mm) > farthest).any():
        raise ValueError(f"{prefix}: a feature reaches further than its rule lets it")
    if ((features < 0) | (features >= len(offset_mm))).any():
        raise ValueError(f"{prefix}/features: a node names a feature that is not in the pool")
    _check_trees(roots, children, len(leaf_values), prefix)
    pool = FeaturePool(offset_mm, size_mm, rule)
    return FlatForest(roots, children, features, thresholds, leaf_values, pool)


def _check_trees(roots: NDArray[np.int64], children: NDArray[np.int32], n_leaves: int, prefix: str) -> None:
    n_nodes = len(children)
    if len(roots) == 0 or roots[0] != 0 or (np.diff(roots) <= 0).any() or roots[-1] >= n_nodes:
        raise ValueError(f"{prefix}/roots: not the rising first nodes of trees among {n_nodes} nodes")
    fault = tree_fault(roots, children, n_leaves, STACK_ROWS - 1)
    if fault != SOUND:
        raise ValueError(f"{prefix}/children: {_FAULTS[fault]}")


def _checked(arrays: dict[str, NDArray[Any]], name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return an array of the wanted type and shape with finite values; None in `shape` allows any length."""
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(w is None or n == w for n, w in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        raise ValueError(f"{name}: found {array.dtype} {array.shape}, wanted {np.dtype(dtype)} {shape}")
    # NaN passes through both, so no mask of the array's size is needed.
    if array.dtype.kind == "f" and array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise ValueError(f"{name}: holds values that are not finite")
    return np.ascontiguousarray(array)
