"""`vertloc relabel`: results + levels that are known, or ratings of a report -> results with their chains shifted."""

from __future__ import annotations

from argparse import Namespace

from vertloc.cli.printing import show
from vertloc.converting import image_reference
from vertloc.ratings import apply_ratings, read_ratings
from vertloc.relabelling import other_results, relabel_file


def run(args: Namespace) -> int:
    """Relabel and say what the points are called now."""
    if args.ratings is not None:
        for line in apply_ratings(args.result, read_ratings(args.ratings)):
            show(line)
        return 0
    landmarks = relabel_file(args.result, args.point, args.out, image_reference(args.image))
    show(f"{args.out or args.result}: {', '.join(landmarks.centroids.labels)}")
    for warning in landmarks.warnings:
        show(warning)
    others = [] if args.out else other_results(args.result)
    if others:
        show(f"not relabelled: {', '.join(path.name for path in others)}; make them anew with vertloc convert")
    return 0
