"""`vertloc study`: folds -> cross-validated scores with everything they rest on."""

from __future__ import annotations

import sys
import time
from argparse import Namespace

from vertloc.cli.console import complain, progress_bar, say
from vertloc.cli.train import chosen_config
from vertloc.cohorts.loading import load_folds
from vertloc.errors import CohortError
from vertloc.io.outputs import make_folder
from vertloc.study import StudyOptions, n_study_steps, run_study


def run(args: Namespace) -> int:
    """Run the study and print its table."""
    config = chosen_config(args)
    if args.cache is not None:
        make_folder(args.cache)
    if len(args.folds) < 2:
        raise CohortError(f"expected two fold files or more, got {args.folds[0]} alone")
    folds = load_folds(args.data, args.folds)
    start = time.perf_counter()
    options = StudyOptions(
        seed=args.seed,
        n_jobs=args.n_jobs,
        cache=args.cache,
        report=not args.no_report,
        resume=args.resume,
        command=sys.argv,
        data=args.data,
        cluster=args.dask,
    )
    with progress_bar(args, n_study_steps(folds, config, options.report), "step") as step:
        study = run_study(folds, config, args.out, options, step)
    say(args, study.table)
    say(args, f"{len(study.results)} scans in {time.perf_counter() - start:.0f} s -> {args.out}")
    failed = [result for result in study.results if result.status == "failed"]
    if failed:
        complain(args, f"{len(failed)} of {len(study.results)} scans failed; see {args.out}/run-*.json")
    return 0 if not failed else 1 if len(failed) < len(study.results) else 2
