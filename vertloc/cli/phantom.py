"""`vertloc phantom`: a seed -> a synthetic cohort in the layout of the database."""

from __future__ import annotations

from argparse import Namespace

from vertloc.cli.console import progress_bar, say
from vertloc.phantom.cohort import plan_cohort, write_phantom_cohort
from vertloc.phantom.settings import PhantomSettings, demo_settings
from vertloc.phantom.statistics import format_statistics


def run(args: Namespace) -> int:
    """Write the cohort and print how it compares with the database's statistics."""
    settings = demo_settings(args.patients) if args.coarse else PhantomSettings(n_patients=args.patients)
    with progress_bar(args, len(plan_cohort(settings, args.seed)), "scan") as step:
        statistics = write_phantom_cohort(args.out, settings, args.seed, args.n_jobs, step)
    say(args, format_statistics(statistics))
    say(args, f"{args.patients} patients -> {args.out}")
    return 0
