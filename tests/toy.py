"""A toy spine for unit tests: a column of bright ellipsoids with ribs and a belly, small enough to learn in seconds.

The levels can be told apart: bodies grow downwards, ribs sit beside the thoracic ones and shorten, the belly in front
brightens downwards. Nothing here says how well the method works on patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vertloc.centroids import Centroids
from vertloc.config import CentreForestSettings, ClassifierSettings, Config, NamingDiscriminantSettings
from vertloc.geometry import Grid
from vertloc.io.images import write_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.stages.context_features import ContextFeatureSettings
from vertloc.stages.discriminant import DiscriminantSettings
from vertloc.stages.naming_samples import NamingSampleSettings
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.stages.sampling import CentreSampleSettings, SamplingSettings, TrainingScan
from vertloc.stages.tree_growing import ForestSettings
from vertloc.vertebrae import RANK, VERTEBRAE
from vertloc.volume import Volume

TOY_LEVELS = VERTEBRAE[RANK["T10"] : RANK["L4"] + 1]
AIR, FLESH, BONE = -1000, 40, 700


@dataclass(frozen=True, eq=False)
class ToyScan:
    """A scan with its true centroids in the world frame."""

    volume: Volume
    centroids: Centroids
    patient: str

    def training_scan(self, config: Config) -> TrainingScan:
        small = preprocess(self.volume, config.preprocess)
        return TrainingScan(small, self.centroids, self.patient, self.volume.name)


def make_toy_scan(seed, levels=TOY_LEVELS, spacing_mm=(3.0, 3.0, 3.0)):
    """Draw a patient: size, bend, place and noise come from the seed."""
    rng = np.random.default_rng(seed)
    scale, lean = rng.uniform(0.95, 1.05), rng.uniform(-0.1, 0.1, 2)
    gaps = np.array([0, *(scale * (24 + RANK[level] - RANK["T10"]) for level in levels[1:])])
    down = np.cumsum(gaps)
    points = np.stack([lean[0] * down, lean[1] * down + 6 * np.sin(down / 60), -down], axis=1)
    extent = np.array([96.0, 102.0, down[-1] + 36.0])
    shape = tuple(int(n) for n in np.rint(extent / spacing_mm)[::-1])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    shift = np.round(rng.uniform(-50, 50, 3), 2)
    size = np.array(shape[::-1]) * np.array(spacing_mm)
    in_front = np.array([0, -12, 0])
    origin = middle + in_front - (size - np.array(spacing_mm)) / 2
    grid = Grid(shape, spacing_mm, tuple(float(v) for v in origin + shift))
    points = points + shift
    name = f"toy{seed:02d}"
    voxels = _paint(grid, points, levels, scale) + rng.normal(0, 15, shape)
    volume = Volume(np.clip(np.rint(voxels), -1024, 3071).astype(np.int16), grid, name)
    return ToyScan(volume, Centroids(tuple(levels), points, "world"), f"patient{seed:04d}")


def _paint(grid, points, levels, scale):
    at = grid.to_world(np.indices(grid.shape).reshape(3, -1).T)
    middle = at.mean(axis=0)
    inside = ((at[:, 0] - middle[0]) / 45) ** 2 + ((at[:, 1] - middle[1]) / 48) ** 2 < 1
    voxels = np.where(inside, FLESH, AIR).astype(float)
    belly = inside & (at[:, 1] < np.interp(at[:, 2], points[::-1, 2], points[::-1, 1]) - 30)
    ranks = np.interp(at[:, 2], points[::-1, 2], [RANK[level] for level in reversed(levels)])
    voxels[belly] = (-300 + 60 * (ranks - RANK["T10"]))[belly]
    for level, point in zip(levels, points, strict=True):
        below_t10 = RANK[level] - RANK["T10"]
        offset = at - point
        radii = scale * (np.array([13.0, 10.0, 9.5]) + 0.7 * below_t10)
        voxels[((offset / radii) ** 2).sum(axis=1) < 1] = BONE
        process = (np.abs(offset[:, 0]) < 4) & (np.abs(offset[:, 2]) < 5) & (np.abs(offset[:, 1] - 26) < 8)
        voxels[process] = BONE
        rib = (np.abs(np.abs(offset[:, 0]) - 26) < 9 - 3 * below_t10) & (np.abs(offset[:, 2]) < 4)
        voxels[rib & (np.abs(offset[:, 1] - 10) < 8)] = BONE
    return voxels.reshape(grid.shape)


def toy_config():
    """A configuration that trains and localizes in seconds."""
    small = ContextFeatureSettings(largest_offset_mm=40.0, largest_size_mm=24.0)
    forest = ForestSettings(n_trees=4, max_depth=12, features_per_tree=120, features_per_node=30)
    near = ContextFeatureSettings(largest_offset_mm=25.0, largest_size_mm=16.0)
    return Config(
        preprocess=PreprocessSettings(spacing_mm=4.0),
        classifier=ClassifierSettings(
            SamplingSettings(foreground_per_scan=1500, background_per_scan=800), small, forest
        ),
        centres=CentreForestSettings(True, CentreSampleSettings(per_scan=1500), near, forest),
        naming=NamingDiscriminantSettings(
            True, NamingSampleSettings(views_per_scan=4), small, DiscriminantSettings(300)
        ),
    )


def write_toy_cohort(folder, scans):
    """Write scans as `<patient>/<scan>.mhd` with `.lml` beside them, as the Microsoft database lies on disk."""
    for scan in scans:
        path = folder / scan.patient / f"{scan.volume.name}.mhd"
        write_image(scan.volume, path)
        write_lml(path.with_suffix(".lml"), scan.centroids.to_local(scan.volume.grid))
