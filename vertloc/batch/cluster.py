"""Work on the workers of a Dask cluster that sees the same files: results in order, one bad scan stops no other.

A task is small (paths and settings; a worker reads model and scan itself), depends on nothing that a worker holds, and
may run twice: when a worker dies, the scheduler gives its tasks to others. Dask's own client is used rather than
joblib's backend of it, whose call ends at the first task that kills its workers.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from vertloc.errors import ClusterError
from vertloc.versions import versions

Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_TO_CONNECT = 30
_FIRST_WORKER_SECONDS = 300
_TASKS_PER_CORE = 4
_MUST_AGREE = ("vertloc", "numpy", "scipy", "numba")


@contextmanager
def connected(address: str, folder: Path, files: Sequence[Path] = ()) -> Iterator[Any]:
    """Give a client of the scheduler at an address, once a worker is there and all workers see what they need.

    folder : where results are written; files : some that the workers will read
    Raises ClusterError if Dask is missing, nobody answers, no worker comes, or a worker does not see the same files or
    has other versions of the libraries that results depend on.
    """
    if find_spec("distributed") is None:
        raise ClusterError("a cluster needs Dask: pip install 'vertloc[cluster]'")
    from distributed import Client

    connect: Callable[..., Any] = Client
    try:
        client = connect(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"{address}: no Dask scheduler answers: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_FIRST_WORKER_SECONDS)
        except TimeoutError:
            raise ClusterError(f"{address}: no worker came within {_FIRST_WORKER_SECONDS} s") from None
        _check_workers(client, address, folder, files)
        yield client


def each_on_cluster(
    client: Any, work: Callable[[Item], Result], items: Sequence[Item], lost: Callable[[Item, Exception], Result]
) -> Iterator[Result]:
    """Yield the results of `work` in the order of the items; a few tasks for each core are under way at a time.

    work : a function of a module, which the workers import
    lost : makes the result of an item whose task killed its workers again and again, or raised
    """
    under_way: deque[tuple[Item, Any]] = deque()

    def first_result() -> Result:
        item, future = under_way.popleft()
        try:
            result: Result = future.result()
        except Exception as error:
            # Whatever ended the task, among it that its workers died: the other items go on.
            return lost(item, error)
        return result

    try:
        for item in items:
            while len(under_way) >= max(_TASKS_PER_CORE * sum(client.ncores().values()), 1):
                yield first_result()
            under_way.append((item, client.submit(work, item, pure=False)))
        while under_way:
            yield first_result()
    finally:
        client.cancel([future for _, future in under_way])


def _check_workers(client: Any, address: str, folder: Path, files: Sequence[Path]) -> None:
    """Let every worker read a file that was just written where the results will be. Raises ClusterError."""
    token = secrets.token_hex(8)
    mark = folder.resolve() / f".vertloc-cluster-{token}"
    mark.write_text(token)
    try:
        wanted = {name: versions()[name] for name in _MUST_AGREE}
        found = client.run(_problem_of_this_worker, mark, token, [path.resolve() for path in files], wanted)
    finally:
        mark.unlink(missing_ok=True)
    problems = [f"{address}: worker {worker}: {problem}" for worker, problem in sorted(found.items()) if problem]
    if problems:
        raise ClusterError("\n".join(problems))


def _problem_of_this_worker(mark: Path, token: str, files: Sequence[Path], wanted: dict[str, str]) -> str:
    """Say why the worker that this runs on cannot take part; "" if it can."""
    try:
        if mark.read_text() != token:
            return f"sees another folder as {mark.parent}; results need a file system that all machines share"
    except OSError:
        return f"does not see {mark.parent}; results need a file system that all machines share"
    missing = [str(path) for path in files if not path.exists()]
    if missing:
        return f"does not see {missing[0]}; scans and model need a file system that all machines share"
    here = versions()
    other = [f"{name} {here[name]} for {version}" for name, version in wanted.items() if here[name] != version]
    return f"has {', '.join(other)}; results would differ" if other else ""
