"""Dense classification against numpy + scikit-learn and a voxel-by-voxel walk; node visits; threads."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench_parts.baselines import dense_probability, voxelwise_probability
from bench_parts.harness import Contender, Figure, Target, Times, interleaved, single_figure, timed_figure
from bench_parts.scene import N_THREADS, Scene
from vertloc.geometry import Grid
from vertloc.stages.dense_labels import BACKGROUND, N_CLASSES
from vertloc.stages.forest import FlatForest, bind_forest
from vertloc.stages.posterior import Posterior, PosteriorSettings, classify
from vertloc.stages.preprocess import IsotropicVolume

_CHUNK = 32768
_EVERY_TREE = PosteriorSettings(stop_after_trees=0)
_EVERYTHING = PosteriorSettings(stop_after_trees=0, smallest_probability=0)
# Probabilities that float32 and float64 sums may order differently are not told apart.
_NEAR_TIE = 1e-6


def measure_classify(scene: Scene) -> list[Figure]:
    """Time the contest of `Scene.contest` on 150 x 64 x 64 voxels and compare all results."""
    volume, contest = scene.contest_volume, scene.contest
    results: dict[str, Any] = {}

    def ours(settings: PosteriorSettings, n_threads: int = N_THREADS) -> Posterior:
        return classify(volume, contest.ours, settings, n_threads)

    def dense(name: str, chunk: int | None) -> None:
        results[name] = None  # the last round's result would stand beside this one's
        results[name] = dense_probability(volume, contest.theirs, contest.ours, chunk)

    def voxelwise() -> None:
        results["voxelwise"] = voxelwise_probability(volume, contest.ours, N_THREADS)

    # Compiles it, if that has not been done before; the whole volume would take seconds more.
    tiny = IsotropicVolume(np.zeros((2, 2, 2), np.int16), Grid((2, 2, 2), volume.grid.spacing_mm))
    voxelwise_probability(tiny, contest.ours, N_THREADS)
    times = interleaved(
        {
            "ours": Contender(lambda: ours(_EVERY_TREE), scene.repeats(5)),
            "early": Contender(lambda: ours(scene.config.prediction.posterior), scene.repeats(5)),
            "whole": Contender(lambda: dense("whole", None), scene.repeats(2), warm_up=False),
            "chunks": Contender(lambda: dense("chunks", _CHUNK), scene.repeats(2), warm_up=False),
            "voxelwise": Contender(voxelwise, scene.repeats(3), warm_up=False),
        }
    )
    found = _dense(ours(_EVERYTHING))
    same = {name: _agreement(found, result) for name, result in results.items()}
    stopped = _dense(ours(replace(scene.config.prediction.posterior, smallest_probability=0)))
    kept = _foreground_agreement(found, stopped)
    what = f"classify {'x'.join(map(str, volume.voxels.shape))}, 30 trees of depth 20, all voxels"
    rows = (
        ("whole", "dense numpy + predict_proba, whole", 15.0),
        ("chunks", f"the same, {_CHUNK} voxels at a time", 8.0),
        ("voxelwise", "numba walk voxel by voxel, prange", None),
    )
    figures = [
        timed_figure(
            what, times["ours"], text, times[name], [] if least is None else [_at_least(least)], note=same[name]
        )
        for name, text, least in rows
    ]
    note = f"foreground argmax agreement {kept:.5f} (wanted >= 0.999)" + ("" if kept >= 0.999 else " MISSED")
    early = timed_figure(
        "the same with early stop at its defaults",
        times["early"],
        "dense numpy + predict_proba, whole",
        times["whole"],
        [_at_least(40)],
        note,
    )
    return [*figures, early]


def measure_visits(scene: Scene) -> list[Figure]:
    """Time a node visit, and how much a second thread helps."""
    volume, forest = scene.contest_volume, scene.contest.ours
    times = interleaved(
        {
            "one": Contender(lambda: classify(volume, forest, _EVERY_TREE, 1), scene.repeats(5)),
            "two": Contender(lambda: classify(volume, forest, _EVERY_TREE, 2), scene.repeats(5)),
        }
    )
    visits = count_visits(volume, forest)
    one, two = times["one"], times["two"]
    scaling = [a / b for a, b in zip(one.seconds, two.seconds, strict=True)]
    note = f"{visits / 1e6:.0f} million visits; the whole of classify, processor time"
    work = f"{one.median:.2f} s / {two.median:.2f} s; the work grows {_growth(one, two):.2f} x"

    def each(times: Times) -> list[float]:
        return [1e9 * seconds / visits for seconds in times.processor_seconds]

    return [
        single_figure("node visit, a thread of two", each(two), "ns", [Target(6.5)], note),
        single_figure("node visit, a single thread", each(one), "ns", [Target(6.5)], note),
        single_figure("classify on two threads against one", scaling, "x", [Target(1.8, at_least=True)], work),
    ]


def _growth(one: Times, two: Times) -> float:
    """How much more processor time two threads take for the same work."""
    return median(two.processor_seconds) / median(one.processor_seconds)


def count_visits(volume: IsotropicVolume, forest: FlatForest) -> int:
    """Count the inner nodes that all voxels of a volume meet in all trees."""
    bound = bind_forest(forest, volume)
    positions = bound.positions(np.arange(volume.voxels.size))
    depth = _leaf_depths(forest)
    return sum(int(depth[bound.leaves(positions, tree)].sum()) for tree in range(forest.n_trees))


def _leaf_depths(forest: FlatForest) -> NDArray[np.int64]:
    """Inner nodes above each leaf row."""
    depths = np.zeros(len(forest.leaf_values), np.int64)
    level, depth = forest.roots, 0
    while len(level):
        is_leaf = forest.children[level, 0] < 0
        depths[forest.children[level[is_leaf], 1]] = depth
        level, depth = forest.children[level[~is_leaf]].reshape(-1).astype(np.int64), depth + 1
    return depths


def _at_least(ratio: float) -> Target:
    return Target(ratio, "ratio", at_least=True)


def _dense(posterior: Posterior) -> NDArray[np.float32]:
    """Spread a sparse posterior out: (voxels, 27), the background being what is left."""
    out = np.zeros((int(np.prod(posterior.grid.shape)), N_CLASSES), np.float32)
    out[posterior.voxel, posterior.rank + 1] = posterior.probability
    out[:, BACKGROUND] = 1 - out[:, 1:].sum(axis=1)
    return out


def _agreement(found: NDArray[np.float32], expected: NDArray[Any]) -> str:
    """Say how far two classifications differ."""
    # A sparse posterior leaves out what is below a millionth.
    difference = np.abs(found[:, 1:] - expected[:, 1:])
    difference[(found[:, 1:] == 0) & (expected[:, 1:] <= 1e-6)] = 0
    top = np.partition(expected, -2, axis=1)
    clear = top[:, -1] - top[:, -2] > _NEAR_TIE
    differing = int((found.argmax(axis=1) != expected.argmax(axis=1))[clear].sum())
    largest = float(difference.max())
    verdict = "equal" if differing == 0 and largest <= 5e-7 else "NOT EQUAL"
    return f"{verdict}: argmax differs at {differing} voxels, max difference {largest:.1e}"


def _foreground_agreement(full: NDArray[np.float32], stopped: NDArray[np.float32]) -> float:
    """Share of the voxels that all trees call a vertebra which early stopping calls the same vertebra."""
    expected = full.argmax(axis=1)
    foreground = expected != BACKGROUND
    return float((stopped.argmax(axis=1)[foreground] == expected[foreground]).mean())
