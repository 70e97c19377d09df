"""Train and predict again and again in one process, to catch what corrupts memory only now and then: see `--help`.

Runs itself under Python's and the C library's debugging allocators, with faulthandler, until the rounds or the time are
used up, and compares every model with the first one. Prints how many rounds went well; exit code 1 if one did not.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_DEBUGGING = {"PYTHONMALLOC": "debug", "MALLOC_PERTURB_": "165", "MALLOC_CHECK_": "3"}


def main() -> int:
    """Start the soak in a process of its own, and tell how it ended."""
    args = _arguments()
    if args.inner:
        return _soak(args)
    environment = {**os.environ, **({} if args.plain else _DEBUGGING)}
    if args.bounds_check:
        environment["NUMBA_BOUNDSCHECK"] = "1"
    done = subprocess.run([sys.executable, __file__, "--inner", *sys.argv[1:]], env=environment)
    if done.returncode < 0:
        print(f"killed by signal {-done.returncode}; see the last round above and the stack on standard error")
        return 1
    return done.returncode


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="annotated scans")
    parser.add_argument("--rounds", type=int, default=50, metavar="N", help="trainings, each followed by predictions")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M", help="stop after this time")
    parser.add_argument("--scans", type=int, default=0, metavar="N", help="train on the first N scans (default: all)")
    parser.add_argument("--n-jobs", type=int, default=2, metavar="N")
    parser.add_argument("--config", type=Path, metavar="YAML", help="settings of the trainings")
    parser.add_argument("--no-cache", action="store_true", help="without the cache of preprocessed scans")
    parser.add_argument("--plain", action="store_true", help="without the debugging allocators")
    parser.add_argument("--bounds-check", action="store_true", help="let the kernels check every index")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _soak(args: argparse.Namespace) -> int:
    faulthandler.enable()
    from vertloc.batch.job import model_checksum
    from vertloc.cohorts.loading import load_cohort
    from vertloc.config import Config, read_config
    from vertloc.localization import localize
    from vertloc.training import train

    config = read_config(args.config) if args.config else Config()
    cases = load_cohort(args.data).cases[: args.scans or None]
    first, begin = "", time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cache = None if args.no_cache else Path(folder)
        for number in range(1, args.rounds + 1):
            model = train(cases, config, seed=1, n_jobs=args.n_jobs, cache=cache)
            found = [localize(case.image_path, model, args.n_jobs) for case in cases[:5]]
            landmarks = hashlib.sha256(b"".join(result.world.points_mm.tobytes() for result in found)).hexdigest()
            this = model_checksum(model) + landmarks
            first = first or this
            minutes = (time.monotonic() - begin) / 60
            print(f"round {number}: {minutes:.1f} minutes, {'same' if this == first else 'DIFFERS'}", flush=True)
            if this != first:
                return 1
            del model, found
            gc.collect()
            if minutes > args.minutes:
                break
    n_predictions = number * min(5, len(cases))
    print(f"no fault in {number} trainings of {len(cases)} scans and {n_predictions} predictions in one process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
