"""How long the command line takes before it does anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench_parts.harness import Contender, Figure, Target, interleaved, single_figure
from bench_parts.process import run_python
from bench_parts.scene import Scene

_PREDICT_IMPORTS = "import vertloc.cli.predict"


def measure_start_up(scene: Scene) -> list[Figure]:
    """Time `vertloc --help` and the imports of `vertloc predict` against an interpreter that does nothing."""

    def start(*arguments: str) -> Contender:
        return Contender(lambda: run_python([sys.executable, *arguments]), scene.repeats(9))

    times = interleaved(
        {
            "nothing": start("-c", "pass"),
            "help": start("-m", "vertloc", "--help"),
            "predict": start("-c", _PREDICT_IMPORTS),
        }
    )
    nothing = times["nothing"].seconds
    about = [Target(0.15)]
    note = f"over an empty interpreter, {times['nothing'].median:.3f} s"
    return [
        single_figure("vertloc --help", _beyond(times["help"].seconds, nothing), "s", about, f"{note}; about 0.1 s"),
        single_figure("imports of vertloc predict", _beyond(times["predict"].seconds, nothing), "s", note=note),
    ]


def _beyond(seconds: Sequence[float], floor: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(seconds, floor, strict=True)]
