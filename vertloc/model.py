"""The model and its file: one uncompressed `.npz` with a JSON header, checked before anything uses it.

The file holds no pickle and runs no code. Loading checks every dtype, shape, index and bound, and that every tree is
one: children come after their parents, inside their tree, and no path is deeper than a walk can go. A damaged or
crafted file is a `ModelError`, never a crash.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from vertloc.config import Config, config_from_dict
from vertloc.errors import ConfigError, ModelError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.kernels.walk import STACK_ROWS
from vertloc.stages.context_features import ContextFeatureSettings, FeaturePool
from vertloc.stages.dense_labels import N_CLASSES
from vertloc.stages.forest import FlatForest
from vertloc.stages.shape_model import N_PAIRS, ShapeModel
from vertloc.vertebrae import VERTEBRAE

FORMAT_VERSION = 1
_HEADER = "header.json"
_MOST_HEADER_BYTES = 4_000_000
_VOTE_COLUMNS = 4
_FARTHEST_MM = 1000.0
_DEVIATIONS_MM = (0.01, 1000.0)
_FOREST_ARRAYS = ("roots", "children", "features", "thresholds", "leaf_values", "offset_mm", "size_mm")
_ARRAYS = (
    *(f"{prefix}/{name}" for prefix in ("classifier", "centres", "naming") for name in _FOREST_ARRAYS),
    "shape/mean_mm",
    "shape/covariance_mm2",
)
_DTYPES = ("<i4", "<i8", "<f4", "<f8")
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype>%s)', 'fortran_order': False, 'shape': "
    rb"\((?P<shape>[0-9]{1,12}(, ?[0-9]{1,12})*,?)\), \} *\n" % "|".join(_DTYPES).encode(),
    re.DOTALL,
)


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    vertloc : package version; seed : of the training; n_scans, n_patients : trained on
    folds : names of the fold files; labels : number of training centroids of each vertebra
    """

    vertloc: str
    seed: int
    n_scans: int
    n_patients: int
    folds: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Model:
    """Everything a prediction needs.

    classifier : leaves are (27,) class distributions
    centre_forest : leaves are (4,) votes; None if the configuration does without
    naming_forest : leaves are (27,) class distributions, features in the spine's frame; None likewise
    """

    config: Config
    classifier: FlatForest
    centre_forest: FlatForest | None
    naming_forest: FlatForest | None
    shape: ShapeModel
    provenance: Provenance


def save_model(model: Model, path: Path | str) -> None:
    """Write a model file, under a temporary name first. The same model gives the same bytes."""
    arrays = _forest_arrays("classifier", model.classifier)
    if model.centre_forest is not None:
        arrays |= _forest_arrays("centres", model.centre_forest)
    if model.naming_forest is not None:
        arrays |= _forest_arrays("naming", model.naming_forest)
    arrays |= {"shape/mean_mm": model.shape.mean_mm, "shape/covariance_mm2": model.shape.covariance_mm2}
    header = {
        "format": "vertloc model",
        "format_version": FORMAT_VERSION,
        "labels": list(VERTEBRAE),
        "config": model.config.as_dict(),
        "provenance": asdict(model.provenance),
        "sha256": {name: _checksum(array) for name, array in arrays.items()},
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER), json.dumps(header, indent=1))
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                npy_format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes_atomically(Path(path), out.getvalue())


