"""`vertloc plot`: a model, a scan or a study -> one figure."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vertloc.cli.console import say
from vertloc.errors import OutputError, ReportError
from vertloc.io.images import read_image
from vertloc.io.outputs import prepare_file
from vertloc.model import load_model
from vertloc.report import figures
from vertloc.report.overlay import check_can_draw
from vertloc.report.runs import n_training_scans, read_run

if TYPE_CHECKING:
    from vertloc.evaluation.scores import Scores
    from vertloc.report.figures import Figure

_NEEDED = {"posterior": 1, "candidates": 1, "features": 0, "tree": 0, "errors": 1}


def run(args: Namespace) -> int:
    """Draw and write the figure."""
    check_can_draw()
    prepare_file(args.out)
    if args.out.suffix.lower() not in figures.FORMATS:
        raise OutputError(f"{args.out}: expected a name ending in {', '.join(figures.FORMATS)}")
    figures.save_figure(_figure(args), args.out)
    say(args, f"{args.figure} -> {args.out}")
    return 0


def _figure(args: Namespace) -> Figure:
    wanted = _NEEDED.get(args.figure)
    if wanted is not None and len(args.inputs) != wanted:
        raise ReportError(f"{args.figure}: expected {wanted} input{'' if wanted == 1 else 's'}, got {len(args.inputs)}")
    if args.figure == "errors":
        return figures.errors_figure(_scores(args.inputs[0], args.truth))
    if args.figure == "learning":
        if len(args.inputs) < 2:
            raise ReportError(f"learning: expected at least two studies, got {len(args.inputs)}")
        return figures.learning_figure([(n_training_scans(path), _scores(path, None)) for path in args.inputs])
    model = load_model(args.model)
    if args.figure == "features":
        return figures.features_figure(model)
    if args.figure == "tree":
        return figures.tree_figure(model, args.tree, args.depth)
    draw = figures.posterior_figure if args.figure == "posterior" else figures.candidates_figure
    return draw(read_image(args.inputs[0]), model, args.n_jobs)


def _scores(folder: Path, truth: Path | None) -> Scores:
    scores = read_run(folder, truth).scores
    if scores is None:
        raise ReportError(f"{folder}: its scans have no annotation; expected a study, or --truth DIR")
    return scores
