"""`vertloc info`: what is in a model file."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

import yaml

from vertloc.cli.printing import show
from vertloc.model import load_model
from vertloc.models import find_model
from vertloc.stages.forest import FlatForest


def run(args: Namespace) -> int:
    """Check the model and describe it."""
    path = find_model(args.model)
    model = load_model(path)
    seen = model.provenance
    show(f"{path}: vertloc model, {path.stat().st_size / 1e6:.1f} MB, checked")
    show(f"trained with vertloc {seen.vertloc}, seed {seen.seed}, on {', '.join(seen.folds) or 'unnamed scans'}:")
    show(f"  {seen.n_scans} scans of {seen.n_patients} patients, {sum(seen.labels.values())} vertebrae")
    show("  " + "  ".join(f"{label} {count}" for label, count in seen.labels.items()))
    show(_forest_line("classification forest", model.classifier))
    if model.centre_forest is not None:
        show(_forest_line("centre forest", model.centre_forest))
    if model.discriminant is not None:
        show(f"naming discriminant: {len(model.discriminant.pool)} features")
    show("applied with:")
    settings = {"preprocess": asdict(model.preprocess), "prediction": asdict(model.settings)}
    _print_indented(yaml.safe_dump(settings, sort_keys=False))
    show("trained with:")
    _print_indented(seen.configuration)
    return 0


def _print_indented(text: str) -> None:
    show("\n".join(f"  {line}" for line in text.splitlines()))


def _forest_line(name: str, forest: FlatForest) -> str:
    return (
        f"{name}: {forest.n_trees} trees, {len(forest.features)} nodes, {len(forest.leaf_values)} leaves,"
        f" {len(forest.pool)} features"
    )
