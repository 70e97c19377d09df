"""Samples of context features -> a linear discriminant: one score a class, from all features at once.

A tree asks a few features one after the other and remembers patients; with some dozens of patients, what is learnt of
one level does not carry far. Fisher's linear discriminant (Fisher 1936; Hastie, Tibshirani, Friedman, The Elements of
Statistical Learning, 4.3) weighs thousands of features together: with class means m_c and the covariance C that samples
have within their classes,

    score_c(x) = m_c^T C^-1 x - m_c^T C^-1 m_c / 2,

so that what differs from patient to patient counts little, and what differs from level to level counts much. Samples of
rare classes count more in C, or it would be that of the regions which most scans show. C is shrunk towards the
identity, in units of each feature's own spread.

Features are whole steps (see `STEPS_PER_HU`), so the sums over the samples are exact, and weights are rounded to a
common step so that scores are exact too: the same on every machine, in whatever order a library adds.

How far from its class a sample lies, if its patient was not learnt from, depends on how many others were. So every
fourth patient is held out at first, to measure that, and learnt from only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as checked
from threadpoolctl import threadpool_limits

from vertloc.errors import TrainingError
from vertloc.settings import CHECKED, Share
from vertloc.stages.context_features import ContextFeatureSettings, FeaturePool, draw_feature_pool
from vertloc.stages.dense_labels import BACKGROUND
from vertloc.stages.forest_growing import view_columns
from vertloc.stages.positive_definite import factorize, solve
from vertloc.stages.sampling import TrainingView
from vertloc.workers import n_workers, run_pieces

_SAMPLES_AT_ONCE = 4096
_VIEWS_AT_ONCE = 24
_WORTH_THREADS = 1000  # features; below, threads of the linear algebra wait for each other longer than they work
_MOST_ROOT = 8  # a sample counts as its square, a whole number, at most 64
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
    usual_distance : within this squared distance of their classes, the median over its vertebrae, lie 95 % of the
        views of patients that are not learnt from; 0 if that could not be measured, from fewer than four patients
    """

    pool: FeaturePool
    weights: NDArray[np.float32]
    offsets: NDArray[np.float64]
    gram: NDArray[np.float64]
    usual_distance: float = 0.0

    def scores(self, columns: NDArray[np.int16]) -> NDArray[np.float64]:
        """Score the classes of samples: (n, K).

        columns : (F, n) int16, steps, from `fill_feature_columns`
        Differences of scores are log odds, if features are normally distributed.
        """
        # Not by BLAS: for so few samples its threads would wait for each other longer than they work.
        samples = np.ascontiguousarray(columns.T, np.float64)
        scores: NDArray[np.float64] = np.einsum("nf,kf->nk", samples, self.weights.astype(np.float64))
        return scores + self.offsets

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
    sums = _Sums.of(_roots(count, settings.balance), len(pool))
    n_blas = n_workers(n_threads) if len(pool) >= _WORTH_THREADS else 1
    held_out = _held_out([view.patient for view in views])
    for some in _samples([view for view in views if view.patient not in held_out], pool, n_threads):
        sums.add_views(some, n_blas)
    distances = []
    if held_out:
        without = LinearDiscriminant(pool, *_weights(sums.copy(), settings.shrinkage, n_threads))
        for some in _samples([view for view in views if view.patient in held_out], pool, n_threads):
            distances += [_distance_of_vertebrae(without, samples) for samples in some]
            sums.add_views(some, n_blas)
    return LinearDiscriminant(pool, *_weights(sums, settings.shrinkage, n_threads), _usual_distance(distances))


@dataclass(frozen=True, eq=False)
class _Samples:
    """Samples of a view: (F, n) columns and (n,) classes."""

    columns: NDArray[np.int16]
    classes: NDArray[np.int64]


def _samples(views: Sequence[TrainingView], pool: FeaturePool, n_threads: int) -> Iterator[list[_Samples]]:
    """Compute the features of views, a few of them at a time."""
    for first in range(0, len(views), _VIEWS_AT_ONCE):
        some = views[first : first + _VIEWS_AT_ONCE]
        columns = run_pieces(
            lambda i, some=some: view_columns([some[i]], np.arange(len(some[i].index)), pool, 1),  # type: ignore[misc]
            len(some),
            n_threads,
        )
        yield [_Samples(own, view.targets.argmax(axis=1)) for own, view in zip(columns, some, strict=True)]


def _held_out(patients: Sequence[str]) -> set[str]:
    """Choose one in four patients, but none of fewer than that."""
    return set(sorted(set(patients))[_HELD_OUT - 1 :: _HELD_OUT])


