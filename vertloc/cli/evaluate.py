"""`vertloc evaluate`: results + annotations -> the table of scores."""

from __future__ import annotations

from argparse import Namespace

from vertloc.cli.printing import show
from vertloc.cohorts.fold_files import read_fold_file
from vertloc.evaluation.scores import evaluate
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.outputs import prepare_file
from vertloc.report.tables import scores_csv, scores_json, scores_table, worst_scans


def run(args: Namespace) -> int:
    """Score and print."""
    for path in (args.json, args.csv):
        if path is not None:
            prepare_file(path)
    scans = [line.path for path in args.folds for line in read_fold_file(path)] if args.folds else None
    scores = evaluate(args.truth, args.pred, scans)
    if args.json:
        write_bytes_atomically(args.json, scores_json(scores).encode())
    if args.csv:
        write_bytes_atomically(args.csv, scores_csv(scores).encode())
    show(scores_table(scores))
    show(worst_scans(scores))
    return 0
