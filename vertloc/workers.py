"""Work in pieces, on several threads: the only thread pool of the package, and what `n_jobs` means everywhere.

Kernels release the interpreter lock; callers split the work into fixed pieces and hand them to `run_pieces`. The
pieces do not depend on the number of threads, and every piece writes its own part of the result, so the result is
the same to the last bit on any number of cores.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def n_workers(n_jobs: int, n_pieces: int | None = None) -> int:
    """Return how many threads `n_jobs` asks for: at least 1, at most the cores this process may use and the pieces.

    n_jobs : -1 means all cores, -2 all but one and so on, as in joblib; n_pieces : None means any number
    More threads than cores or pieces would cost time and memory, and gain nothing. Raises ValueError for 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs must be at least 1, or -1 for all cores, got 0")
    cores = available_cores()
    wanted = min(n_jobs, cores) if n_jobs > 0 else cores + 1 + n_jobs
    return max(1, wanted if n_pieces is None else min(wanted, n_pieces))


def available_cores() -> int:
    """Return how many cores this process may use: of its affinity, and of its control group's share of time."""
    # joblib counts likewise, but takes a tenth of a second to import.
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no such call on this system
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _cores_of_control_group())))


@functools.cache
def _cores_of_control_group(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return the smallest share of time of this process's control group and those above it, in cores."""
    try:
        lines = own.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return math.inf
    least = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if not controllers else root / "cpu"
        folder = base / path.lstrip("/")
        # In a container the path is often that of the host, and its own limit lies at the root.
        for place in (folder, *folder.parents):
            if place == base or base in place.parents:
                least = min(least, _quota(place))
    return least


def _quota(folder: Path) -> float:
    """Read a group's share of time in cores, of either version of control groups; no limit where there is none."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(quota) / float(period) if quota != "max" and float(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def run_pieces(work: Callable[[int], Result], n_pieces: int, n_jobs: int) -> list[Result]:
    """Return [work(0), ..., work(n_pieces - 1)], computed on as many threads as `n_workers` tells."""
    return list(each_piece(work, n_pieces, n_jobs))


def each_piece(work: Callable[[int], Result], n_pieces: int, n_jobs: int) -> Iterator[Result]:
    """Yield what `run_pieces` returns, in order, as soon as it is there: a result that is used up need not be kept."""
    n_threads = n_workers(n_jobs, n_pieces)
    if n_threads <= 1:
        yield from map(work, range(n_pieces))
        return
    with ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(work, range(n_pieces))