def _distance_of_vertebrae(discriminant: LinearDiscriminant, samples: _Samples) -> float:
    """Median squared distance of a view's vertebrae from their classes; infinite if it shows none that is known."""
    is_vertebra = samples.classes != BACKGROUND
    distances = discriminant.distances(discriminant.scores(samples.columns[:, is_vertebra]))
    own = distances[np.arange(len(distances)), samples.classes[is_vertebra]]
    return float(np.median(own)) if len(own) else np.inf


def _usual_distance(distances: Sequence[float]) -> float:
    known = [distance for distance in distances if np.isfinite(distance)]
    return float(np.quantile(known, _USUAL_SHARE, method="higher")) if known else 0.0


def _roots(count: NDArray[np.int64], balance: float) -> NDArray[np.int64]:
    """Square roots of what a sample of each class counts, (K,): whole numbers keep sums exact.

    count : (K,) samples of each class; the background, of which there are as many as one draws, counts as the most
        frequent vertebra
    """
    count = count.copy()
    count[BACKGROUND] = max(count[BACKGROUND + 1 :].max(initial=0), 1)
    rarest = count[count > 0].min()
    share = (rarest / np.maximum(count, 1)) ** (balance / 2)
    return np.asarray(np.maximum(np.rint(_MOST_ROOT * share), 1), np.int64)


@dataclass(eq=False)
class _Sums:
    """Exact sums over samples: numbers of them, (K,); their features, (K, F); products of features, (F, F).

    roots : (K,) a sample of class c counts roots[c]^2 times
    """

    roots: NDArray[np.int64]
    count: NDArray[np.int64]
    features: NDArray[np.float64]
    products: NDArray[np.float64]

    @staticmethod
    def of(roots: NDArray[np.int64], n_features: int) -> _Sums:
        n_classes = len(roots)
        features, products = np.zeros((n_classes, n_features)), np.zeros((n_features, n_features))
        return _Sums(roots, np.zeros(n_classes, np.int64), features, products)

    def copy(self) -> _Sums:
        return _Sums(self.roots, self.count.copy(), self.features.copy(), self.products.copy())

    def add_views(self, views: Sequence[_Samples], n_blas: int) -> None:
        """Add the samples of some views, with so many threads of the linear algebra."""
        with threadpool_limits(n_blas, "blas"):
            self.add(
                np.concatenate([view.columns for view in views], axis=1),
                np.concatenate([view.classes for view in views]),
            )

    def add(self, columns: NDArray[np.int16], classes: NDArray[np.int64]) -> None:
        """Add samples: (F, n) columns and (n,) classes.

        All numbers are whole and below 2^53, so that neither the order of a sum nor a fused product can change it.
        """
        n_classes = len(self.roots)
        for first in range(0, len(classes), _SAMPLES_AT_ONCE):
            own = classes[first : first + _SAMPLES_AT_ONCE]
            weighed = columns[:, first : first + _SAMPLES_AT_ONCE] * self.roots[own].astype(np.float64)
            self.products += weighed @ weighed.T
            self.count += np.bincount(own, minlength=n_classes) * self.roots**2
            self.features += (weighed @ np.diag(self.roots.astype(np.float64))[own]).T


def _weights(
    sums: _Sums, shrinkage: float, n_threads: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Weights (K, F), offsets (K,) and gram matrix (K, K), from the sums; consumes `sums.products`."""
    seen = np.flatnonzero(sums.count)
    n_samples = int(sums.count.sum())
    means = sums.features[seen] / sums.count[seen, None]
    middle = sums.features.sum(axis=0) / n_samples
    # One step of noise keeps a feature that never changes harmless.
    spread = np.sqrt(np.maximum(np.diag(sums.products) / n_samples - middle**2, 0)) + 1
    within = sums.products
    for mean, count in zip(means, sums.count[seen], strict=True):
        for f in range(len(within)):
            within[f] -= (count * mean[f]) * mean
    within /= n_samples * spread[:, None]
    within /= spread
    diagonal = np.diag(within).mean()
    within *= 1 - shrinkage
    within[np.diag_indices_from(within)] += shrinkage * diagonal + 1e-9
    centred = (means - middle) / spread
    if not factorize(within, n_threads):
        raise TrainingError("the features of the training samples do not vary enough to learn from")
    solved = solve(within, centred, n_threads)
    weights = np.zeros((len(sums.count), len(middle)))
    weights[seen] = solved / spread
    step = 2.0 ** (np.ceil(np.log2(max(np.abs(weights).max(), 1e-300))) - _WEIGHT_BITS)
    weights = np.rint(weights / step) * step
    offsets = np.full(len(sums.count), NEVER)
    offsets[seen] = -(0.5 * centred * solved).sum(axis=1) - (weights[seen] * middle).sum(axis=1)
    gram = np.zeros((len(sums.count),) * 2)
    gram[np.ix_(seen, seen)] = [(centred * row).sum(axis=1) for row in solved]
    return weights.astype(np.float32), offsets, (gram + gram.T) / 2
