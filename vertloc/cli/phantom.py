"""`vertloc phantom`: a seed -> a synthetic cohort in the layout of the database."""

from __future__ import annotations

from argparse import Namespace

from vertloc.cli.console import progress_bar, say
from vertloc.cohorts.phantom import coarse_settings, settings_for, write_phantom_cohort


def run(args: Namespace) -> int:
    """Write the cohort and print how it compares with the database's statistics."""
    settings = coarse_settings(args.patients) if args.coarse else settings_for(args.patients)
    with progress_bar(args, args.patients, "patient") as step:
        statistics = write_phantom_cohort(args.out, settings, args.seed, args.n_jobs, step)
    say(args, statistics.table())
    say(args, f"{statistics.n_scans} scans of {args.patients} patients -> {args.out}")
    return 0
