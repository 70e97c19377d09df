"""`vertloc predict` as a user runs it: one process on one full-size scan, then more scans; seconds by voxels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from bench_parts.harness import Contender, Figure, Target, interleaved, single_figure
from bench_parts.process import Measured, run_measured
from bench_parts.scene import N_THREADS, Scene
from vertloc.geometry import Grid
from vertloc.localization import localize
from vertloc.models import DEFAULT
from vertloc.volume import Volume

_SLICES = (100, 200, 300)
_COPIES = 4


def measure_predict(scene: Scene) -> list[Figure]:
    """Predict one and four copies of a scan of 157 MB with the packaged model."""
    images = _copies(scene.scan_path, scene.folder / "copies", _COPIES)
    model = DEFAULT

    def predict(inputs: list[Path]) -> Measured:
        command = [sys.executable, "-m", "vertloc", "predict", "--quiet", "--n-jobs", str(N_THREADS)]
        command += ["--model", model, "--out", str(scene.folder / f"results-{len(inputs)}"), *map(str, inputs)]
        return run_measured(command)

    predict(images[:1])
    one, several = [], []
    for _ in range(scene.repeats(3 if scene.quick else 5)):
        one.append(predict(images[:1]))
        several.append(predict(images))
    if not (scene.folder / "results-1" / f"{images[0].stem}.lml").exists():
        raise RuntimeError("vertloc predict wrote no landmarks")
    further = [(b.seconds - a.seconds) / (_COPIES - 1) for a, b in zip(one, several, strict=True)]
    size = f"{scene.scan.voxels.nbytes / 1e6:.0f} MB"
    name = f"vertloc predict, 300x512x512 ({size})"
    return [
        single_figure(f"{name}, start to written .lml", [m.seconds for m in one], "s", [Target(1.5)], "files in cache"),
        single_figure(
            "the same, each further scan", further, "s", [Target(1.0)], f"{_COPIES} scans less 1, by {_COPIES - 1}"
        ),
        single_figure("the same, peak memory, one scan", [m.peak_mb for m in one], "MB", [Target(300)]),
        single_figure(f"the same, peak memory, {_COPIES} scans", [m.peak_mb for m in several], "MB"),
    ]


def measure_growth(scene: Scene) -> list[Figure]:
    """Time `localize` on scans of three heights: it should cost the same a voxel."""
    volumes = {n: _lowest_slices(scene.scan, n) for n in _SLICES}
    contenders = {
        str(n): Contender(lambda volume=volume: localize(volume, scene.model, N_THREADS), scene.repeats(5))  # type: ignore[misc]
        for n, volume in volumes.items()
    }
    times = interleaved(contenders)
    figures = []
    for n, volume in volumes.items():
        millions = volume.voxels.size / 1e6
        seconds = times[str(n)].seconds
        rate = [1e3 * s / millions for s in seconds]
        note = f"{millions:.0f} million voxels, {np.median(seconds):.2f} s"
        figures.append(single_figure(f"localize {n}x512x512, per million voxels", rate, "ms", note=note))
    return figures


def _lowest_slices(scan: Volume, n: int) -> Volume:
    voxels = np.ascontiguousarray(scan.voxels[:n])
    return Volume(voxels, Grid(voxels.shape, scan.grid.spacing_mm))  # type: ignore[arg-type]


def _copies(image: Path, folder: Path, n: int) -> list[Path]:
    """Give one scan several names; the voxels are linked, not copied."""
    folder.mkdir()
    paths = []
    for i in range(n):
        raw = folder / f"scan{i}.raw"
        os.link(image.with_suffix(".raw"), raw)
        path = raw.with_suffix(".mhd")
        path.write_text(image.read_text().replace(f"{image.stem}.raw", raw.name))
        paths.append(path)
    return paths