def load_model(path: Path | str) -> Model:
    """Read and check a model file.

    Raises ModelError naming the file, what was found and what was wanted.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelError(f"{path}: expected a model file, got a folder")
    try:
        with zipfile.ZipFile(path) as archive:
            header = _read_header(archive)
            arrays = _read_arrays(archive, header)
        return _model(header, arrays)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, struct.error) as error:
        raise ModelError(f"{path}: not a model file, or a damaged one: {error}") from error
    except (ConfigError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error


def _checksum(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data).hexdigest()


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


def _read_header(archive: zipfile.ZipFile) -> dict[str, Any]:
    members = archive.infolist()
    if _HEADER not in archive.namelist():
        raise ValueError(f"no {_HEADER} inside; not a vertloc model")
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in members):
        raise ValueError("compressed members; a vertloc model is stored uncompressed")
    if archive.getinfo(_HEADER).file_size > _MOST_HEADER_BYTES:
        raise ValueError(f"the header is larger than {_MOST_HEADER_BYTES} bytes")
    try:
        header = json.loads(archive.read(_HEADER))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != "vertloc model":
        raise ValueError("the header does not describe a vertloc model")
    version = header.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ValueError(f"format version {version!r}, this vertloc reads {FORMAT_VERSION}; train the model again")
    if header.get("labels") != list(VERTEBRAE):
        raise ValueError("the label table differs from C1 ... S2")
    return header


def _read_arrays(archive: zipfile.ZipFile, header: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Read the arrays that a model has, each once; what else lies in the file is not looked at."""
    checksums = header.get("sha256")
    if not isinstance(checksums, dict):
        raise ValueError("the header lacks the checksums")
    arrays = {}
    for name in _ARRAYS:
        if f"{name}.npy" in archive.namelist():
            try:
                array = _read_array(archive.read(f"{name}.npy"))
            except zipfile.BadZipFile as error:
                raise ValueError(f"{name} is damaged: {error}") from error
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            if _checksum(array) != checksums.get(name):
                raise ValueError(f"{name} is damaged: its checksum differs from the header's")
            arrays[name] = array
    return arrays


def _read_array(data: bytes) -> NDArray[Any]:
    """Read an array as `save_model` writes it: C order, plain little-endian numbers, nothing that numpy would evaluate.

    The size that the header promises is compared with the bytes that are there before anything is made of it.
    """
    match = _NPY_HEADER.match(data)
    if match is None or match.end() != 10 + int.from_bytes(data[8:10], "little"):
        raise ValueError(f"expected an array of {' '.join(_DTYPES)} in .npy format 1.0, got {data[:60]!r}")
    shape = tuple(int(n) for n in match["shape"].replace(b" ", b"").split(b",") if n)
    dtype = np.dtype(match["dtype"].decode())
    promised, found = math.prod(shape) * dtype.itemsize, len(data) - match.end()
    if promised != found:
        raise ValueError(f"shape {shape} of {dtype} needs {promised} bytes, found {found}")
    # A copy can be written to, like the arrays of a trained model: the kernels are compiled for one kind only.
    return np.frombuffer(data, dtype, offset=match.end()).reshape(shape).copy()


