"""Vertebrae localization in spine CT by random-forest dense classification.

The library calls, each documented where it is defined:

    read_image, read_lml, write_lml     doors to files
    load_cohort                         annotated scans of a data folder, by fold file
    train, load_model, localize         learn a model; find the vertebrae of a scan
    evaluate                            identification rate and localization errors
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertloc.cohorts.loading import load_cohort
    from vertloc.config import Config, read_config
    from vertloc.evaluation.scores import evaluate
    from vertloc.io.images import read_image
    from vertloc.io.landmarks.lml import read_lml, write_lml
    from vertloc.localization import Localization, localize
    from vertloc.model import Model, load_model, save_model
    from vertloc.training import train

__version__ = "0.1.0"

_HOMES = {
    "Config": "vertloc.config",
    "Localization": "vertloc.localization",
    "Model": "vertloc.model",
    "evaluate": "vertloc.evaluation.scores",
    "load_cohort": "vertloc.cohorts.loading",
    "load_model": "vertloc.model",
    "localize": "vertloc.localization",
    "read_config": "vertloc.config",
    "read_image": "vertloc.io.images",
    "read_lml": "vertloc.io.landmarks.lml",
    "save_model": "vertloc.model",
    "train": "vertloc.training",
    "write_lml": "vertloc.io.landmarks.lml",
}

__all__ = [
    "Config",
    "Localization",
    "Model",
    "__version__",
    "evaluate",
    "load_cohort",
    "load_model",
    "localize",
    "read_config",
    "read_image",
    "read_lml",
    "save_model",
    "train",
    "write_lml",
]


def __getattr__(name: str) -> Any:
    """Import a library call on its first use: `import vertloc` alone stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vertloc' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
