"""What a run asks for, what all its scans share, and what becomes of each."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vertloc.batch.records import Origin, Record, input_files, settings_checksum
from vertloc.centroids import Centroids, Frame
from vertloc.cohorts.case import Case
from vertloc.errors import ModelError
from vertloc.geometry import Grid
from vertloc.io.images import image_files, read_grid
from vertloc.io.model_file import file_sha256
from vertloc.known_points import known_levels
from vertloc.model import Model, load_model, save_model

Status = Literal["done", "empty", "skipped", "failed"]


@dataclass(frozen=True)
class PredictOptions:
    """What is written for each scan, and what is done again.

    frame : of the points in the `.lml` files
    preview : also draw `<scan>.png`
    resume : leave alone what is finished and would come out the same
    cluster : address of a Dask scheduler whose workers do the work, and see the same files; "": this process does
    without_chain : also write `<scan>.lml` into this folder, relative to that of the results: every vertebra's best
        candidate on its own; "": not
    formats : of the landmark files, by the names of `io.landmarks.registry`
    known : what a person knows of levels, as `known_points.known_levels` reads it
    """

    frame: Frame = "local"
    preview: bool = False
    resume: bool = False
    without_chain: str = ""
    cluster: str = ""
    formats: tuple[str, ...] = ("lml",)
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseResult:
    """What became of one scan.

    status : "done", "empty" (no vertebra found), "skipped" (the same result was already there) or "failed"
    record : what is known of the result, also of a skipped one; as it lies beside the results
    """

    status: Status
    record: Record

    @property
    def scan(self) -> str:
        """Name of the scan."""
        return self.record.scan

    @property
    def confidence(self) -> dict[str, float]:
        """How sure each vertebra is, by label."""
        return self.record.confidence

    @property
    def message(self) -> str:
        """Why the scan failed, or why no vertebra was found."""
        return self.record.message

    @property
    def seconds(self) -> float:
        """Time of reading, computing and writing together; of a skipped scan, when it was computed."""
        return self.record.seconds


@dataclass(frozen=True)
class ModelSource:
    """The file that a model was read from; `sha256` gives its checksum, and may take a moment."""

    path: Path
    sha256: Callable[[], str]


@dataclass(frozen=True, eq=False)
class Job:
    """What all scans of a run share; can be sent to another process."""

    model: Model
    model_sha256: str
    out: Path
    options: PredictOptions
    model_path: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the model: the other process reads its file, once."""
        if self.model_path is None:
            return self.__dict__
        return {**self.__dict__, "model": None, "settings": self.model.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        settings = state.pop("settings", None)
        if settings is not None:
            state["model"] = replace(_model_in(state["model_path"], state["model_sha256"]), settings=settings)
        self.__dict__.update(state)

    def origin(self, case: Case) -> Origin:
        """Tell what the result of a case is made of. Raises ImageError or OSError."""
        model = self.model
        settings = {"preprocess": asdict(model.preprocess), "prediction": asdict(model.settings)}
        if self.options.known:
            settings["known"] = {k: p.tolist() for k, p in self.known_levels(case, read_grid(case.image_path))}
        files = input_files(image_files(case.image_path))
        return Origin(self.model_sha256, self.options.frame, settings_checksum(settings), files)

    def known_levels(self, case: Case, grid: Grid) -> Centroids:
        """Return the levels of a case that a person knows, world frame. Raises LandmarkError."""
        return known_levels(self.options.known, case.scan, grid, self.options.frame)


def model_checksum(model: Model) -> str:
    """Checksum of the file that `save_model` writes of a model."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model.npz")
        return file_sha256(Path(folder) / "model.npz")


_reading = threading.Lock()


def _model_in(path: Path, sha256: str) -> Model:
    with _reading:  # one thread reads, the others wait for what it has read
        return _read_model(path, sha256)


@functools.lru_cache(maxsize=2)
def _read_model(path: Path, sha256: str) -> Model:
    if file_sha256(path) != sha256:
        raise ModelError(f"{path}: is another model than the one that the run began with")
    return load_model(path)
