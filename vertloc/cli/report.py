"""`vertloc report`: a folder of results -> one page to look through them."""

from __future__ import annotations

import time
from argparse import Namespace

from vertloc.cli.console import progress_bar, say
from vertloc.report.page import check_can_report, write_report
from vertloc.report.runs import read_run


def run(args: Namespace) -> int:
    """Write the report and say where it is."""
    check_can_report()
    start = time.perf_counter()
    n_scans = len(read_run(args.folder).scans)
    with progress_bar(args, n_scans, "scan") as step:
        page = write_report(args.folder, args.truth, args.n_jobs, args.single_file, step)
    say(args, f"{n_scans} scans in {time.perf_counter() - start:.1f} s -> {page}")
    return 0
