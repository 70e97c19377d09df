"""The kernels without compilation, and work in pieces."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from vertloc.kernels.jit import run_pieces


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="this is the run without compilation")
def test_the_kernel_tests_also_pass_without_compilation():
    # Compiled code reads unset names and out-of-range cells without complaint; plain Python does not.
    folder = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", str(folder)]
    done = subprocess.run(
        command, env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, cwd=folder.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("n_threads", [0, 1, 2, 5])
@pytest.mark.parametrize("n_pieces", [0, 1, 3, 20])
def test_pieces_come_back_in_their_order_on_any_number_of_threads(n_pieces, n_threads):
    assert run_pieces(lambda i: i * i, n_pieces, n_threads) == [i * i for i in range(n_pieces)]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_error_of_a_piece_reaches_the_caller(n_threads):
    with pytest.raises(ZeroDivisionError):
        run_pieces(lambda i: 1 // (i - 2), 4, n_threads)
