"""Run a command and measure it from outside: wall seconds and the greatest resident memory.

`python -m bench_parts.process COMMAND ...` prints them as JSON. It is a process of its own because Linux lets a child
inherit the peak memory of whoever starts it, and the benchmark itself is large.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parents[1]
_KILOBYTE = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Measured:
    """A finished command: wall seconds, peak resident megabytes."""

    seconds: float
    peak_mb: float


def run_measured(command: Sequence[str]) -> Measured:
    """Run a command that must succeed."""
    outer = [sys.executable, "-m", "bench_parts.process", *command]
    return Measured(**json.loads(run_python(outer)))


def run_python(command: Sequence[str]) -> str:
    """Run a command that finds this benchmark and the package; return what it printed, or raise what it complained."""
    path = [str(_SCRIPTS), str(_SCRIPTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    # An installed package has its bytecode compiled; without, every process would compile all sources anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def _main() -> None:
    start = time.perf_counter()
    done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _KILOBYTE / 1e6
    if done.returncode != 0:
        sys.exit(done.returncode)
    sys.stdout.write(json.dumps({"seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    _main()
