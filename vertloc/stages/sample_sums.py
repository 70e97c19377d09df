"""Views of training scans -> exact sums over their samples' features, from which linear models are solved.

Features are whole steps (see `STEPS_PER_HU`), displacements are rounded to whole steps, and what a sample counts is the
square of a whole number. So all sums are exact: the same on every machine, in whatever order a library adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vertloc.stages.context_features import FeaturePool
from vertloc.stages.dense_labels import BACKGROUND
from vertloc.stages.forest_growing import view_columns
from vertloc.stages.sampling import TrainingView
from vertloc.workers import n_workers, run_pieces

_SAMPLES_AT_ONCE = 4096
_VIEWS_AT_ONCE = 24
_WORTH_THREADS = 1000  # features; below, threads of the linear algebra wait for each other longer than they work
_MOST_ROOT = 8  # a sample counts as its square, a whole number, at most 64
_STEPS_PER_MM = 16
_FARTHEST_STEPS = 40 * _STEPS_PER_MM


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of a view: columns (F, n) int16, classes (n,) int64, displacement_mm (n, 3) to their centroids."""

    columns: NDArray[np.int16]
    classes: NDArray[np.int64]
    displacement_mm: NDArray[np.float64]


def compute_samples(views: Sequence[TrainingView], pool: FeaturePool, n_threads: int) -> Iterator[list[Samples]]:
    """Compute the features of views, some views at a time.

    A sample's class is that of its largest mass; without displacements, it lies in its centroid.
    """

    def samples(view: TrainingView) -> Samples:
        columns = view_columns([view], np.arange(len(view.index)), pool, 1)
        displacement = np.zeros((len(view.index), 3)) if view.displacement_mm is None else view.displacement_mm
        return Samples(columns, view.targets.argmax(axis=1), displacement)

    for first in range(0, len(views), _VIEWS_AT_ONCE):
        some = views[first : first + _VIEWS_AT_ONCE]
        yield run_pieces(lambda i, some=some: samples(some[i]), len(some), n_threads)  # type: ignore[misc]


@dataclass(eq=False)
class SampleSums:
    """Sums over samples; one of class c counts roots[c]^2 times.

    roots, count : (K,) int64; features : (K, F); products : (F, F), of features with each other
    displacements_mm : (K, 3); moments_mm : (F, 3), products of features and displacements
    """

    roots: NDArray[np.int64]
    count: NDArray[np.int64]
    features: NDArray[np.float64]
    products: NDArray[np.float64]
    displacements_mm: NDArray[np.float64]
    moments_mm: NDArray[np.float64]

    @staticmethod
    def of(n_samples: NDArray[np.int64], n_features: int, balance: float) -> SampleSums:
        """Return sums over nothing yet.

        n_samples : (K,) of each class, all that will be added; balance : see `DiscriminantSettings`
        """
        k, f = len(n_samples), n_features
        arrays = (np.zeros((k, f)), np.zeros((f, f)), np.zeros((k, 3)), np.zeros((f, 3)))
        return SampleSums(_roots(n_samples, balance), np.zeros(k, np.int64), *arrays)

    def copy(self) -> SampleSums:
        """Return the same sums, to go on with apart."""
        arrays = (self.features, self.products, self.displacements_mm, self.moments_mm)
        return SampleSums(self.roots, self.count.copy(), *(array.copy() for array in arrays))

    def add(self, views: Sequence[Samples], n_threads: int = 1) -> None:
        """Add the samples of some views."""
        columns = np.concatenate([view.columns for view in views], axis=1)
        classes = np.concatenate([view.classes for view in views])
        displacement = np.concatenate([view.displacement_mm for view in views])
        with threadpool_limits(n_workers(n_threads) if len(columns) >= _WORTH_THREADS else 1, "blas"):
            for first in range(0, len(classes), _SAMPLES_AT_ONCE):
                here = slice(first, first + _SAMPLES_AT_ONCE)
                self._add(columns[:, here], classes[here], displacement[here])

    def _add(
        self, columns: NDArray[np.int16], classes: NDArray[np.int64], displacement_mm: NDArray[np.float64]
    ) -> None:
        """Add samples whose numbers are whole and whose sums are below 2^53: no order of adding can change them."""
        root = self.roots[classes].astype(np.float64)
        weighed = columns * root
        steps = np.clip(np.rint(displacement_mm * _STEPS_PER_MM), -_FARTHEST_STEPS, _FARTHEST_STEPS) * root[:, None]
        of_class = np.diag(self.roots.astype(np.float64))[classes]
        self.count += np.bincount(classes, minlength=len(self.roots)) * self.roots**2
        self.features += (weighed @ of_class).T
        self.products += weighed @ weighed.T
        self.displacements_mm += of_class.T @ steps / _STEPS_PER_MM  # a power of 2, so that quotients are exact too
        self.moments_mm += weighed @ steps / _STEPS_PER_MM


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
