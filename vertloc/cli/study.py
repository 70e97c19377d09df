"""`vertloc study`: two folds -> cross-validated scores with everything they rest on."""

from __future__ import annotations

import sys
import time
from argparse import Namespace

from vertloc.cli.console import complain, progress_bar, say
from vertloc.cli.train import chosen_config
from vertloc.cohorts.loading import load_folds
from vertloc.io.outputs import make_folder
from vertloc.study import n_study_steps, run_study


def run(args: Namespace) -> int:
    """Run the study and print its table."""
    config = chosen_config(args)
    if args.cache is not None:
        make_folder(args.cache)
    folds = load_folds(args.data, args.folds)
    start = time.perf_counter()
    with progress_bar(args, n_study_steps(folds, config, not args.no_report), "step") as step:
        study = run_study(
            folds, config, args.out, args.seed, args.n_jobs, sys.argv, not args.no_report, step, args.cache
        )
    say(args, study.table)
    say(args, f"{len(study.results)} scans in {time.perf_counter() - start:.0f} s -> {args.out}")
    failed = [result for result in study.results if result.status == "failed"]
    if failed:
        complain(args, f"{len(failed)} of {len(study.results)} scans failed; see {args.out}/run-*.json")
    return 0 if not failed else 1 if len(failed) < len(study.results) else 2
