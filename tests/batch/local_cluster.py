"""A Dask cluster of real processes on this machine, for tests."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[i]) for i in (2, 1, 0)),
    "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "0",
}


@contextmanager
def cluster(folder, n_workers):
    """Start a scheduler and workers with a nanny each; give the scheduler's address."""
    file = folder / "scheduler.json"
    log = (folder / "cluster.log").open("wb")
    dask = [sys.executable, "-m", "dask"]
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    start = {"env": ENVIRONMENT, "cwd": folder, "stdout": log, "stderr": log}
    processes = [subprocess.Popen([*dask, "scheduler", "--port", "0", *options], **start)]
    try:
        for _ in range(n_workers):
            local = ["--local-directory", str(folder / "dask"), "--host", "127.0.0.1"]
            processes.append(subprocess.Popen([*dask, "worker", "--nthreads", "1", *local, *options], **start))
        deadline = time.monotonic() + 120
        while not file.exists() or not file.read_text().rstrip().endswith("}"):
            assert time.monotonic() < deadline, (folder / "cluster.log").read_text()
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()