def _model(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Model:
    config = config_from_dict(header.get("config"), "its configuration")
    if config.as_dict() != header["config"]:
        raise ValueError("its configuration leaves settings out; train the model again")
    provenance = _provenance(header.get("provenance"))
    centre_forest = naming_forest = None
    if config.centre_votes.use_votes:
        centre_forest = _forest(arrays, "centres", _VOTE_COLUMNS, config.centre_features)
        _refuse_wild_votes(centre_forest.leaf_values)
    if config.naming.use_naming:
        naming_forest = _forest(arrays, "naming", N_CLASSES, config.naming_features)
        _refuse_what_is_no_distribution(naming_forest.leaf_values, "naming")
    classifier = _forest(arrays, "classifier", N_CLASSES, config.features)
    _refuse_what_is_no_distribution(classifier.leaf_values, "classifier")
    return Model(config, classifier, centre_forest, naming_forest, _shape_model(arrays), provenance)


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


def _refuse_what_is_no_distribution(leaves: NDArray[np.float32], prefix: str) -> None:
    if (leaves < 0).any() or (np.abs(leaves.sum(axis=1, dtype=np.float64) - 1) > 1e-3).any():
        raise ValueError(f"{prefix}/leaf_values: expected class distributions, got rows that do not sum to 1")


def _refuse_wild_votes(leaves: NDArray[np.float32]) -> None:
    if (np.abs(leaves[:, :3]) > _FARTHEST_MM).any() or (leaves[:, 3] < 0).any() or (leaves[:, 3] > 1).any():
        raise ValueError("centres/leaf_values: expected displacements of at most 1 m and weights within 0 and 1")


def _forest(arrays: dict[str, NDArray[Any]], prefix: str, columns: int, settings: ContextFeatureSettings) -> FlatForest:
    roots = _checked(arrays, f"{prefix}/roots", np.int64, (None,))
    children = _checked(arrays, f"{prefix}/children", np.int32, (None, 2))
    n_nodes = len(children)
    features = _checked(arrays, f"{prefix}/features", np.int32, (n_nodes,))
    thresholds = _checked(arrays, f"{prefix}/thresholds", np.float32, (n_nodes,))
    leaf_values = _checked(arrays, f"{prefix}/leaf_values", np.float32, (None, columns))
    offset_mm = _checked(arrays, f"{prefix}/offset_mm", np.float32, (None, 2, 3))
    size_mm = _checked(arrays, f"{prefix}/size_mm", np.float32, (len(offset_mm), 2, 3))
    # Memory is padded by what the settings reach; single precision may round a little past it.
    farthest, largest = settings.largest_offset_mm * 1.0001, settings.largest_size_mm * 1.0001
    if (size_mm < 0).any() or (size_mm > largest).any() or (np.abs(offset_mm) > farthest).any():
        raise ValueError(f"{prefix}: a feature reaches further than the settings let it")
    if ((features < 0) | (features >= len(offset_mm))).any():
        raise ValueError(f"{prefix}/features: a node names a feature that is not in the pool")
    _refuse_what_is_no_tree(roots, children, len(leaf_values), prefix)
    pool = FeaturePool(offset_mm, size_mm)
    return FlatForest(roots, children, features, thresholds, leaf_values, pool)


def _refuse_what_is_no_tree(roots: NDArray[np.int64], children: NDArray[np.int32], n_leaves: int, prefix: str) -> None:
    n_nodes = len(children)
    if len(roots) == 0 or roots[0] != 0 or (np.diff(roots) <= 0).any() or roots[-1] >= n_nodes:
        raise ValueError(f"{prefix}/roots: not the rising first nodes of trees among {n_nodes} nodes")
    is_leaf = children[:, 0] < 0
    if ((children[is_leaf, 1] < 0) | (children[is_leaf, 1] >= n_leaves)).any():
        raise ValueError(f"{prefix}/children: a leaf names a row that does not exist")
    node = np.arange(n_nodes)
    end = np.append(roots[1:], n_nodes)[np.searchsorted(roots, node, side="right") - 1]
    inner = node[~is_leaf]
    below = children[~is_leaf].astype(np.int64)
    if ((below <= inner[:, None]) | (below >= end[inner][:, None])).any():
        raise ValueError(f"{prefix}/children: a child does not come after its parent inside the same tree")
    if (np.bincount(below.reshape(-1), minlength=1) > 1).any() or below.size != n_nodes - len(roots):
        raise ValueError(f"{prefix}/children: a node has two parents or none")
    # Children come after their parents, so passes from the top settle the depths; a walk's stack bounds their number.
    level, depth = roots, 0
    while len(level):
        level = children[level][~is_leaf[level]].reshape(-1).astype(np.int64)
        depth += 1
        if depth >= STACK_ROWS:
            raise ValueError(f"{prefix}/children: deeper than {STACK_ROWS - 1} levels")


def _checked(arrays: dict[str, NDArray[Any]], name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return an array of the wanted type and shape with finite values; None in `shape` allows any length."""
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(w is None or n == w for n, w in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        raise ValueError(f"{name}: found {array.dtype} {array.shape}, wanted {np.dtype(dtype)} {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: holds values that are not finite")
    return np.ascontiguousarray(array)
