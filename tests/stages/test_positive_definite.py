"""Factor and solutions against numpy's own solver."""

import numpy as np
import pytest

from vertloc.stages.positive_definite import factorize, solve


def positive_definite(n, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, 2 * n + 3))
    return rows @ rows.T / n + 0.1 * np.eye(n)


# Around and across the edges of a block of 64.
@pytest.mark.parametrize("n", [1, 2, 7, 63, 64, 65, 130, 700])
def test_factor_and_solution_equal_those_of_numpy(n):
    matrix = positive_definite(n)
    factor = matrix.copy()
    assert factorize(factor)
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-12)
    right = np.random.default_rng(1).normal(size=(3, n))
    np.testing.assert_allclose(solve(factor, right).T, np.linalg.solve(matrix, right.T), rtol=1e-7, atol=1e-10)


def test_only_the_lower_triangle_counts():
    matrix = positive_definite(70)
    spoilt = np.tril(matrix) + np.triu(np.full((70, 70), np.nan), 1)
    assert factorize(spoilt)
    np.testing.assert_allclose(np.tril(spoilt), np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.diag([1.0, -1.0, 1.0]), np.ones((66, 66)), np.full((2, 2), np.nan)]
)
def test_a_matrix_that_is_not_positive_definite_is_said_to_be_so(matrix):
    assert not factorize(matrix.copy())


def test_threads_change_no_bit():
    matrix = positive_definite(1200)  # large enough that threads share a block's update out
    one, three, every = matrix.copy(), matrix.copy(), matrix.copy()
    assert factorize(one)
    assert factorize(three, 3)
    assert factorize(every, -1)
    np.testing.assert_array_equal(np.tril(one), np.tril(three))
    np.testing.assert_array_equal(np.tril(one), np.tril(every))
    right = np.random.default_rng(1).normal(size=(4, 1200))
    np.testing.assert_array_equal(solve(one, right), solve(three, right, 3))
