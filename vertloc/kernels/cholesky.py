"""Cholesky factor of a large matrix, the same to the last bit on every machine.

LAPACK sums in an order that depends on the processor and the number of threads, and a model must not. Here every entry
is changed in the order of its columns, a block of them at a time; rows are changed each on its own, so threads may
share them out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel

BLOCK = 64
_TILE = 512  # columns at a time: a block of them stays in the processor's second cache
_UNROLLED = 8


@kernel
def factor_columns(matrix: NDArray[np.float64], first: int, end: int) -> bool:
    """Factor the columns first .. end - 1 of a matrix whose earlier columns are done; the next step is `update_rows`.

    matrix : (n, n) float64, its lower triangle; the upper one is scratch, which takes these columns as rows
    returns : False, with the matrix spoilt, if it is not positive definite
    """
    n = matrix.shape[0]
    for j in range(first, end):
        pivot = matrix[j, j]
        for k in range(first, j):
            pivot -= matrix[j, k] * matrix[j, k]
        if not pivot > 0:
            return False
        pivot = np.sqrt(pivot)
        matrix[j, j] = pivot
        for i in range(j + 1, n):
            value = matrix[i, j]
            for k in range(first, j):
                value -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = value / pivot
    for i in range(end, n):
        for k in range(first, end):
            matrix[k, i] = matrix[i, k]
    return True


@kernel
def update_rows(matrix: NDArray[np.float64], first: int, end: int, row_first: int, row_end: int) -> None:
    """Take the columns first .. end - 1, which are factored, out of the rows row_first .. row_end - 1, past `end`."""
    for tile in range(end, row_end, _TILE):
        for i in range(max(row_first, tile), row_end):
            row, j_end = matrix[i], min(tile + _TILE, i + 1)
            k = first
            while k + _UNROLLED <= end:
                a, b, c, d = row[k], row[k + 1], row[k + 2], row[k + 3]
                e, f, g, h = row[k + 4], row[k + 5], row[k + 6], row[k + 7]
                for j in range(tile, j_end):
                    value = row[j] - a * matrix[k, j] - b * matrix[k + 1, j] - c * matrix[k + 2, j]
                    value = value - d * matrix[k + 3, j] - e * matrix[k + 4, j] - f * matrix[k + 5, j]
                    row[j] = value - g * matrix[k + 6, j] - h * matrix[k + 7, j]
                k += _UNROLLED
            while k < end:
                factor = row[k]
                for j in range(tile, j_end):
                    row[j] -= factor * matrix[k, j]
                k += 1


@kernel
def solve_cholesky(factor: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Solve L L^T x = right for every row of `right`, in place.

    factor : (n, n) float64, its lower triangle L, the Cholesky factor; right : (m, n) float64
    """
    n = factor.shape[0]
    for r in range(right.shape[0]):
        x = right[r]
        for i in range(n):
            value = x[i]
            row = factor[i]
            for k in range(i):
                value -= row[k] * x[k]
            x[i] = value / row[i]
        for i in range(n - 1, -1, -1):
            x[i] /= factor[i, i]
            value, row = x[i], factor[i]
            for k in range(i):
                x[k] -= row[k] * value
