"""Many scans -> results in order, where the next ones are read while the first ones are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Result = TypeVar("Result")


def read_ahead_of_work(
    items: Sequence[Item],
    read: Callable[[Item], Ready],
    work: Callable[[Item, Callable[[], Ready]], Result],
    n_threads: int,
) -> Iterator[Result]:
    """Yield the results of `work` in the order of the items.

    work : called on `n_threads` threads with an item and a function that gives what `read` made of it, or raises what
        `read` raised
    At most two items for each thread are read and not yet done: one that is computed and one that waits. If the caller
    stops asking, what has begun ends, and nothing else begins.
    """
    with ThreadPoolExecutor(n_threads) as readers, ThreadPoolExecutor(n_threads) as workers:
        under_way: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(under_way) >= 2 * n_threads:
                    yield under_way.popleft().result()
                under_way.append(workers.submit(work, item, readers.submit(read, item).result))
            while under_way:
                yield under_way.popleft().result()
        finally:
            for pool in (readers, workers):
                pool.shutdown(wait=False, cancel_futures=True)
