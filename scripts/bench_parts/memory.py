"""Peak memory of `classify` beyond its input, by the operating system's count, in a process of its own.

`python -m bench_parts.memory MODEL.npz VOLUME.npy` prints megabytes.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

import numpy as np

from bench_parts.harness import Figure, Target, single_figure
from bench_parts.process import run_python
from bench_parts.scene import N_THREADS, Scene
from vertloc.geometry import Grid
from vertloc.model import load_model
from vertloc.stages.posterior import classify
from vertloc.stages.preprocess import IsotropicVolume

_STATUS = Path("/proc/self/status")


def measure_memory(scene: Scene) -> list[Figure]:
    """Measure both sizes with the default model."""
    if not _STATUS.exists():
        return []
    figures = []
    for volume, limit in ((scene.tall_volume, 100.0), (scene.large_volume, 400.0)):
        shape = "x".join(map(str, volume.voxels.shape))
        path = scene.folder / f"{shape}.npy"
        np.save(path, volume.voxels)
        command = [sys.executable, "-m", "bench_parts.memory", str(scene.model_path), str(path)]
        peaks = [float(run_python(command)) for _ in range(scene.repeats(3 if volume is scene.tall_volume else 1))]
        name = f"peak memory of classify beyond its input, {shape}"
        figures.append(single_figure(name, peaks, "MB", [Target(limit)], f"input {volume.voxels.nbytes / 1e6:.0f} MB"))
    return figures


def _main() -> None:
    model = load_model(sys.argv[1])
    voxels = np.load(sys.argv[2])

    def run(part: np.ndarray) -> None:
        volume = IsotropicVolume(part, Grid(part.shape, (3.0, 3.0, 3.0)))
        classify(volume, model.classifier, model.config.features, model.config.posterior, N_THREADS)

    run(np.ascontiguousarray(voxels[:4, :8, :8]))
    # Forget the peak so far, where the system allows it.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _status_mb("VmRSS")
    run(voxels)
    sys.stdout.write(f"{_status_mb('VmHWM') - before:.1f}")


def _status_mb(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    if found is None:
        raise RuntimeError(f"{_STATUS} does not tell {field}")
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    _main()
