"""The Cholesky kernels against numpy's own solver."""

import numpy as np
import pytest

from vertloc.kernels.cholesky import cholesky, solve_cholesky


def positive_definite(n, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, 2 * n + 3))
    return rows @ rows.T / n + 0.1 * np.eye(n)


# Around and across the edges of a block of 64.
@pytest.mark.parametrize("n", [1, 2, 7, 63, 64, 65, 130])
def test_factor_and_solution_equal_those_of_numpy(n):
    matrix = positive_definite(n)
    factor = matrix.copy()
    assert cholesky(factor)
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-12)
    right = np.random.default_rng(1).normal(size=(3, n))
    solved = right.copy()
    solve_cholesky(factor, solved)
    np.testing.assert_allclose(solved.T, np.linalg.solve(matrix, right.T), rtol=1e-7, atol=1e-10)


def test_only_the_lower_triangle_counts():
    matrix = positive_definite(70)
    spoilt = np.tril(matrix) + np.triu(np.full((70, 70), np.nan), 1)
    assert cholesky(spoilt)
    np.testing.assert_allclose(np.tril(spoilt), np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.diag([1.0, -1.0, 1.0]), np.ones((66, 66)), np.full((2, 2), np.nan)]
)
def test_a_matrix_that_is_not_positive_definite_is_said_to_be_so(matrix):
    assert not cholesky(matrix.copy())
