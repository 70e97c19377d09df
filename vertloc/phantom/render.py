"""A patient and a crop -> a CT volume and its annotation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from vertloc.centroids import Centroids
from vertloc.geometry import Grid
from vertloc.phantom.kernels.scanner import finish_slices
from vertloc.phantom.kernels.sections import OUTSIDE_HU, paint_sections
from vertloc.phantom.kernels.solids import paint_solids
from vertloc.phantom.metal import METAL_HU, add_streaks, metal_solids
from vertloc.phantom.patient import Patient, make_patient
from vertloc.phantom.scan import ScanGeometry, annotate_scan
from vertloc.phantom.settings import PhantomSettings
from vertloc.phantom.skeleton import skeleton_solids
from vertloc.phantom.soft_tissue import soft_tissue
from vertloc.phantom.solids import Solid, solid_table
from vertloc.phantom.torso import Torso, make_torso
from vertloc.phantom.vertebra_solids import spine_solids
from vertloc.volume import Volume

_SLAB = 16
"""Slices that are blurred at a time, to keep memory low."""


def render_scan(
    patient: Patient, scan_geometry: ScanGeometry, rng: np.random.Generator, name: str = ""
) -> tuple[Volume, Centroids]:
    """Paint a scan: int16 HU within -1024..3071, and the annotated centres in its local frame."""
    centroids = annotate_scan(patient, scan_geometry, rng)
    voxels = _paint(patient, scan_geometry)
    _add_metal(voxels, patient, scan_geometry, rng)
    torso = make_torso(patient)
    blurred = _blur(voxels, scan_geometry)
    finished = _add_noise(blurred, scan_geometry, torso, rng)
    return Volume(finished, scan_geometry.grid, name), centroids


def render_benchmark_scan(shape: tuple[int, int, int], seed: int) -> Volume:
    """Paint a scan of a given (z, y, x) shape, for benchmarks: chest to sacrum, 1.25 mm slices, 175 mm wide."""
    rng = np.random.default_rng([seed, 0])
    patient = make_patient(rng, PhantomSettings(n_patients=1))
    in_plane, thick = 175.0 / max(shape[1:]), 1.25
    bottom = patient.vertebrae[patient.level_at("S2")].centre_mm
    middle = patient.vertebrae[patient.level_at("L1")].centre_mm
    corner = (middle[0] - 0.5 * shape[2] * in_plane, middle[1] + 85.0 - shape[1] * in_plane, bottom[2] - 25.0)
    geometry = ScanGeometry(Grid(shape, (in_plane, in_plane, thick)), tuple(float(v) for v in corner), 18.0, 0.5, 0.0)  # type: ignore[arg-type]
    return render_scan(patient, geometry, rng, "benchmark")[0]


def _paint(patient: Patient, geometry: ScanGeometry) -> NDArray[np.float32]:
    """Soft tissue, then bones, with edges one voxel wide."""
    voxels = np.full(geometry.grid.shape, OUTSIDE_HU)
    origin, spacing = np.array(geometry.corner_mm), np.array(geometry.grid.spacing_mm)
    texture = _texture(patient.detail_seed)
    torso = make_torso(patient)
    table = soft_tissue(patient, torso, origin[2] + np.arange(voxels.shape[0]) * spacing[2])
    paint_sections(voxels, origin, spacing, table.sections, table.tissues, table.skin, texture, 0, voxels.shape[0])
    _paint_solids(voxels, [*skeleton_solids(patient, torso), *spine_solids(patient)], origin, spacing, texture)
    return voxels


def _paint_solids(
    voxels: NDArray[np.float32],
    solids: list[Solid],
    origin: NDArray[np.float64],
    spacing: NDArray[np.float64],
    texture: NDArray[np.float32],
) -> None:
    table = solid_table(solids)
    paint_solids(voxels, origin, spacing, table.primitives, table.boxes, table.starts, table.tissues, texture)


def _add_metal(voxels: NDArray[np.float32], patient: Patient, geometry: ScanGeometry, rng: np.random.Generator) -> None:
    solids = metal_solids(patient)
    if not solids:
        return
    origin, spacing = np.array(geometry.corner_mm), np.array(geometry.grid.spacing_mm)
    _paint_solids(voxels, solids, origin, spacing, np.zeros((64, 64, 64), np.float32))
    add_streaks(voxels, geometry.grid.spacing_mm, voxels > 0.6 * METAL_HU, rng)


def _texture(seed: int) -> NDArray[np.float32]:
    """Make a periodic (64, 64, 64) random field of unit variance: trabeculae, fat in muscle, vessels in the lung."""
    rng = np.random.default_rng([seed, 2])
    field = gaussian_filter(rng.standard_normal((64, 64, 64), dtype=np.float32), 1.3, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def _blur(voxels: NDArray[np.float32], geometry: ScanGeometry) -> NDArray[np.float32]:
    """Apply the scanner's point spread: in plane as sharp as its kernel, along z a share of the slice thickness."""
    in_plane, _, thick = geometry.grid.spacing_mm
    sigma = np.hypot(geometry.sharpness_mm, 0.2 * in_plane) / in_plane
    along = 0.35 if thick >= 1.0 else 0.5 / thick * 0.7
    out = gaussian_filter1d(voxels, along, axis=0, mode="nearest", truncate=3.0, output=np.float32)
    for z in range(0, len(out), _SLAB):
        out[z : z + _SLAB] = gaussian_filter(out[z : z + _SLAB], (0.0, sigma, sigma), mode="nearest", truncate=3.0)
    return np.asarray(out)


def _add_noise(
    voxels: NDArray[np.float32], geometry: ScanGeometry, torso: Torso, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Add noise as a reconstruction leaves it: correlated in plane, drawn out sideways at the shoulders and hips."""
    n_z, n_y, n_x = voxels.shape
    in_plane = geometry.grid.spacing_mm[0]
    white = rng.standard_normal((6, n_y + 64, n_x + 64), dtype=np.float32)
    fine = gaussian_filter(white, (0.0, 0.6 / in_plane, 0.6 / in_plane))
    coarse = gaussian_filter(white, (0.0, 1.6 / in_plane, 1.6 / in_plane))
    planes = fine - 0.7 * coarse
    planes[4:] = gaussian_filter1d(planes[4:], 4.0 / in_plane, axis=2)
    planes /= planes.std(axis=(1, 2), keepdims=True)
    level = torso.level_at(np.asarray(geometry.corner_mm[2] + np.arange(n_z) * geometry.grid.spacing_mm[2], np.float64))
    thickness = np.interp(
        level,
        [-6.0, -1.0, 3.0, 6.0, 8.0, 10.0, 15.0, 19.0, 25.0, 30.0],
        [1.2, 1.1, 0.7, 1.3, 1.6, 0.9, 0.8, 1.0, 1.35, 1.4],
    )
    picks = rng.integers((0, 0, 0), (4, 65, 65), (n_z, 3))
    drawn_out = np.clip(thickness - 1.2, 0.0, 0.4) * 2.0
    picks[:, 0] = np.where(rng.random(n_z) < drawn_out, 4 + picks[:, 0] % 2, picks[:, 0])
    out = np.empty(voxels.shape, dtype=np.int16)
    finish_slices(voxels, planes, picks, (geometry.noise_hu * thickness).astype(np.float32), 0, n_z, out)
    return out
