"""Predict the same scans without a cluster and on local clusters of one and more workers: see `--help`.

Every worker is a process of its own with one thread. Prints seconds a scan, what the scheduler spent, and whether the
landmarks are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def main() -> int:
    """Measure and print one table; 1 if landmarks differ."""
    args = _arguments()
    rows, wanted = [], None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for n_workers in (0, *args.workers):
            with _cluster(out / f"cluster-{n_workers}", n_workers) as (address, scheduler):
                _predict(args, out / "warm", address)  # the first run compiles and imports
                before, start = _processor_seconds(scheduler), time.monotonic()
                _predict(args, out / f"results-{n_workers}", address)
                seconds = time.monotonic() - start
                spent = _processor_seconds(scheduler) - before
            found = {path.name: path.read_bytes() for path in (out / f"results-{n_workers}").glob("*.lml")}
            wanted = wanted or found
            shutil.rmtree(out / "warm", ignore_errors=True)
            same = "same" if found == wanted else "DIFFER"
            scheduling = f"{1000 * spent / len(found):.1f} ms" if scheduler else ""
            name = f"{n_workers} workers" if n_workers else "no cluster, 1 thread"
            rows.append(f"| {name} | {seconds:.1f} s | {seconds / len(found):.2f} s | {scheduling} | {same} |")
            print(rows[-1], file=sys.stderr, flush=True)
    print(f"{len(wanted or {})} scans\n\n| | all | a scan | scheduler, a scan | landmarks |\n|---|---|---|---|---|")
    print("\n".join(rows))
    return int(any("DIFFER" in row for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="scans")
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL.npz")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    return parser.parse_args()


def _predict(args: argparse.Namespace, out: Path, address: str) -> None:
    how = ["--dask", address] if address else ["--n-jobs", "1"]
    command = ["predict", "--model", str(args.model), "--out", str(out), str(args.data), "--quiet", *how]
    subprocess.run([sys.executable, "-m", "vertloc", *command], check=True)


@contextmanager
def _cluster(folder: Path, n_workers: int) -> Iterator[tuple[str, int]]:
    """Start a scheduler and workers; give its address and process number."""
    if n_workers == 0:
        yield "", 0
        return
    folder.mkdir()
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    with (folder / "log").open("wb") as log:
        processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", *options], stdout=log, stderr=log)]
        worker = [*dask, "worker", "--nthreads", "1", "--local-directory", str(folder), *options]
        processes += [subprocess.Popen(worker, stdout=log, stderr=log) for _ in range(n_workers)]
        try:
            while not file.exists() or not file.read_text().rstrip().endswith("}"):
                time.sleep(0.05)
            yield json.loads(file.read_text())["address"], processes[0].pid
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def _processor_seconds(pid: int) -> float:
    """Return the time that a process has used so far, where the system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
