"""Work in pieces, on several threads: the only thread pool of the package.

Kernels release the interpreter lock; callers split the work into fixed pieces and hand them to `run_pieces`. The
pieces do not depend on the number of threads, and every piece writes its own part of the result, so the result is
the same to the last bit on any number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def run_pieces(work: Callable[[int], Result], n_pieces: int, n_threads: int) -> list[Result]:
    """Return [work(0), ..., work(n_pieces - 1)], computed on up to `n_threads` threads."""
    return list(each_piece(work, n_pieces, n_threads))


def each_piece(work: Callable[[int], Result], n_pieces: int, n_threads: int) -> Iterator[Result]:
    """Yield what `run_pieces` returns, in order, as soon as it is there: a result that is used up need not be kept."""
    if n_threads <= 1 or n_pieces <= 1:
        yield from map(work, range(n_pieces))
        return
    with ThreadPoolExecutor(min(n_threads, n_pieces)) as pool:
        yield from pool.map(work, range(n_pieces))
