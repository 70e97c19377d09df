"""The shape model <-> named arrays, which are checked before anything uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.stages.packed_forest import checked_array
from vertloc.stages.posture import N_FEATURES, N_LINKS, PostureModel
from vertloc.stages.shape_model import N_PAIRS, ShapeModel
from vertloc.vertebrae import VERTEBRAE

SHAPE_MEMBERS = ("mean_mm", "covariance_mm2", "log_ends", "posture_mean", "posture_scale", "posture_freedom")
"""Names of the arrays of a shape model."""

_FARTHEST_MM = 1000.0
_DEVIATIONS_MM = (0.01, 1000.0)
_LARGEST_LOG = 20.0


def pack_shape(shape: ShapeModel) -> dict[str, NDArray[Any]]:
    """Return the arrays of a shape model by their names."""
    return {
        "mean_mm": shape.mean_mm,
        "covariance_mm2": shape.covariance_mm2,
        "log_ends": shape.log_ends,
        "posture_mean": shape.posture.mean,
        "posture_scale": shape.posture.scale,
        "posture_freedom": np.array([shape.posture.degrees_of_freedom]),
    }


def unpack_shape(arrays: Mapping[str, NDArray[Any]]) -> ShapeModel:
    """Check arrays and make the shape model of them. Raises ValueError, beginning with the name of the array."""
    mean = checked_array(arrays.get("mean_mm"), "mean_mm", np.float64, (N_PAIRS, 3))
    covariance = checked_array(arrays.get("covariance_mm2"), "covariance_mm2", np.float64, (N_PAIRS, 3, 3))
    # Distances along the chain scale the discriminant's features: none may vanish, also over several pairs.
    reached = np.concatenate([np.zeros((1, 3)), np.cumsum(mean, axis=0)])
    distance = np.linalg.norm(reached[:, None] - reached[None], axis=2)[np.triu_indices(N_PAIRS + 1, 1)]
    if distance.min() < 1 or np.abs(mean).max() > _FARTHEST_MM:
        raise ValueError("mean_mm: not the displacements between vertebrae, which are 1 mm to 1 m long")
    low, high = _DEVIATIONS_MM
    if not np.allclose(covariance, covariance.transpose(0, 2, 1), rtol=1e-9, atol=1e-9):
        raise ValueError("covariance_mm2: not symmetric")
    variance = np.linalg.eigvalsh(covariance)
    if not ((variance > low**2) & (variance < high**2)).all():
        raise ValueError(f"covariance_mm2: expected standard deviations within {low} and {high} mm")
    log_ends = checked_array(arrays.get("log_ends"), "log_ends", np.float64, (2, len(VERTEBRAE)))
    if np.abs(log_ends).max() > _LARGEST_LOG:
        raise ValueError(f"log_ends: expected log ratios within -{_LARGEST_LOG} and {_LARGEST_LOG}")
    return ShapeModel(mean, covariance, _posture(arrays), log_ends)


def _posture(arrays: Mapping[str, NDArray[Any]]) -> PostureModel:
    mean = checked_array(arrays.get("posture_mean"), "posture_mean", np.float64, (N_LINKS, N_FEATURES))
    scale = checked_array(arrays.get("posture_scale"), "posture_scale", np.float64, (N_FEATURES, N_LINKS, N_LINKS))
    freedom = checked_array(arrays.get("posture_freedom"), "posture_freedom", np.float64, (1,))
    if (np.abs(mean[:, 0]) > _LARGEST_LOG).any() or (np.abs(mean[:, 1:]) > np.pi).any():
        raise ValueError("posture_mean: not the log lengths and inclinations of links")
    if not np.allclose(scale, scale.transpose(0, 2, 1), rtol=1e-9, atol=1e-9):
        raise ValueError("posture_scale: not symmetric")
    if not (np.linalg.eigvalsh(scale) > 0).all() or scale.max() > _LARGEST_LOG:
        raise ValueError("posture_scale: not scale matrices of log lengths and inclinations")
    if not 1 <= freedom[0] <= 1000:
        raise ValueError(f"posture_freedom: expected 1 to 1000 degrees of freedom, got {freedom[0]}")
    return PostureModel(mean, scale, float(freedom[0]))
