"""Vertebrae localization in spine CT by random-forest dense classification.

The library calls, each documented where it is defined:

    read_image, write_image             doors to images; a Volume has its voxels and its Grid
    read_lml, write_lml                 doors to `.lml` landmarks
    read_landmarks, write_landmarks     doors to landmarks of any format; Landmarks know their confidences
    convert_landmarks, relabel          from one format to another; a chain put right by one level
    load_cohort                         annotated scans of a data folder, by fold file
    train, load_model, localize         learn a model; find the vertebrae of a scan
    predict_cases, run_study            many scans; cross-validation
    evaluate                            identification rate and localization errors

All errors that are raised on purpose are kinds of VertlocError.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertloc.batch.job import PredictOptions
    from vertloc.batch.predicting import predict_cases
    from vertloc.centroids import Centroids
    from vertloc.cohorts.loading import load_cohort
    from vertloc.config import Config, read_config
    from vertloc.converting import convert_landmarks
    from vertloc.errors import (
        CohortError,
        ConfigError,
        EvaluationError,
        ImageError,
        LandmarkError,
        LmlError,
        ModelError,
        OutputError,
        TrainingError,
        VertlocError,
    )
    from vertloc.evaluation.scores import evaluate
    from vertloc.geometry import Grid
    from vertloc.io.images import read_image, write_image
    from vertloc.io.landmarks.landmarks import ImageReference, Landmarks
    from vertloc.io.landmarks.lml import read_lml, write_lml
    from vertloc.io.landmarks.registry import read_landmarks, write_landmarks
    from vertloc.localization import Localization, localize
    from vertloc.model import Model, load_model, save_model
    from vertloc.relabelling import relabel
    from vertloc.study import StudyOptions, run_study
    from vertloc.training import train
    from vertloc.volume import Volume

__version__ = "0.1.0"

_HOMES = {
    "Centroids": "vertloc.centroids",
    "CohortError": "vertloc.errors",
    "Config": "vertloc.config",
    "ConfigError": "vertloc.errors",
    "EvaluationError": "vertloc.errors",
    "Grid": "vertloc.geometry",
    "ImageError": "vertloc.errors",
    "ImageReference": "vertloc.io.landmarks.landmarks",
    "LandmarkError": "vertloc.errors",
    "Landmarks": "vertloc.io.landmarks.landmarks",
    "LmlError": "vertloc.errors",
    "Localization": "vertloc.localization",
    "Model": "vertloc.model",
    "ModelError": "vertloc.errors",
    "OutputError": "vertloc.errors",
    "PredictOptions": "vertloc.batch.job",
    "StudyOptions": "vertloc.study",
    "TrainingError": "vertloc.errors",
    "VertlocError": "vertloc.errors",
    "Volume": "vertloc.volume",
    "convert_landmarks": "vertloc.converting",
    "evaluate": "vertloc.evaluation.scores",
    "load_cohort": "vertloc.cohorts.loading",
    "load_model": "vertloc.model",
    "localize": "vertloc.localization",
    "predict_cases": "vertloc.batch.predicting",
    "read_config": "vertloc.config",
    "read_image": "vertloc.io.images",
    "read_landmarks": "vertloc.io.landmarks.registry",
    "read_lml": "vertloc.io.landmarks.lml",
    "relabel": "vertloc.relabelling",
    "run_study": "vertloc.study",
    "save_model": "vertloc.model",
    "train": "vertloc.training",
    "write_image": "vertloc.io.images",
    "write_landmarks": "vertloc.io.landmarks.registry",
    "write_lml": "vertloc.io.landmarks.lml",
}

__all__ = [
    "Centroids",
    "CohortError",
    "Config",
    "ConfigError",
    "EvaluationError",
    "Grid",
    "ImageError",
    "ImageReference",
    "LandmarkError",
    "Landmarks",
    "LmlError",
    "Localization",
    "Model",
    "ModelError",
    "OutputError",
    "PredictOptions",
    "StudyOptions",
    "TrainingError",
    "VertlocError",
    "Volume",
    "__version__",
    "convert_landmarks",
    "evaluate",
    "load_cohort",
    "load_model",
    "localize",
    "predict_cases",
    "read_config",
    "read_image",
    "read_landmarks",
    "read_lml",
    "relabel",
    "run_study",
    "save_model",
    "train",
    "write_image",
    "write_landmarks",
    "write_lml",
]


def __getattr__(name: str) -> object:
    """Import a library call on its first use: `import vertloc` alone stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vertloc' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Show the calls, whether or not they have been used."""
    return sorted(__all__)
