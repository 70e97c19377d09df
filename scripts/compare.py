"""Run the two-fold study with several configurations and seeds, and print one table: see `--help`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import yaml

from vertloc.cohorts.case import Cohort
from vertloc.cohorts.loading import load_folds
from vertloc.config import Config, config_from_dict
from vertloc.errors import VertlocError
from vertloc.evaluation.scores import Scores
from vertloc.study import StudyOptions, run_study
from vertloc.training import train

_VARIANTS = Path(__file__).with_name("variants.yaml")


@dataclass(frozen=True)
class Outcome:
    """What one configuration gave with one seed; seconds are processor time, which a busy machine disturbs least."""

    scores: Scores
    without_chain: Scores
    training_seconds: float
    study_seconds: float


def main() -> int:
    """Compare what was asked for; 2 if the input is of no use."""
    args = _arguments()
    logging.getLogger("vertloc").setLevel(logging.ERROR)
    try:
        folds = load_folds(args.data, args.folds)
        variants = _variants(args.variants)
        rows = []
        for name, config in variants.items():
            outcomes = [_measure(folds, config, args.out / f"{len(rows)}-{seed}", seed, args) for seed in args.seeds]
            rows.append(_row(name, outcomes))
            print(rows[-1], file=sys.stderr, flush=True)
    except VertlocError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print(_HEAD + "\n".join(rows))
    print(f"\nMeans over the seeds {', '.join(map(str, args.seeds))}, in brackets the identification rate of each.")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run `vertloc study` with several configurations and seeds.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the database")
    parser.add_argument("--folds", type=Path, nargs=2, required=True, metavar="FOLD", help="the two fold files")
    parser.add_argument("--variants", type=Path, default=_VARIANTS, metavar="YAML", help="name: settings, ...")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the studies and the cache")
    parser.add_argument("--n-jobs", type=int, default=2, metavar="N")
    return parser.parse_args()


def _variants(path: Path) -> dict[str, Config]:
    stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: config_from_dict(settings, f"{path}: {name}") for name, settings in stored.items()}


def _measure(folds: list[Cohort], config: Config, out: Path, seed: int, args: argparse.Namespace) -> Outcome:
    cache = args.out / "cache"
    start = time.process_time()
    train(folds[0].cases, config, seed, args.n_jobs, cache=cache)
    trained = time.process_time()
    study = run_study(folds, config, out, StudyOptions(seed, args.n_jobs, cache, report=False))
    done = time.process_time()
    return Outcome(study.scores, study.scores_without_chain, trained - start, done - trained)


_HEAD = """\
| forests | identified % | without the chain % | mean error mm | all right | training s | study s |
|---|---:|---:|---:|---:|---:|---:|
"""


def _row(name: str, outcomes: list[Outcome]) -> str:
    rates = [100 * outcome.scores.summary().identification_rate for outcome in outcomes]
    alone = mean(100 * outcome.without_chain.summary().identification_rate for outcome in outcomes)
    error = mean(outcome.scores.summary().mean_mm for outcome in outcomes)
    right = mean(outcome.scores.n_all_right for outcome in outcomes)
    training, study = (mean(getattr(o, key) for o in outcomes) for key in ("training_seconds", "study_seconds"))
    each = ", ".join(f"{rate:.1f}" for rate in rates)
    return (
        f"| {name} | {mean(rates):.1f} ({each}) | {alone:.1f} | {error:.2f} | {right:g}"
        f" | {training:.0f} | {study:.0f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
