"""Training cases + configuration + seed -> a model file, or the one that an earlier run made of exactly these."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertloc.batch.records import input_files, settings_checksum
from vertloc.cohorts.case import Case
from vertloc.config import Config
from vertloc.errors import ModelError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import image_files
from vertloc.io.model_file import file_sha256
from vertloc.model import Model, load_model, save_model
from vertloc.versions import versions

logger = logging.getLogger(__name__)

_MOST_BYTES = 10_000


@dataclass(frozen=True)
class TrainingTask:
    """One model to train, and the file that it goes into; `key` as from `training_key`, the others as for `train`."""

    path: Path
    key: str
    cases: tuple[Case, ...]
    config: Config
    seed: int
    folds: tuple[str, ...]
    cache: Path | None


@dataclass(frozen=True, eq=False)
class Trained:
    """A model in its file; `is_reused` if an earlier run trained it."""

    model: Model
    path: Path
    sha256: str
    is_reused: bool


def training_key(cases: Sequence[Case], config: Config, seed: int) -> str:
    """Checksum of all that a model depends on: the files of the cases, settings, seed and versions.

    Raises ImageError or OSError for files that are not there.
    """
    files = [
        [case.scan, case.patient, input_files(image_files(case.image_path)), input_files(_landmarks(case))]
        for case in cases
    ]
    return settings_checksum({"files": files, "config": config.as_dict(), "seed": seed, "versions": versions()})


def train_or_reuse(path: Path, key: str, train: Callable[[], Model], resume: bool) -> Trained:
    """Train a model and write it to `path`, with a note of what it was made of; if `resume`, reuse one of the same key.

    key : from `training_key`. Raises OutputError, and what `train` raises.
    """
    note = path.with_name(f"{path.name}.training")
    if resume:
        sha256 = _sha256_of_the_same(path, note, key)
        if sha256:
            try:
                return Trained(load_model(path), path, sha256, True)
            except ModelError as error:
                logger.warning("trained again: %s", error)
    model = train()
    save_model(model, path)
    sha256 = file_sha256(path)
    write_bytes_atomically(note, (json.dumps({"key": key, "sha256": sha256}) + "\n").encode())
    return Trained(model, path, sha256, False)


def _sha256_of_the_same(path: Path, note: Path, key: str) -> str:
    """Return the checksum of a model file that was made of the same; "" if it was not, or tells nothing."""
    try:
        with note.open("rb") as file:
            known: Any = json.loads(file.read(_MOST_BYTES))
        same = known["key"] == key and known["sha256"] == file_sha256(path)
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return str(known["sha256"]) if same else ""


def _landmarks(case: Case) -> list[Path]:
    return [case.landmarks_path] if case.landmarks_path is not None else []
