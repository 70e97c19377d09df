"""`vertloc relabel`: a result + a level that is known -> the result with its chain shifted."""

from __future__ import annotations

from argparse import Namespace

from vertloc.cli.printing import show
from vertloc.converting import image_reference
from vertloc.relabelling import relabel_file


def run(args: Namespace) -> int:
    """Relabel and say what the points are called now."""
    landmarks = relabel_file(args.result, args.point, args.out, image_reference(args.image))
    show(f"{args.out or args.result}: {', '.join(landmarks.centroids.labels)}")
    for warning in landmarks.warnings:
        show(warning)
    return 0
