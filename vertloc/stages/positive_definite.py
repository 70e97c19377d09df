"""Large systems of linear equations whose matrix is positive definite, solved alike on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.kernels.cholesky import BLOCK, factor_columns, solve_cholesky, update_rows
from vertloc.workers import n_workers, run_pieces

_PIECES_PER_THREAD = 2
_WORTH_A_THREAD = 1_000_000  # entries of a block's update


def factorize(matrix: NDArray[np.float64], n_threads: int = 1) -> bool:
    """Turn the lower triangle of a symmetric matrix into its Cholesky factor, in place (Golub and Van Loan, 4.2).

    matrix : (n, n) float64; the upper triangle is scratch
    returns : False, with the matrix spoilt, if it is not positive definite
    The factor is the same to the last bit whatever the number of threads.
    """
    n = len(matrix)
    for first in range(0, n, BLOCK):
        end = min(first + BLOCK, n)
        if not factor_columns(matrix, first, end):
            return False
        n_pieces = _PIECES_PER_THREAD * n_workers(n_threads) if (n - end) ** 2 > _WORTH_A_THREAD else 1
        # A row's work grows with its length, so the pieces of long rows have fewer.
        bounds = end + np.rint((n - end) * np.sqrt(np.linspace(0, 1, n_pieces + 1))).astype(int)

        def update(i: int, first: int = first, end: int = end, bounds: NDArray[np.int64] = bounds) -> None:
            update_rows(matrix, first, end, int(bounds[i]), int(bounds[i + 1]))

        run_pieces(update, n_pieces, n_threads)
    return True


def solve(factor: NDArray[np.float64], right: NDArray[np.float64], n_threads: int = 1) -> NDArray[np.float64]:
    """Solve L L^T x = right for every row of `right`: (m, n).

    factor : (n, n) float64, its lower triangle L, from `factorize`; right : (m, n) float64
    """
    solved = np.array(right, np.float64)
    run_pieces(lambda i: solve_cholesky(factor, solved[i : i + 1]), len(solved), n_threads)
    return solved
