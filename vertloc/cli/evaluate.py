"""`vertloc evaluate`: results + annotations -> the table of scores."""

from __future__ import annotations

from argparse import Namespace

from vertloc.evaluation.scores import evaluate
from vertloc.io.atomic import write_bytes_atomically
from vertloc.report.tables import scores_csv, scores_json, scores_table


def run(args: Namespace) -> int:
    """Score and print."""
    scores = evaluate(args.truth, args.pred, only_predicted=args.scans == "predicted")
    if args.json:
        write_bytes_atomically(args.json, scores_json(scores).encode())
    if args.csv:
        write_bytes_atomically(args.csv, scores_csv(scores).encode())
    print(scores_table(scores))
    return 0
