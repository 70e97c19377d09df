"""Measure the speed promises against honest baselines in the same run: see `python scripts/bench.py --help`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_parts.choosing import measure_candidates
from bench_parts.classify import measure_classify, measure_visits
from bench_parts.dicom import measure_dicom
from bench_parts.growing import measure_training
from bench_parts.harness import Figure, as_record, markdown_table
from bench_parts.machine import describe_machine, idle_warning, load_average, own_seconds, processor_seconds
from bench_parts.memory import measure_memory
from bench_parts.predicting import measure_growth, measure_predict
from bench_parts.resampling import measure_resampling
from bench_parts.scene import Scene
from bench_parts.starting import measure_start_up

PARTS: dict[str, Callable[[Scene], list[Figure]]] = {
    "startup": measure_start_up,
    "predict": measure_predict,
    "localize": measure_growth,
    "candidates": measure_candidates,
    "resample": measure_resampling,
    "dicom": measure_dicom,
    "visits": measure_visits,
    "classify": measure_classify,
    "memory": measure_memory,
    "training": measure_training,
}


def main() -> int:
    """Measure what was asked for, print the table, write the JSON."""
    args = _arguments()
    names = args.only or list(PARTS)
    load, start, before, own = load_average(), time.perf_counter(), processor_seconds(), own_seconds()
    figures: dict[str, list[Figure]] = {}
    with tempfile.TemporaryDirectory(prefix="vertloc-bench-") as folder:
        scene = Scene(Path(folder), args.quick)
        for name in names:
            print(f"{time.perf_counter() - start:5.0f} s  {name}", file=sys.stderr, flush=True)
            figures[name] = PARTS[name](scene)
    after = processor_seconds()
    busy = (after[0] - before[0] - (own_seconds() - own), after[1] - before[1])
    record: dict[str, Any] = {
        "machine": describe_machine(),
        "load_at_start": load,
        "load_at_end": load_average(),
        "warning": idle_warning(load, busy),
        "seconds": round(time.perf_counter() - start, 1),
        "quick": args.quick,
        "figures": {name: [as_record(figure) for figure in group] for name, group in figures.items()},
    }
    print(_report([figure for group in figures.values() for figure in group], record))
    if args.out is not None:
        args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the speed promises against baselines in the same run.")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="also write every figure as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller volumes")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", metavar="NAME", help=f"some of: {', '.join(PARTS)}")
    return parser.parse_args()


def _report(figures: list[Figure], record: dict[str, Any]) -> str:
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        markdown_table(figures),
        "",
        f"{machine['cpu']}, {machine['cores']} cores; load {record['load_at_start']} at the start,"
        f" {record['load_at_end']} at the end; {record['seconds']:.0f} s. {versions}.",
        "Medians of interleaved repeats; a ratio says how many times faster than the baseline.",
    ]
    return "\n".join([*lines, record["warning"]] if record["warning"] else lines)


if __name__ == "__main__":
    sys.exit(main())
