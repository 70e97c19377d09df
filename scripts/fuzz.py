"""Put damaged and hostile files through every door, and count what happened: `python scripts/fuzz.py --inputs 1000000`.

An input is a clean error if the door raises a VertlocError, a success if it opens, and a fault if anything else comes
out: another exception, a process that dies, or more than a few seconds. The same seeds give the same inputs; a fault is
shown with the door and the seed, and `--door NAME --seed N` puts it through again.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import logging
import multiprocessing
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from fuzz_parts.doors import DOORS, Door
from fuzz_parts.mutations import mutate

from vertloc.errors import VertlocError

_SECONDS = 10
_BATCH = 2000


def main() -> int:
    """Return 0 without a fault, 1 with any."""
    args = _arguments()
    doors = [door for door in DOORS if args.door in (None, door.name)]
    if args.seed is not None:
        return _put_through_once(doors[0], args.seed)
    per_door = -(-args.inputs // len(doors))
    start = time.perf_counter()
    counts: dict[str, Counter[str]] = {door.name: Counter() for door in doors}
    faults: list[str] = []
    jobs = [(door.name, begin, min(begin + _BATCH, per_door)) for begin in range(0, per_door, _BATCH) for door in doors]
    for name, begin, end in jobs:
        found, said = _in_a_process(name, begin + args.first, end + args.first)
        counts[name] += found
        faults += said
        for line in said:
            print(line, flush=True)
        if args.progress and name == doors[-1].name:
            print(f"{sum(c.total() for c in counts.values())} inputs, {time.perf_counter() - start:.0f} s", flush=True)
    print(table(counts))
    print(f"{time.perf_counter() - start:.0f} s, seeds {args.first} to {args.first + per_door - 1} of each door")
    return 1 if faults else 0


def table(counts: dict[str, Counter[str]]) -> str:
    """Lay the counts out as a Markdown table."""
    rows = ["| door | inputs | clean errors | successes | faults |", "|---|--:|--:|--:|--:|"]
    total: Counter[str] = sum(counts.values(), Counter())
    for name, count in [*counts.items(), ("all", total)]:
        cells = (count.total(), count["error"], count["success"], count["fault"])
        rows.append(f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    return "\n".join(rows)


def put_through(door: Door, seed: int, folder: Path, good: list[bytes]) -> str:
    """Put one changed file through a door; "success" or "error". What else the door raises comes out of here."""
    random = Random(f"{door.name} {seed}")
    data = mutate(random.choice(good), random)
    path = folder / f"x{door.suffix}"
    path.write_bytes(gzip.compress(data, 1) if door.is_gzip else data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            door.open(path)
    except VertlocError as error:
        if path.name not in str(error) and str(folder) not in str(error):
            raise AssertionError(f"the message names no file: {error}") from error
        return "error"
    return "success"


@contextlib.contextmanager
def opened(door: Door) -> Iterator[tuple[Path, list[bytes]]]:
    """Make a folder with the files beside, and the good files."""
    with tempfile.TemporaryDirectory(prefix="vertloc-fuzz-") as made:
        folder = Path(made, "in")
        folder.mkdir()
        for suffix, data in door.beside(folder).items():
            (folder / f"x{suffix}").write_bytes(data)
        yield folder, door.good(Path(made))


def _in_a_process(name: str, begin: int, end: int) -> tuple[Counter[str], list[str]]:
    """Put seeds through in a process of their own, and go on behind a seed that ended it."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    while begin < end:
        here, there = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_run, args=(name, begin, end, there))
        process.start()
        there.close()
        last = begin - 1
        with contextlib.suppress(EOFError):
            while True:
                last, kind, text = here.recv()
                counts[kind] += 1
                if kind == "fault":
                    faults.append(text)
        process.join()
        begin = last + 1
        if begin < end:
            counts["fault"] += 1
            faults.append(f"{name}, seed {begin}: the process ended with exit code {process.exitcode}")
            begin += 1
    return counts, faults


def _run(name: str, begin: int, end: int, there: Any) -> None:
    logging.disable(logging.CRITICAL)
    door = next(door for door in DOORS if door.name == name)
    signal.signal(signal.SIGALRM, _too_long)
    with opened(door) as (folder, good):
        for seed in range(begin, end):
            signal.alarm(_SECONDS)
            try:
                there.send((seed, put_through(door, seed, folder, good), ""))
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{name}, seed {seed}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
                there.send((seed, "fault", text))
            signal.alarm(0)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {_SECONDS} s")


def _put_through_once(door: Door, seed: int) -> int:
    with opened(door) as (folder, good):
        try:
            print(put_through(door, seed, folder, good))
        except Exception:
            traceback.print_exc()
            return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, metavar="N", help="of all doors together (default 20000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="begin with this seed")
    parser.add_argument("--door", choices=[door.name for door in DOORS], help="only this door")
    parser.add_argument("--seed", type=int, metavar="N", help="put one input through --door and show what it raises")
    parser.add_argument("--progress", action="store_true", help="say how far it is")
    args = parser.parse_args()
    if args.seed is not None and args.door is None:
        parser.error("--seed needs --door")
    return args


if __name__ == "__main__":
    sys.exit(main())
