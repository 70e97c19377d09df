"""`vertloc folds`: data folders -> fold files, no patient in two of them."""

from __future__ import annotations

from argparse import Namespace

from vertloc.cli.printing import show
from vertloc.cohorts.loading import load_cohort
from vertloc.cohorts.splitting import split_by_patient, write_folds


def run(args: Namespace) -> int:
    """Split, write, and say how many scans each fold has."""
    cohort = load_cohort(args.data, need_landmarks=not args.all)
    folds = split_by_patient(cohort.cases, args.k, args.seed)
    comment = f"vertloc folds: {len(cohort.cases)} scans, {args.k} folds by patient, seed {args.seed}"
    for path, fold in zip(write_folds(args.out, folds, comment), folds, strict=True):
        show(f"{path}: {len(fold)} scans")
    return 0
