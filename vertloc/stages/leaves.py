"""What a forest's leaves answer, in few bytes.

A leaf of the classification forest is a distribution over 27 classes in which nearly all are zero: it
lists the classes that are there, in 255ths that sum to 255. Sums over trees are then whole numbers, the same in any
order. A vote of the centre forest is rounded to an eighth of a millimetre and its weight to a 65535th.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = 255
"""The shares of a leaf sum to this."""

STEPS_PER_MM = 8
WEIGHT_STEPS = 65535


@dataclass(frozen=True, eq=False)
class SparseLeaves:
    """Distributions over classes, as lists of what is not zero.

    starts : (leaves + 1,) int32 where the entries of each leaf begin
    classes : (entries,) uint8, rising in each leaf; shares : (entries,) uint8, 255ths, at least 1
    n_classes : number of classes
    """

    starts: NDArray[np.int32]
    classes: NDArray[np.uint8]
    shares: NDArray[np.uint8]
    n_classes: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def dense(self) -> NDArray[np.float32]:
        """Return the distributions as rows: (leaves, K) float32."""
        out = np.zeros((len(self), self.n_classes), np.float32)
        leaf = np.repeat(np.arange(len(self)), np.diff(self.starts))
        out[leaf, self.classes] = self.shares / np.float32(WHOLE)
        return out


Leaves = NDArray[Any] | SparseLeaves
"""Rows of numbers, or sparse distributions."""


def sparse_distributions(rows: NDArray[np.floating[Any]]) -> SparseLeaves:
    """Round distributions, (leaves, K), to 255ths that sum to 255: what is left over goes to the largest remainders."""
    scaled = rows.astype(np.float64) * (WHOLE / rows.sum(axis=1, dtype=np.float64, keepdims=True))
    shares = np.floor(scaled).astype(np.int64)
    order = np.argsort(shares - scaled, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(rows.shape[1])[None], axis=1)
    shares += rank < (WHOLE - shares.sum(axis=1))[:, None]
    leaf, classes = np.nonzero(shares)
    starts = np.concatenate([[0], np.cumsum(np.bincount(leaf, minlength=len(rows)))])
    return SparseLeaves(
        starts.astype(np.int32), classes.astype(np.uint8), shares[leaf, classes].astype(np.uint8), rows.shape[1]
    )


def rounded_votes(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round votes, (leaves, 4) displacement in mm and weight, to the steps that a model file keeps."""
    return votes_from_steps(*steps_of_votes(rows))


def steps_of_votes(rows: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return displacements, (3, leaves) int16 in eighths of a millimetre, and weights, (leaves,) uint16 in 65535ths."""
    displacement = np.rint(rows[:, :3].T.astype(np.float64) * STEPS_PER_MM)
    return displacement.astype(np.int16), np.rint(rows[:, 3].astype(np.float64) * WEIGHT_STEPS).astype(np.uint16)


def votes_from_steps(displacement: NDArray[np.int16], weight: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return votes, (leaves, 4) float32, of what `steps_of_votes` returned."""
    return np.column_stack([displacement.T / np.float32(STEPS_PER_MM), weight / np.float32(WEIGHT_STEPS)])


def join_leaves(leaves: Sequence[Leaves]) -> Leaves:
    """Put leaves of one kind behind each other."""
    sparse = [own for own in leaves if isinstance(own, SparseLeaves)]
    if not sparse:
        return np.concatenate([own for own in leaves if isinstance(own, np.ndarray)])
    if len(sparse) != len(leaves):
        raise ValueError("sparse and dense leaves cannot be joined")
    offsets = np.cumsum([0, *(own.starts[-1] for own in sparse)])
    starts = [own.starts[:-1] + offset for own, offset in zip(sparse, offsets, strict=False)]
    return SparseLeaves(
        np.concatenate([*starts, offsets[-1:]]).astype(np.int32),
        np.concatenate([own.classes for own in sparse]),
        np.concatenate([own.shares for own in sparse]),
        sparse[0].n_classes,
    )
