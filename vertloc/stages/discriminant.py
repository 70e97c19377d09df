"""Samples of context features -> a linear discriminant: one score a class, from all features at once.

A tree asks a few features one after the other and remembers patients; with some dozens of patients, what is learnt of
one level does not carry far. Fisher's linear discriminant (Fisher 1936; Hastie, Tibshirani, Friedman, The Elements of
Statistical Learning, 4.3) weighs thousands of features together: with class means m_c and the covariance C that samples
have within their classes,

    score_c(x) = m_c^T C^-1 x - m_c^T C^-1 m_c / 2,

so that what differs from patient to patient counts little, and what differs from level to level counts much. Samples of
rare classes count more in C, or it would be that of the regions which most scans show. C is shrunk towards the
identity, in units of each feature's own spread.

The same covariance answers a second question, where the centroid lies from a sample that has missed it: with R, the
covariance of features and displacements d within the classes, and the mean displacement e_c of a class,

    d_c(x) = e_c + R^T C^-1 (x - m_c),

linear regression, as each step of supervised descent is one (Xiong and De la Torre, CVPR 2013).

Sums over samples are exact (see `sample_sums`), and weights are rounded to a common step so that scores are exact too:
the same on every machine, in whatever order a library adds.

How far from its class a sample lies, if its patient was not learnt from, depends on how many others were. So every
fourth patient is held out at first, to measure that, and learnt from only then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc.errors import TrainingError
from vertloc.settings import CHECKED, Share
from vertloc.stages.context_features import ContextFeatureSettings, FeaturePool, draw_feature_pool
from vertloc.stages.dense_labels import BACKGROUND
from vertloc.stages.positive_definite import factorize, solve
from vertloc.stages.sample_sums import Samples, SampleSums, compute_samples
from vertloc.stages.sampling import TrainingView

_WEIGHT_BITS = 23  # of the largest weight: all are whole multiples of one step, and float32 holds them
_NO_VARIANCE = 1e-7
_HELD_OUT = 4  # one in so many patients
_USUAL_SHARE = 0.95  # of the views of patients held out
NEVER = -1e6
"""Offset of a class that no sample showed."""


@checked(frozen=True, config=CHECKED)
class DiscriminantSettings:
    """How the discriminant is learnt.

    n_features : features that are weighed together
    balance : 0 lets every sample count alike in the covariance, 1 every class
    shrinkage : how far the covariance is drawn towards the identity; more trusts single features more
    """

    n_features: Annotated[int, Field(ge=1, le=20_000)] = 4800
    balance: Share = 1.0
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 0.01


@dataclass(frozen=True, eq=False)
class LinearDiscriminant:
    """Weights of features and offsets, a row a class.

    pool : F features; weights : (K, F) float32, per step of a feature; offsets : (K,) float64
    gram : (K, K) float64, m_a^T C^-1 m_b of the classes' means, about the mean of all samples
    place_weights : (3, F) float32, millimetres per step of a feature; place_offsets : (K, 3) float64, millimetres
    usual_distance : within this squared distance of their classes, the median over its vertebrae, lie 95 % of the
        views of patients that are not learnt from; 0 if that could not be measured, from fewer than four patients
    """

    pool: FeaturePool
    weights: NDArray[np.float32]
    offsets: NDArray[np.float64]
    gram: NDArray[np.float64]
    place_weights: NDArray[np.float32]
    place_offsets: NDArray[np.float64]
    usual_distance: float = 0.0

    def scores(self, columns: NDArray[np.int16]) -> NDArray[np.float64]:
        """Score the classes of samples: (n, K).

        columns : (F, n) int16, steps, from `fill_feature_columns`
        Differences of scores are log odds, if features are normally distributed.
        """
        return _weighed(columns, self.weights) + self.offsets

    def displacements_mm(self, columns: NDArray[np.int16], classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Tell where the centroids of samples lie from them, in the frame that features are measured in: (n, 3).

        columns : (F, n) int16, steps; classes : (n,), what each sample is taken for
        """
        return _weighed(columns, self.place_weights) + self.place_offsets[classes]

    def distances(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared Mahalanobis distances of samples from the mean of each class, as far as scores tell: (n, K).

        scores : (n, K), from `scores`
        A score's mean over class c is gram[:, c] - diag(gram) / 2, and its covariance within a class is gram. A class
        that no sample showed is infinitely far.
        """
        seen = np.flatnonzero(np.diag(self.gram) > 0)
        gram = self.gram[np.ix_(seen, seen)]
        means = gram - np.diag(gram)[:, None] / 2
        residual = (scores[:, seen, None] - means).transpose(0, 2, 1).reshape(len(scores) * len(seen), len(seen))
        # The means' own mean is 0, so that one direction has no variance, nor any residual.
        factor = gram + _NO_VARIANCE * np.diag(gram).max(initial=0) * np.eye(len(seen))
        if not factorize(factor):
            raise ArithmeticError("the gram matrix is not positive")
        out = np.full(scores.shape, np.inf)
        out[:, seen] = (residual * solve(factor, residual)).sum(axis=1).reshape(len(scores), len(seen))
        return out


def learn_discriminant(
    views: Sequence[TrainingView],
    features: ContextFeatureSettings,
    settings: DiscriminantSettings,
    seed: np.random.SeedSequence,
    n_threads: int = 1,
) -> LinearDiscriminant:
    """Learn a discriminant; a sample's class is that of its largest mass, and all classes are equally probable before.

    Raises TrainingError if no view has any sample.
    """
    pool = draw_feature_pool(settings.n_features, features, np.random.default_rng(seed))
    n_classes = views[0].targets.shape[1] if views else 0
    classes = [view.targets.argmax(axis=1) for view in views]
    count = np.bincount(np.concatenate([np.empty(0, np.int64), *classes]), minlength=n_classes)
    if not count.any():
        raise TrainingError(f"none of the {len(views)} views of the training scans has a voxel to learn from")
    sums = SampleSums.of(count, len(pool), settings.balance)
    held_out = _held_out([view.patient for view in views])
    for some in compute_samples([view for view in views if view.patient not in held_out], pool, n_threads):
        sums.add(some, n_threads)
    distances: list[float] = []
    if held_out:
        without = _solved(sums.copy(), pool, settings.shrinkage, 0.0, n_threads)
        for some in compute_samples([view for view in views if view.patient in held_out], pool, n_threads):
            distances += [_distance_of_vertebrae(without, samples) for samples in some]
            sums.add(some, n_threads)
    return _solved(sums, pool, settings.shrinkage, _usual_distance(distances), n_threads)


def _held_out(patients: Sequence[str]) -> set[str]:
    """Choose one in four patients, but none of fewer than that."""
    return set(sorted(set(patients))[_HELD_OUT - 1 :: _HELD_OUT])


def _distance_of_vertebrae(discriminant: LinearDiscriminant, samples: Samples) -> float:
    """Median squared distance of a view's vertebrae from their classes; infinite if it shows none that is known."""
    is_vertebra = samples.classes != BACKGROUND
    distances = discriminant.distances(discriminant.scores(samples.columns[:, is_vertebra]))
    own = distances[np.arange(len(distances)), samples.classes[is_vertebra]]
    return float(np.median(own)) if len(own) else np.inf


def _usual_distance(distances: Sequence[float]) -> float:
    known = [distance for distance in distances if np.isfinite(distance)]
    return float(np.quantile(known, _USUAL_SHARE, method="higher")) if known else 0.0


def _solved(
    sums: SampleSums, pool: FeaturePool, shrinkage: float, usual_distance: float, n_threads: int
) -> LinearDiscriminant:
    """Solve for the weights; consumes `sums.products`."""
    n_classes, n_samples = len(sums.count), int(sums.count.sum())
    seen = np.flatnonzero(sums.count)
    means = sums.features[seen] / sums.count[seen, None]
    middle = sums.features.sum(axis=0) / n_samples
    # One step of noise keeps a feature that never changes harmless.
    spread = np.sqrt(np.maximum(np.diag(sums.products) / n_samples - middle**2, 0)) + 1
    if not factorize(within := _covariance(sums, means, spread, shrinkage), n_threads):
        raise TrainingError("the features of the training samples do not vary enough to learn from")
    centred = (means - middle) / spread
    solved = solve(within, centred, n_threads)
    weights, offsets, gram = np.zeros((n_classes, len(pool))), np.full(n_classes, NEVER), np.zeros((n_classes,) * 2)
    weights[seen] = _rounded(solved / spread)
    offsets[seen] = -(0.5 * centred * solved).sum(axis=1) - (weights[seen] * middle).sum(axis=1)
    gram[np.ix_(seen, seen)] = [(centred * row).sum(axis=1) for row in solved]
    # Regression solves with the same matrix: a right side for each coordinate of the displacement, not for each class.
    moments = sums.moments_mm.T.copy()
    for total, mean in zip(sums.displacements_mm[seen], means, strict=True):
        moments -= total[:, None] * mean
    place_weights = _rounded((1 - shrinkage) * solve(within, moments / (n_samples * spread), n_threads) / spread)
    place_offsets = np.zeros((n_classes, 3))
    mean_displacement = sums.displacements_mm[seen] / sums.count[seen, None]
    place_offsets[seen] = mean_displacement - np.stack([(row * means).sum(axis=1) for row in place_weights], axis=1)
    arrays = (weights.astype(np.float32), offsets, (gram + gram.T) / 2, place_weights.astype(np.float32), place_offsets)
    return LinearDiscriminant(pool, *arrays, usual_distance)


def _covariance(
    sums: SampleSums, means: NDArray[np.float64], spread: NDArray[np.float64], shrinkage: float
) -> NDArray[np.float64]:
    """Covariance within the classes, (F, F), in units of spread and shrunk; made of `sums.products`, in place."""
    n_samples = int(sums.count.sum())
    within = sums.products
    for mean, count in zip(means, sums.count[sums.count > 0], strict=True):
        for f in range(len(within)):
            within[f] -= (count * mean[f]) * mean
    within /= n_samples * spread[:, None]
    within /= spread
    diagonal = np.diag(within).mean()
    within *= 1 - shrinkage
    within[np.diag_indices_from(within)] += shrinkage * diagonal + 1e-9
    return within


def _rounded(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round weights to whole multiples of one step."""
    step = 2.0 ** (np.ceil(np.log2(max(np.abs(weights).max(), 1e-300))) - _WEIGHT_BITS)
    return np.asarray(np.rint(weights / step) * step)


def _weighed(columns: NDArray[np.int16], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum (F, n) columns with (K, F) weights: (n, K)."""
    # Not by BLAS: for so few samples its threads would wait for each other longer than they work.
    samples = np.ascontiguousarray(columns.T, np.float64)
    return np.asarray(np.einsum("nf,kf->nk", samples, weights.astype(np.float64)))
