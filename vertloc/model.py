"""The model and its file: one uncompressed `.npz` with a JSON header, checked before anything uses it.

The file holds no pickle and runs no code. Loading checks every dtype, shape, index and bound, and that every tree is
one: children come after their parents, inside their tree, and no path is deeper than a walk can go. A damaged or
crafted file is a `ModelError`, never a crash.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from vertloc.config import Config, config_from_dict
from vertloc.errors import ConfigError, ModelError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.kernels.walk import STACK_ROWS
from vertloc.stages.context_features import FeaturePool
from vertloc.stages.dense_labels import N_CLASSES
from vertloc.stages.forest import FlatForest
from vertloc.stages.shape_model import N_PAIRS, ShapeModel
from vertloc.vertebrae import VERTEBRAE

FORMAT_VERSION = 1
_HEADER = "header.json"
_MOST_HEADER_BYTES = 4_000_000
_VOTE_COLUMNS = 4


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
    try:
        with zipfile.ZipFile(path) as archive:
            header = _read_header(archive, path)
            arrays = _read_arrays(archive, header, path)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: not a readable model file: {error}") from error
    try:
        return _model(header, arrays)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: the model lacks or garbles {error}") from error
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


def _read_header(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    names = archive.namelist()
    if _HEADER not in names:
        raise ModelError(f"{path}: no {_HEADER} inside; not a vertloc model")
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise ModelError(f"{path}: compressed members; a vertloc model is stored uncompressed")
    if archive.getinfo(_HEADER).file_size > _MOST_HEADER_BYTES:
        raise ModelError(f"{path}: the header is larger than {_MOST_HEADER_BYTES} bytes")
    try:
        header = json.loads(archive.read(_HEADER))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: the header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != "vertloc model":
        raise ModelError(f"{path}: the header does not describe a vertloc model")
    if header.get("format_version") != FORMAT_VERSION:
        found = header.get("format_version")
        raise ModelError(
            f"{path}: format version {found!r}, this vertloc reads {FORMAT_VERSION}; train the model again"
        )
    if header.get("labels") != list(VERTEBRAE):
        raise ModelError(f"{path}: the label table differs from C1 ... S2")
    return header


def _read_arrays(archive: zipfile.ZipFile, header: dict[str, Any], path: Path) -> dict[str, NDArray[Any]]:
    checksums = header.get("sha256")
    if not isinstance(checksums, dict):
        raise ModelError(f"{path}: the header lacks the checksums")
    arrays = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if info.filename == _HEADER or name not in checksums:
            continue
        data = archive.read(info)
        try:
            _refuse_lying_shape(data)
            array = npy_format.read_array(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            raise ModelError(f"{path}: {name}: {error}") from error
        if _checksum(array) != checksums[name]:
            raise ModelError(f"{path}: {name} is damaged: its checksum differs from the header's")
        arrays[name] = array
    return arrays


def _refuse_lying_shape(data: bytes) -> None:
    """Compare the size that an array's own header promises with the bytes that are there, before anything allocates."""
    stream = io.BytesIO(data)
    version = npy_format.read_magic(stream)
    reader = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"array format {version} is not known here")
    shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise ValueError("arrays of objects are not allowed")
    promised = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    if promised != len(data) - stream.tell():
        raise ValueError(f"shape {shape} of {dtype} needs {promised} bytes, found {len(data) - stream.tell()}")


def _model(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Model:
    config = config_from_dict(header["config"], "its configuration")
    raw = header["provenance"]
    provenance = Provenance(
        vertloc=str(raw["vertloc"]),
        seed=int(raw["seed"]),
        n_scans=int(raw["n_scans"]),
        n_patients=int(raw["n_patients"]),
        folds=tuple(str(fold) for fold in raw["folds"]),
        labels={str(name): int(count) for name, count in raw["labels"].items()},
    )
    centre_forest = None
    if config.centre_votes.use_votes:
        centre_forest = _forest(arrays, "centres", _VOTE_COLUMNS)
    naming_forest = None
    if config.naming.use_naming:
        naming_forest = _forest(arrays, "naming", N_CLASSES)
    shape = ShapeModel(
        _checked(arrays, "shape/mean_mm", np.float64, (N_PAIRS, 3)),
        _checked(arrays, "shape/covariance_mm2", np.float64, (N_PAIRS, 3, 3)),
    )
    if not (np.linalg.eigvalsh(shape.covariance_mm2) > 0).all():
        raise ValueError("shape/covariance_mm2: not positive definite")
    return Model(config, _forest(arrays, "classifier", N_CLASSES), centre_forest, naming_forest, shape, provenance)


def _forest(arrays: dict[str, NDArray[Any]], prefix: str, columns: int) -> FlatForest:
    roots = _checked(arrays, f"{prefix}/roots", np.int64, (None,))
    children = _checked(arrays, f"{prefix}/children", np.int32, (None, 2))
    n_nodes = len(children)
    features = _checked(arrays, f"{prefix}/features", np.int32, (n_nodes,))
    thresholds = _checked(arrays, f"{prefix}/thresholds", np.float32, (n_nodes,))
    leaf_values = _checked(arrays, f"{prefix}/leaf_values", np.float32, (None, columns))
    offset_mm = _checked(arrays, f"{prefix}/offset_mm", np.float32, (None, 2, 3))
    size_mm = _checked(arrays, f"{prefix}/size_mm", np.float32, (len(offset_mm), 2, 3))
    if (size_mm < 0).any() or (size_mm > 1000).any() or (np.abs(offset_mm) > 1000).any():
        raise ValueError(f"{prefix}: a feature reaches further than a metre")
    if ((features < 0) | (features >= max(len(offset_mm), 1))).any():
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
    if len(np.unique(below)) != below.size:
        raise ValueError(f"{prefix}/children: a node has two parents")
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
