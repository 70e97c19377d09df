"""Train the packaged model from several data folders, and write its card.

python scripts/build_model.py --data DIR [DIR ...] [--study STUDY [--narrow NARROW]]
    [--out vertloc/models/ct-spine.npz] [--card docs/model-card.md]

The same scans, configuration and seed give the same model, whatever the number of workers. Accuracy on patients left
out comes from a cross-validation of the same recipe, `vertloc study --data ... --folds ... --out STUDY`, and that on
narrow fields of view from `narrow_study.py --study STUDY --data ... --out NARROW`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from narrow_study import scores_and_confidence, truths_of

from vertloc.cli.console import progress_bar
from vertloc.cohorts.loading import load_cohort
from vertloc.config import Config, read_config
from vertloc.evaluation.scores import evaluate_truths, summarize
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import read_grid
from vertloc.model import Model, save_model
from vertloc.training import n_training_steps, train
from vertloc.vertebrae import REGIONS, region_of

_ROOT = Path(__file__).parents[1]
_SOURCES = Path(__file__).parent / "model_sources.yaml"


def main() -> None:
    """Train, save, and write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="data folders with annotated scans")
    parser.add_argument("--study", type=Path, help="folder of a cross-validation of the same recipe, for the card")
    parser.add_argument("--narrow", type=Path, help="folder of narrow_study.py on that study, for the card")
    parser.add_argument("--config", type=Path, default=_ROOT / "configs" / "default.yaml")
    parser.add_argument("--out", type=Path, default=_ROOT / "vertloc" / "models" / "ct-spine.npz")
    parser.add_argument("--card", type=Path, default=_ROOT / "docs" / "model-card.md")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    args.quiet, args.verbose = False, True
    config, cases = read_config(args.config), load_cohort(args.data).cases
    names = [folder.resolve().name for folder in args.data]
    with progress_bar(args, n_training_steps(len(cases), config), "step") as step:
        model = train(cases, config, args.seed, args.n_jobs, names, step)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, args.out)
    grids = [read_grid(case.image_path) for case in cases]
    measured = "" if args.study is None else measured_on(args.data, args.study, args.narrow)
    card = model_card(model, config, grids, args.out.stat().st_size, measured)
    write_bytes_atomically(args.card, card.encode())
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB; card: {args.card}")


def model_card(model: Model, config: Config, grids: Sequence, n_bytes: int, measured: str) -> str:
    """Return the card of a model: what it is for, what it was taught with, what was measured, what it cannot do.

    grids : of the scans it was trained on; measured : tables from `measured_on`, or nothing
    """
    seen = model.provenance
    by_region = Counter()
    for label, count in seen.labels.items():
        by_region[region_of(label)] += count
    regions = ", ".join(f"{by_region[region]} {region}" for region in REGIONS)
    extent = np.array([grid.extent_mm for grid in grids])
    spacing = np.array([grid.spacing_mm for grid in grids])
    counts = "  ".join(f"{label} {count}" for label, count in seen.labels.items())
    return _CARD.format(
        scans=seen.n_scans,
        patients=seen.n_patients,
        vertebrae=sum(seen.labels.values()),
        regions=regions,
        counts=counts,
        width=_span(extent[:, 0]),
        depth=_span(extent[:, 1]),
        height=_span(extent[:, 2]),
        in_plane=_span(spacing[:, 0]),
        slices=_span(spacing[:, 2]),
        megabytes=n_bytes / 1e6,
        trees=model.classifier.n_trees,
        version=seen.vertloc,
        seed=seen.seed,
        spacing=config.preprocess.spacing_mm,
        accuracy=measured or _NOT_MEASURED,
        sources=_sources(),
    )


def _span(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"{low:.3g} to {high:.3g} (median {middle:.3g})"


def _sources() -> str:
    rows = yaml.safe_load(_SOURCES.read_text(encoding="utf-8"))
    return "\n".join(f"| {row['name']} | {row['licence']} | {row['cite']} |" for row in rows)


def measured_on(data: Sequence[Path], study: Path, narrow: Path | None) -> str:
    """Return tables of what a cross-validation of the recipe found, by data folder and by vertebrae in a scan.

    study : folder of a `vertloc study` over the data folders; narrow : of `narrow_study.py` on it, or None
    """
    kinds = [(root.resolve().name, truths_of(load_cohort([root]).cases), study / "lml") for root in data]
    everything = [truth for _, truths, _ in kinds for truth in truths]
    if narrow is not None:
        kinds.append(("narrow", truths_of(load_cohort([narrow / "scans"]).cases), narrow / "lml"))
    scans = evaluate_truths(everything, study / "lml").scans
    lines = [
        scores_and_confidence(kinds),
        "",
        "| vertebrae in the scan | scans | identified | mean mm |",
        "|---|---|---|---|",
    ]
    for fewest, most in _SIZES:
        some = [scan for scan in scans if fewest <= scan.n <= most]
        if some:
            found = summarize(some)
            size = f"{fewest} to {most}" if most < 26 else f"{fewest} and more"
            lines.append(f"| {size} | {len(some)} | {found.identification_rate:.1%} | {found.mean_mm:.2f} |")
    return "\n".join(lines)


_SIZES = ((1, 6), (7, 9), (10, 13), (14, 26))

_NOT_MEASURED = """The figures of the recipe, patients left out, by region and field of view, are in
[experiments](experiments.md); `make model STUDY=DIR` puts those of a cross-validation of one's own here."""

_CARD = """# Model card: ct-spine
The model that comes with vertloc and is used when none is named. `vertloc info` prints its settings; `make model
DATA="DIR ..."` builds it.

## What it is for
Research on CT of the spine: naming the vertebral bodies C1 to S2 in scans of any field of view, a point each, with a
confidence. It is no medical device and must not be used for diagnosis or to plan treatment; a wrong level can do harm.

## What it was taught with
{scans} scans from {patients} patient folders (two of the trunks are of one patient), {vertebrae} vertebrae
({regions}), labelled for this model: body centres read by eye on curved
reformats, levels counted from anatomical anchors, part of them read twice.

    {counts}

Fields of view in mm: width {width}, depth {depth}, height {height}. Voxels in mm: in plane {in_plane},
slices {slices}. Scans were brought to {spacing:g} mm. Necks are from radiotherapy of head and neck; trunks are chests,
abdomens and three whole spines, some with metal, collapsed bodies, kyphosis or scoliosis.

| collection | licence | cite |
|---|---|---|
{sources}

## What it is
{megabytes:.1f} MB: {trees} classification trees, a voting forest, a linear discriminant and a shape model; trained by
vertloc {version}, seed {seed}. [Method](method.md) explains them.

## What was measured
{accuracy}

Measured on few patients of few hospitals: on yours it may be worse. Nothing is known of its accuracy on the Microsoft
database, whose images were not at hand.

## Confidence
A vertebra's confidence is at most the probability that the whole chain is at its level, times how like the training
scans the scan is. A scan with a level below 0.9 is reported as unsure, with the alternatives, and so is a spine with a
vertebra more or less than usual. The weights behind it were fitted on such a cross-validation.

## What it cannot do
- Narrow sagittal fields of 80 to 110 mm with five to nine vertebrae hide what tells the level: see the table. Such
  scans are often reported as unsure, right or wrong.
- S2 is annotated in few scans, and the sacrum is the least accurate region.
- A spine with a vertebra more or less than usual (L6, T13, four lumbar, eleven ribs) is named so only on clear
  evidence, and was not among the training scans; else it is named like a regular one.
- Children, MR images and scans in other units than Hounsfield are not what it was taught with.
"""


if __name__ == "__main__":
    main()
