"""`vertloc predict`: scans + a model -> one `.lml` per scan, run.json, and previews if asked."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vertloc.cli.console import complain, progress_bar, say
from vertloc.cli.summary import look_first_table, need_a_look
from vertloc.cohorts.case import Case
from vertloc.cohorts.dicom_inputs import dicom_cases
from vertloc.cohorts.input_lists import expand_inputs, part_of
from vertloc.cohorts.inputs import cases_from_inputs
from vertloc.cohorts.loading import load_cohort, load_folds
from vertloc.errors import CohortError
from vertloc.io.model_file import file_sha256, read_model_file
from vertloc.io.outputs import make_folder
from vertloc.models import find_model

if TYPE_CHECKING:
    from vertloc.batch.predicting import CaseResult, ModelSource
    from vertloc.model import Model


def run(args: Namespace) -> int:
    """Predict all cases; 0 if all went well, 1 if some failed, 2 if all did."""
    make_folder(args.out)
    if args.report:
        from vertloc.report.page import check_can_report

        check_can_report()
    cases = _cases(args)
    model, source = _model(args)
    from vertloc.batch.predicting import PredictOptions, predict_cases

    start = time.perf_counter()
    options = PredictOptions(
        args.frame, args.preview, args.resume, cluster=args.dask, formats=args.format, known=tuple(args.known)
    )
    results: list[CaseResult] = []
    is_stopped = True
    try:
        with progress_bar(args, len(cases), "scan") as step:

            def done(result: CaseResult) -> None:
                results.append(result)
                step()

            predict_cases(cases, model, args.out, args.n_jobs, options, done, source)
            is_stopped = False
    finally:
        from vertloc.batch.manifest import Run, write_manifest

        seconds = time.perf_counter() - start
        scans = [case.scan for case in cases]
        is_part = args.part is not None
        run = Run(sys.argv, scans, model, source.path, source.sha256(), args.frame, seconds, is_stopped, is_part)
        write_manifest(_manifest_path(args), run, results, args.out)
    return _tell(args, results, seconds)


def _model(args: Namespace) -> tuple[Model, ModelSource]:
    """Load the model and the settings that the arguments name, and make the kernels ready meanwhile."""
    path = find_model(args.model)
    with ThreadPoolExecutor(1) as reader:
        # Most of reading, checks and checksums does not hold the interpreter's lock: meanwhile the other core imports
        # what computes.
        stored = reader.submit(read_model_file, path)
        from vertloc.batch.job import ModelSource
        from vertloc.config import read_prediction_settings
        from vertloc.kernels.jit import start_kernels
        from vertloc.model import model_of

        made = reader.submit(lambda: model_of(stored.result()))
        sha256 = reader.submit(lambda: file_sha256(stored.result().path))  # nothing more of what is no model is read
        if not args.dask:
            start_kernels()
        model = made.result()
    if args.config is not None:
        model = replace(model, settings=read_prediction_settings(args.config, model.settings))
    return model, ModelSource(path, sha256.result)


def _manifest_path(args: Namespace) -> Path:
    """Parts of a batch run at the same time, and each has a manifest of its own."""
    part = "" if args.part is None else "-{}-of-{}".format(*args.part)
    path: Path = args.out / f"run{part}.json"
    return path


def _tell(args: Namespace, results: Sequence[CaseResult], seconds: float) -> int:
    """Print how every scan went, then again those that need a look; return the exit code."""
    for result in results:
        say(args, _line(result))
    n_failed = sum(result.status == "failed" for result in results)
    first = need_a_look(results)
    if first and len(results) > 1:
        say(args, "")
        say(args, look_first_table(first))
    counts = f"{len(results) - n_failed} of {len(results)} scans in {seconds:.1f} s"
    say(args, f"{counts} -> {args.out}")
    if args.report:
        from vertloc.report.page import write_report

        say(args, f"report -> {write_report(args.out, n_jobs=args.n_jobs)}")
    if n_failed:
        complain(args, f"{n_failed} of {len(results)} scans failed; see {_manifest_path(args)}")
    return 0 if not n_failed else 1 if n_failed < len(results) else 2


def _cases(args: Namespace) -> list[Case]:
    cases = _all_cases(args)
    points = [text for text in args.known if "=" in text]
    if points and len(cases) > 1:
        raise CohortError(f"--known {points[0]} is of one scan, not of {len(cases)}; give a folder of landmark files")
    if args.part is None:
        return cases
    cases = part_of(cases, *args.part)
    if not cases:
        raise CohortError("part {} of {} has no scan: there are fewer scans than parts".format(*args.part))
    return cases


def _all_cases(args: Namespace) -> list[Case]:
    inputs = [*args.inputs, *args.list]
    if args.data is not None and not inputs:
        if args.folds:
            folds = load_folds(args.data, args.folds, need_landmarks=False)
            return [case for fold in folds for case in fold.cases]
        return list(load_cohort(args.data, need_landmarks=False).cases)
    if args.data is not None or args.folds or not inputs:
        raise CohortError("expected either image files and folders, or --data DIR with --folds FILE..., or --list FILE")
    rest, cases = dicom_cases(expand_inputs(args.inputs, args.list), args.series, args.keep_names)
    return cases + (cases_from_inputs(rest) if rest else [])


def _line(result: CaseResult) -> str:
    if result.status == "failed":
        return f"{result.scan}  failed: {result.message}"
    if result.status == "skipped":
        return f"{result.scan}  skipped: the same result is already there"
    if not result.confidence:
        return f"{result.scan}  no vertebra found: {result.message}  ({result.seconds:.1f} s)"
    labels = list(result.confidence)
    least = min(labels, key=lambda label: result.confidence[label])
    doubt = f"  unsure: {'; '.join(result.record.reasons)}" if result.record.reasons else ""
    return (
        f"{result.scan}  {labels[0]} to {labels[-1]}, {len(labels)} vertebrae,"
        f" least sure of {least} ({100 * result.confidence[least]:.0f} %)  ({result.seconds:.1f} s){doubt}"
    )
