"""Cholesky factor of a large matrix, the same to the last bit on every machine.

LAPACK sums in an order that depends on the processor and the number of threads, and a model must not. Here every entry
is changed in the order of its columns, a block of them at a time so that they stay in the processor's cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.jit import kernel

_BLOCK = 64


@kernel
def cholesky(matrix: NDArray[np.float64]) -> bool:
    """Turn the lower triangle of a symmetric matrix into its Cholesky factor, in place (Golub and Van Loan, 4.2).

    matrix : (n, n) float64; the upper triangle is scratch
    returns : False, with the matrix spoilt, if it is not positive definite
    """
    n = matrix.shape[0]
    for first in range(0, n, _BLOCK):
        end = min(first + _BLOCK, n)
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
        # The upper triangle takes the block's columns as rows, to be read along.
        for i in range(end, n):
            for k in range(first, end):
                matrix[k, i] = matrix[i, k]
        for i in range(end, n):
            row = matrix[i]
            for k in range(first, end):
                factor = row[k]
                other = matrix[k]
                for j in range(end, i + 1):
                    row[j] -= factor * other[j]
    return True


@kernel
def solve_cholesky(factor: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Solve L L^T x = right for every row of `right`, in place.

    factor : (n, n) float64, its lower triangle L from `cholesky`; right : (m, n) float64
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
