"""`vertloc convert`: landmarks of one format -> another."""

from __future__ import annotations

from argparse import Namespace

from vertloc.cli.printing import show
from vertloc.converting import convert_landmarks


def run(args: Namespace) -> int:
    """Convert and say what was written."""
    for path in convert_landmarks(args.source, args.out, args.image, args.frame, args.format):
        show(str(path))
    return 0
