"""`vertloc train`: annotated scans -> a model file."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from itertools import chain

from vertloc.cli.console import progress_bar, say
from vertloc.cohorts.case import Case
from vertloc.cohorts.loading import load_cohort, load_folds
from vertloc.config import Config, read_config
from vertloc.io.outputs import make_folder, prepare_file
from vertloc.model import Model, save_model
from vertloc.training import n_training_steps, train


def run(args: Namespace) -> int:
    """Train and save."""
    config = chosen_config(args)
    prepare_file(args.out)
    if args.cache is not None:
        make_folder(args.cache)
    cases = _cases(args)
    names = [path.name for path in args.folds] or ["-".join(root.resolve().name for root in args.data)]
    start = time.perf_counter()
    n_steps = n_training_steps(len(cases), config) + (len(cases) if args.dask else 0)
    with progress_bar(args, n_steps, "step") as step:
        if args.dask:
            model = _train_with_cluster(args, cases, config, names, step)
        else:
            model = train(cases, config, args.seed, args.n_jobs, names, step, args.cache)
    save_model(model, args.out)
    seconds = time.perf_counter() - start
    seen = model.provenance
    say(
        args,
        f"{args.out}: trained on {seen.n_scans} scans of {seen.n_patients} patients,"
        f" {sum(seen.labels.values())} vertebrae, in {seconds:.0f} s; {args.out.stat().st_size / 1e6:.1f} MB",
    )
    return 0


def _train_with_cluster(
    args: Namespace, cases: list[Case], config: Config, names: list[str], step: Callable[[], None]
) -> Model:
    """Let the workers read and preprocess the scans; the forests grow here."""
    from vertloc.batch.cluster_training import preprocess_on_cluster, shared_cache

    with shared_cache(args.cache, args.out.parent) as cache:
        preprocess_on_cluster(args.dask, cases, config.preprocess, cache, step)
        return train(cases, config, args.seed, args.n_jobs, names, step, cache)


def chosen_config(args: Namespace) -> Config:
    """Return the configuration that the arguments name, or the built-in one."""
    return read_config(args.config) if args.config else Config()


def _cases(args: Namespace) -> list[Case]:
    if args.folds:
        return list(chain.from_iterable(fold.cases for fold in load_folds(args.data, args.folds)))
    return list(load_cohort(args.data).cases)
