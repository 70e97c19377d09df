"""`vertloc predict`: scans + a model -> one `.lml` per scan, run.json, and previews if asked."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vertloc.cli.console import complain, progress_bar, say
from vertloc.cohorts.case import Case
from vertloc.cohorts.inputs import cases_from_inputs
from vertloc.cohorts.loading import load_cohort, load_folds
from vertloc.errors import CohortError
from vertloc.io.model_file import file_sha256, read_model_file
from vertloc.io.outputs import make_folder

if TYPE_CHECKING:
    from vertloc.batch.predicting import CaseResult


def run(args: Namespace) -> int:
    """Predict all cases; 0 if all went well, 1 if some failed, 2 if all did."""
    make_folder(args.out)
    if args.report:
        from vertloc.report.page import check_can_report

        check_can_report()
    cases = _cases(args)
    with ThreadPoolExecutor(1) as reader:
        # Reading and checksums do not hold the interpreter's lock: the other core imports what computes meanwhile.
        stored = reader.submit(read_model_file, args.model)
        sha256 = reader.submit(lambda: file_sha256(stored.result().path))  # nothing more of what is no model is read
        from vertloc.batch.predicting import PredictOptions, predict_cases
        from vertloc.config import read_prediction_settings
        from vertloc.model import model_of

        model = model_of(stored.result())
        if args.config is not None:
            model = replace(model, settings=read_prediction_settings(args.config, model.settings))
    start = time.perf_counter()
    options = PredictOptions(args.frame, args.preview, args.resume)
    results: list[CaseResult] = []

    def manifest(is_stopped: bool) -> None:
        from vertloc.batch.manifest import Run, write_manifest

        seconds = time.perf_counter() - start
        scans = [case.scan for case in cases]
        run = Run(sys.argv, scans, model, args.model, sha256.result(), args.frame, seconds, is_stopped)
        write_manifest(args.out / "run.json", run, results, args.out)

    try:
        with progress_bar(args, len(cases), "scan") as step:

            def done(result: CaseResult) -> None:
                results.append(result)
                step()

            predict_cases(cases, model, args.out, args.n_jobs, options, done, sha256.result)
    except KeyboardInterrupt:
        manifest(is_stopped=True)
        raise
    manifest(is_stopped=False)
    for result in results:
        say(args, _line(result))
    if args.report:
        from vertloc.report.page import write_report

        say(args, f"report -> {write_report(args.out, n_jobs=args.n_jobs)}")
    failed = [result for result in results if result.status == "failed"]
    seconds = time.perf_counter() - start
    say(args, f"{len(results) - len(failed)} of {len(results)} scans in {seconds:.1f} s -> {args.out}")
    if failed:
        complain(args, f"{len(failed)} of {len(results)} scans failed; see {args.out / 'run.json'}")
    return 0 if not failed else 1 if len(failed) < len(results) else 2


def _cases(args: Namespace) -> list[Case]:
    if args.data is not None and not args.inputs:
        if args.folds:
            return list(chain.from_iterable(f.cases for f in load_folds(args.data, args.folds, need_landmarks=False)))
        return list(load_cohort(args.data, need_landmarks=False).cases)
    if args.data is not None or args.folds or not args.inputs:
        raise CohortError("expected either image files and folders, or --data DIR with --folds FILE...")
    return cases_from_inputs([Path(path) for path in args.inputs])


def _line(result: CaseResult) -> str:
    if result.status == "failed":
        return f"{result.scan}  failed: {result.message}"
    if result.status == "skipped":
        return f"{result.scan}  skipped: the same result is already there"
    if not result.confidence:
        return f"{result.scan}  no vertebra found: {result.message}  ({result.seconds:.1f} s)"
    labels = list(result.confidence)
    least = min(labels, key=lambda label: result.confidence[label])
    return (
        f"{result.scan}  {labels[0]} to {labels[-1]}, {len(labels)} vertebrae,"
        f" least sure of {least} ({100 * result.confidence[least]:.0f} %)  ({result.seconds:.1f} s)"
    )
