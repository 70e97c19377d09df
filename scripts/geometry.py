"""Name unlabelled centroids by the chain alone, without images, and print one table: see `--help`.

The file holds annotated centroids, one a line: scan, fold, label, x_mm, y_mm, z_mm (y to the back, z up). A shape model
is learnt from one fold; in the scans of the other every point may be any vertebra, with even evidence.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from vertloc.centroids import Centroids
from vertloc.config import Config, read_config
from vertloc.stages.centroid_density import Candidates
from vertloc.stages.level_graph import steps_down
from vertloc.stages.shape_labelling import ShapeSettings, label_chain
from vertloc.stages.shape_model import ShapeModel, learn_shape_model
from vertloc.vertebrae import VERTEBRAE

# Log odds of every name at every point: that all are vertebrae is known, or nine in ten are, among strays that are one
# in 500,000 mm^3, of which the bonus of a link knows the larger part.
_SURE, _LIKELY = 12.0, 3.0
_NO_LINK = -20.0  # log density per mm^3 of a step that leads nowhere
_MISSES, _EXTRAS, _JITTER_MM, _EXTRA_MM = 0.1, 0.1, 3.0, 15.0


def main() -> int:
    """Print the table; 2 if the input is of no use."""
    args = _arguments()
    config = Config() if args.config is None else read_config(args.config)
    folds = _read(args.csv)
    if len(folds) != 2:
        print(f"geometry: {args.csv}: expected two folds, got {sorted(folds)}", file=sys.stderr)
        return 2
    names = sorted(folds)
    print(f"Vertebrae named right, in brackets scans with every one right, %; {args.csv.name}\n")
    print("| points | method | " + " | ".join(f"{a} -> {b}" for a, b in (names, names[::-1])) + " |")
    print("|---|---|---|---|")
    for points, noisy in (("perfect", False), ("10 % misses, 10 % extras, 3 mm", True)):
        shapes = {name: _shape(folds[name], config, noisy, args.seed) for name in names}
        for method, settings in _methods(config.prediction.chain).items():
            cells = [
                _cell(shapes[a], folds[b], settings, noisy, args.seed) for a, b in ((names[0], names[1]), names[::-1])
            ]
            print(f"| {points} | {method} | " + " | ".join(cells) + " |", flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Name perfect, unlabelled centroids by their geometry alone.")
    parser.add_argument("csv", type=Path, help="scan,fold,label,x_mm,y_mm,z_mm; two folds")
    parser.add_argument("--config", type=Path, metavar="YAML", help="settings of the shape model and the chain")
    parser.add_argument("--seed", type=int, default=0, help="of misses, extras and jitter")
    return parser.parse_args()


def _methods(base: ShapeSettings) -> dict[str, ShapeSettings | None]:
    """Return what is compared; None stands for the greedy walk."""
    normal = dataclasses.replace(base, use_variants=False, smallest_confidence=0.0)
    return {
        "greedy": None,
        "chain of pairs": dataclasses.replace(normal, posture_weight=0.0, ends_weight=0.0),
        "chain of pairs, ends": dataclasses.replace(normal, posture_weight=0.0, ends_weight=1.0),
        "chain with posture": dataclasses.replace(normal, posture_weight=1.0, ends_weight=0.0),
        "chain with posture, ends": dataclasses.replace(normal, posture_weight=1.0, ends_weight=1.0),
        "the same, variants allowed": dataclasses.replace(
            normal, posture_weight=1.0, ends_weight=1.0, use_variants=True
        ),
    }


def _read(path: Path) -> dict[str, list[Centroids]]:
    """Read the scans of each fold that has a name."""
    scans: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            scans[row["fold"], row["scan"]][row["label"]] = [float(row[f"{axis}_mm"]) for axis in "xyz"]
    folds: dict[str, list[Centroids]] = defaultdict(list)
    for (fold, _), points in scans.items():
        if fold:
            folds[fold].append(Centroids.from_points(points, "world"))
    return dict(folds)


def _shape(scans: list[Centroids], config: Config, noisy: bool, seed: int) -> ShapeModel:
    """Learn from points that scatter as much as those that will be named."""
    rng = np.random.default_rng(seed)
    if noisy:
        scans = [
            Centroids(s.labels, s.points_mm + rng.normal(0, _JITTER_MM, s.points_mm.shape), "world") for s in scans
        ]
    return learn_shape_model(scans, config.shape)


def _cell(shape: ShapeModel, scans: list[Centroids], settings: ShapeSettings | None, noisy: bool, seed: int) -> str:
    right = present = perfect = 0
    for k, scan in enumerate(scans):
        points, truth = _observed(scan, np.random.default_rng((seed, k))) if noisy else (scan.points_mm, scan.labels)
        names = _greedy(points, shape) if settings is None else _by_chain(points, shape, settings, noisy)
        same = [found == name for found, name in zip(names, truth, strict=True) if name]
        right, present, perfect = right + sum(same), present + len(same), perfect + all(same)
    return f"{100 * right / present:.1f} ({100 * perfect / len(scans):.1f})"


def _observed(scan: Centroids, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Miss some points, scatter the others and add some that are none; their names, empty for the last."""
    kept = np.flatnonzero(rng.random(len(scan)) >= _MISSES)
    points = scan.points_mm[kept] + rng.normal(0, _JITTER_MM, (len(kept), 3))
    extra = np.flatnonzero(rng.random(len(scan)) < _EXTRAS)
    near = scan.points_mm[extra] + rng.normal(0, _EXTRA_MM, (len(extra), 3))
    return np.concatenate([points, near]), [*(scan.labels[i] for i in kept), *[""] * len(near)]


def _by_chain(points: np.ndarray, shape: ShapeModel, settings: ShapeSettings, noisy: bool) -> list[str]:
    n = len(points)
    rank = np.repeat(np.arange(len(VERTEBRAE)), n)
    candidates = Candidates(rank, np.tile(points, (len(VERTEBRAE), 1)), np.full(len(rank), _LIKELY if noisy else _SURE))
    found = label_chain(candidates, shape, settings)
    names = [""] * n
    for label, row in zip(found.centroids.labels, found.candidate, strict=True):
        names[row % n] = label
    return names


def _greedy(points: np.ndarray, shape: ShapeModel) -> list[str]:
    """From the topmost point down, take the most probable next one and never take it back; for every name of the first.

    The walk with the most links wins, then the most probable one.
    """
    densities = shape.log_densities(np.array([step.span for step in steps_down(0, False)]))
    step = points[None] - points[:, None]
    density = np.stack([of_step(step) for of_step in densities])
    density[:, np.arange(len(points)), np.arange(len(points))] = -np.inf
    top = int(points[:, 2].argmax())
    walks = []
    for first in range(len(VERTEBRAE)):
        walk, score = [top], 0.0
        while first + len(walk) < len(VERTEBRAE):
            onward = density[first + len(walk) - 1, walk[-1]]
            best = int(onward.argmax())
            if onward[best] < _NO_LINK or best in walk:
                break
            score += float(onward[best])
            walk.append(best)
        walks.append((len(walk), score, first, walk))
    _, _, first, walk = max(walks)
    names = [""] * len(points)
    for k, row in enumerate(walk):
        names[row] = VERTEBRAE[first + k]
    return names


if __name__ == "__main__":
    sys.exit(main())
