"""How long the command line takes before it does anything, and the packaged model until it is loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench_parts.harness import Contender, Figure, Target, interleaved, single_figure
from bench_parts.process import run_python
from bench_parts.scene import Scene

_PREDICT_IMPORTS = "import vertloc.cli.predict"
_LOADING_IMPORTS = "import vertloc.model"
_LOADING = "import vertloc; vertloc.load_model()"


def measure_start_up(scene: Scene) -> list[Figure]:
    """Time `vertloc --help`, the imports of `vertloc predict` and loading, each in a process of its own."""

    def start(*arguments: str) -> Contender:
        return Contender(lambda: run_python([sys.executable, *arguments]), scene.repeats(9))

    times = interleaved(
        {
            "nothing": start("-c", "pass"),
            "help": start("-m", "vertloc", "--help"),
            "predict": start("-c", _PREDICT_IMPORTS),
            "before loading": start("-c", _LOADING_IMPORTS),
            "loading": start("-c", _LOADING),
        }
    )
    nothing = times["nothing"].seconds
    load, before = times["loading"].seconds, times["before loading"].seconds
    about = [Target(0.15)]
    note = f"over an empty interpreter, {times['nothing'].median:.3f} s"
    return [
        single_figure("vertloc --help", _beyond(times["help"].seconds, nothing), "s", about, f"{note}; about 0.1 s"),
        single_figure("imports of vertloc predict", _beyond(times["predict"].seconds, nothing), "s", note=note),
        single_figure("load the packaged model", _beyond(load, before), "s", [Target(0.2)], "over its imports"),
        single_figure("the same with all imports", _beyond(load, nothing), "s", note=note),
    ]


def _beyond(seconds: Sequence[float], floor: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(seconds, floor, strict=True)]
