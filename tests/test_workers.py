"""Work in pieces."""

import pytest

from vertloc.workers import run_pieces


@pytest.mark.parametrize("n_threads", [0, 1, 2, 5])
@pytest.mark.parametrize("n_pieces", [0, 1, 3, 20])
def test_pieces_come_back_in_their_order_on_any_number_of_threads(n_pieces, n_threads):
    assert run_pieces(lambda i: i * i, n_pieces, n_threads) == [i * i for i in range(n_pieces)]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_error_of_a_piece_reaches_the_caller(n_threads):
    with pytest.raises(ZeroDivisionError):
        run_pieces(lambda i: 1 // (i - 2), 4, n_threads)
