"""Linear discriminant <-> the arrays that a model file keeps of it, checked on the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertloc.stages.context_features import FeatureRule
from vertloc.stages.discriminant import LinearDiscriminant
from vertloc.stages.packed_forest import Arrays, checked_array, unpack_pool

_MOST_FEATURES = 20_000
_LARGEST_WEIGHT, _LARGEST_NUMBER = 1e6, 1e9
_ROUNDED = 1e-9  # share of the largest eigenvalue by which rounding may lower the least one


def pack_discriminant(discriminant: LinearDiscriminant) -> dict[str, NDArray[Any]]:
    """Return the arrays of a discriminant, by name."""
    return {
        "offset_mm": discriminant.pool.offset_mm,
        "size_mm": discriminant.pool.size_mm,
        "weights": discriminant.weights,
        "offsets": discriminant.offsets,
        "gram": discriminant.gram,
        "place_weights": discriminant.place_weights,
        "place_offsets": discriminant.place_offsets,
        "usual_distance": np.array([discriminant.usual_distance]),
    }


def unpack_discriminant(arrays: Arrays, rule: FeatureRule, n_classes: int, version: int) -> LinearDiscriminant:
    """Check stored arrays and make a discriminant of them.

    version : of the format they are stored in. Discriminants of format 2 correct no place, and what is usual is a
        setting beside them

    Raises ValueError that begins with the name of the array, for what is missing, misshapen or out of all proportion.
    """
    pool = unpack_pool(arrays, rule)
    if not 0 < len(pool) <= _MOST_FEATURES:
        raise ValueError(f"offset_mm: expected 1 to {_MOST_FEATURES} features, got {len(pool)}")
    weights = checked_array(arrays.get("weights"), "weights", np.float32, (n_classes, len(pool)))
    offsets = checked_array(arrays.get("offsets"), "offsets", np.float64, (n_classes,))
    gram = checked_array(arrays.get("gram"), "gram", np.float64, (n_classes, n_classes))
    if np.abs(weights).max() > _LARGEST_WEIGHT:
        raise ValueError("weights: out of all proportion")
    if np.abs(offsets).max() > _LARGEST_NUMBER:
        raise ValueError("offsets: out of all proportion")
    if np.abs(gram).max() > _LARGEST_NUMBER or not (gram == gram.T).all():
        raise ValueError("gram: expected a symmetric matrix of reasonable numbers")
    variances = np.linalg.eigvalsh(gram)
    if variances[0] < -_ROUNDED * variances[-1]:
        raise ValueError("gram: expected a covariance, got a matrix with negative eigenvalues")
    if version < 3:
        none = np.zeros((3, len(pool)), np.float32), np.zeros((n_classes, 3))
        return LinearDiscriminant(pool, weights, offsets, gram, *none)
    place_weights = checked_array(arrays.get("place_weights"), "place_weights", np.float32, (3, len(pool)))
    place_offsets = checked_array(arrays.get("place_offsets"), "place_offsets", np.float64, (n_classes, 3))
    if np.abs(place_weights).max() > _LARGEST_WEIGHT:
        raise ValueError("place_weights: out of all proportion")
    if np.abs(place_offsets).max() > _LARGEST_NUMBER:
        raise ValueError("place_offsets: out of all proportion")
    usual = float(checked_array(arrays.get("usual_distance"), "usual_distance", np.float64, (1,))[0])
    if not 0 <= usual <= _LARGEST_NUMBER:
        raise ValueError("usual_distance: out of all proportion")
    return LinearDiscriminant(pool, weights, offsets, gram, place_weights, place_offsets, usual)
