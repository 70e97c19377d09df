"""Peak memory of `classify` beyond its input, by the operating system's count, in a process of its own.

`python -m bench_parts.memory MODEL.npz VOLUME.npy` prints megabytes: the peak, and the result's own size.
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
from vertloc.stages.posterior import Posterior, classify
from vertloc.stages.preprocess import IsotropicVolume

_STATUS = Path("/proc/self/status")


def measure_memory(scene: Scene) -> list[Figure]:
    """Measure two sizes, in a quick run the smaller one, with the default model."""
    if not _STATUS.exists():
        return []
    figures = []
    sizes = [(scene.tall_volume, 100.0)] if scene.quick else [(scene.tall_volume, 100.0), (scene.large_volume, 400.0)]
    for volume, limit in sizes:
        shape = "x".join(map(str, volume.voxels.shape))
        path = scene.folder / f"{shape}.npy"
        np.save(path, volume.voxels)
        command = [sys.executable, "-m", "bench_parts.memory", str(scene.model_path), str(path)]
        runs = [run_python(command).split() for _ in range(scene.repeats(3 if volume is scene.tall_volume else 1))]
        name = f"peak memory of classify beyond its input, {shape}"
        peaks = [float(peak) for peak, _ in runs]
        note = f"of that, the result itself {runs[0][1]} MB"
        figures.append(single_figure(name, peaks, "MB", [Target(limit)], note))
    return figures


def _main() -> None:
    model = load_model(sys.argv[1])
    voxels = np.load(sys.argv[2])

    def run(part: np.ndarray) -> Posterior:
        volume = IsotropicVolume(part, Grid(part.shape, (3.0, 3.0, 3.0)))
        return classify(volume, model.classifier, model.settings.posterior, N_THREADS)

    run(np.ascontiguousarray(voxels[:4, :8, :8]))
    # Forget the peak so far, where the system allows it.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _status_mb("VmRSS")
    found = run(voxels)
    own = found.voxel.nbytes + found.rank.nbytes + found.probability.nbytes
    sys.stdout.write(f"{_status_mb('VmHWM') - before:.1f} {own / 1e6:.1f}")


def _status_mb(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    if found is None:
        raise RuntimeError(f"{_STATUS} does not tell {field}")
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    _main()
