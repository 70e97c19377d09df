"""Give a model what it cannot know, and print how sure it is of the names it finds; see `--help`.

The scans of a folder are changed into what is no CT of a spine that a model learns from: values of other kinds, other
orientations than the header says, very thick slices. Bones that are no spine, and noise, come beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from vertloc.cohorts.loading import load_cohort
from vertloc.errors import VertlocError
from vertloc.geometry import Grid
from vertloc.io.images import read_image
from vertloc.localization import localize
from vertloc.model import load_model
from vertloc.volume import Volume

Voxels = np.ndarray
_THICK_MM = 20.0


def _thick(scan: Volume) -> Volume:
    """Average slices until they are 20 mm thick."""
    n = max(1, round(_THICK_MM / scan.grid.spacing_mm[2]))
    whole = scan.voxels[: len(scan.voxels) // n * n].reshape(-1, n, *scan.voxels.shape[1:])
    x, y, z = scan.grid.spacing_mm
    grid = Grid((len(whole), *scan.grid.shape[1:]), (x, y, n * z), scan.grid.origin_mm, scan.grid.direction)
    return Volume(whole.mean(axis=1).astype(np.int16), grid)


def _valued(change: Callable[[Voxels], Voxels]) -> Callable[[Volume], Volume]:
    def changed(scan: Volume) -> Volume:
        return Volume(np.clip(change(scan.voxels.astype(np.float32)), -4000, 30000).astype(np.int16), scan.grid)

    return changed


def _turned(axes: tuple[int, ...] = (0, 1, 2), flip: int | None = None) -> Callable[[Volume], Volume]:
    def changed(scan: Volume) -> Volume:
        voxels = scan.voxels.transpose(axes)
        voxels = voxels if flip is None else np.flip(voxels, flip)
        sizes = scan.grid.spacing_mm[::-1]
        x, y, z = (sizes[axis] for axis in axes[::-1])
        return Volume(np.ascontiguousarray(voxels), Grid(voxels.shape, (x, y, z)))

    return changed


CHANGES: dict[str, Callable[[Volume], Volume]] = {
    "slices of 20 mm": _thick,
    "like MR: absolute values": _valued(lambda v: np.abs(v) * 0.5),
    "like MR: bone dark, fat bright": _valued(lambda v: np.where(v < -300, 0, 600 - 0.6 * v)),
    "8-bit grey values": _valued(lambda v: (v + 1024) / 4096 * 255),
    "upside down": _turned(flip=0),
    "front to back": _turned(flip=1),
    "axes swapped": _turned(axes=(1, 0, 2)),
}


def _objects() -> Iterator[tuple[str, Volume]]:
    """Bones that are no spine, and noise, (60, 50, 50) voxels of 3 mm."""
    z, y, x = np.mgrid[:60, :50, :50]
    noise = np.random.default_rng(0)
    across, away = np.hypot(y - 25, x - 25), np.sqrt((z - 30) ** 2 + (y - 25) ** 2 + (x - 25) ** 2)
    knee = np.where((z < 28) | (z > 32), np.where(across < 8, 300, np.where(across < 10, 1200, 40)), 40)
    made = {
        "shafts of two long bones": np.where(across < 22, knee, -1000),
        "a skull": np.where(away < 20, 35, np.where(away < 23, 1000, -1000)),
        "water": np.zeros_like(z),
        "noise": 300 * noise.standard_normal(z.shape),
    }
    for name, voxels in made.items():
        grainy = voxels + 20 * noise.standard_normal(z.shape)
        yield name, Volume(grainy.astype(np.int16), Grid(z.shape, (3.0,) * 3))


def main() -> int:
    """Print one row a scan and change; 2 if the input is of no use."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="scans of spines")
    parser.add_argument("--model", help="a model file; by default the packaged model")
    parser.add_argument("--n-jobs", type=int, default=-1)
    args = parser.parse_args()
    try:
        model = load_model(args.model) if args.model else load_model()
        scans = [(case.scan, read_image(case.image_path).aligned()) for case in load_cohort(args.data).cases]
    except (VertlocError, OSError) as error:
        print(f"foreign_scans: {error}", file=sys.stderr)
        return 2
    print("| scan | what was done to it | names | surest | verdict |\n|---|---|---|---|---|")
    changed = ((name, what, change(scan)) for name, scan in scans for what, change in CHANGES.items())
    made = (("", name, volume) for name, volume in _objects())
    for name, what, volume in (*changed, *made):
        found = localize(volume, model, args.n_jobs)
        surest = f"{found.confidence.max():.2f}" if len(found.labels) else ""
        verdict = "none found" if not found.labels else "sure" if found.certainty.is_sure else "unsure"
        reasons = "; ".join(found.certainty.reasons)
        print(f"| {name} | {what} | {len(found.labels)} | {surest} | {verdict}{': ' if reasons else ''}{reasons} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
