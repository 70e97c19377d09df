"""Pedicle screws and rods -> solids, and the streaks that they leave in the slices.

The streaks come from the physics: the metal's projections saturate (beam hardening) and lose photons (noise); the
difference to the true projections is filtered and projected back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vertloc.phantom.kernels.scanner import back_project, project_slice
from vertloc.phantom.patient import Patient, Vertebra
from vertloc.phantom.solids import PATIENT_FRAME, Frame, Solid, capsule, chain

METAL_HU = 6000.0
"""Painted value; files end at 3071."""

_N_ANGLES = 96
_PIXELS = 112
_SATURATION_MM = 7.0
_STRENGTH_HU = 5500.0


def metal_solids(patient: Patient) -> list[Solid]:
    """Screws and rods; empty without metal."""
    if patient.metal is None:
        return []
    solids = []
    fused = patient.vertebrae[patient.metal.first : patient.metal.last + 1]
    radius = patient.metal.radius_mm
    for side in (1.0, -1.0):
        heads = []
        for vertebra in fused:
            tip, entry = _screw(vertebra, side)
            frame = Frame(vertebra.centre_mm, vertebra.axes)
            screw = capsule(frame, tip, entry, (0.8 * radius, radius), shell_mm=0.0)
            head = capsule(frame, entry, entry + np.array([0.0, 6.0, 0.0]), 2.0 * radius, shell_mm=0.0)
            solids.append(Solid((screw, head), METAL_HU, METAL_HU, blend_mm=0.0))
            heads.append(vertebra.to_patient((entry[0], entry[1] + 5.0, entry[2])))
        if len(heads) > 1:
            rod = chain(PATIENT_FRAME, heads, radius, 1.0, 0.0)
            solids.append(Solid(tuple(rod), METAL_HU, METAL_HU, blend_mm=0.0))
    return solids


def _screw(vertebra: Vertebra, side: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tip in the body and entry behind the pedicle, local mm."""
    size, s = vertebra.size, vertebra.scale
    depth, canal = vertebra.half_mm[1], 0.5 * size.canal_width * s
    pedicle_x = canal + (3.0 if vertebra.name[0] != "L" else 5.0) * s
    tip = np.array([side * 0.45 * pedicle_x, -0.45 * depth, 0.1 * vertebra.back_mm])
    entry = np.array([side * pedicle_x * 1.15, depth + size.canal_depth * s * 0.95, 0.17 * vertebra.back_mm])
    return tip, entry


def add_streaks(
    voxels: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    metal: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Add streaks to every slice of `voxels` (z, y, x; changed) that holds metal (same shape)."""
    extent = max(voxels.shape[1] * spacing_mm[1], voxels.shape[2] * spacing_mm[0])
    pixel = extent / _PIXELS
    rows = np.clip((np.arange(voxels.shape[1]) * spacing_mm[1] / pixel).astype(np.int64), 0, _PIXELS - 1)
    columns = np.clip((np.arange(voxels.shape[2]) * spacing_mm[0] / pixel).astype(np.int64), 0, _PIXELS - 1)
    share = spacing_mm[0] * spacing_mm[1] / pixel**2
    for z in np.flatnonzero(metal.any(axis=(1, 2))):
        ys, xs = np.nonzero(metal[z])
        image = np.zeros((_PIXELS, _PIXELS))
        np.add.at(image, (rows[ys], columns[xs]), share)
        artefact = _STRENGTH_HU * _upsample(_streaks(image, pixel, rng), voxels.shape[1:], spacing_mm, pixel)
        # The metal itself stays far beyond the scale.
        voxels[z] += np.where(metal[z], np.float32(0), artefact)


def _streaks(image: NDArray[np.float64], pixel_mm: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Artefact of one slice, in units of the metal's own contrast."""
    angles = np.arange(_N_ANGLES) * np.pi / _N_ANGLES
    n_bins = 2 * int(0.75 * _PIXELS) + 1
    path = np.zeros((_N_ANGLES, n_bins))
    project_slice(image, angles, path)
    path *= pixel_mm
    seen = _SATURATION_MM * (1.0 - np.exp(-path / _SATURATION_MM))
    starved = 0.06 * np.expm1(np.minimum(path / 6.0, 3.0)) * rng.normal(size=path.shape)
    error = seen - path + starved
    n_fft = 2 ** int(np.ceil(np.log2(2 * n_bins)))
    ramp = np.abs(np.fft.fftfreq(n_fft)) * np.cos(np.pi * np.fft.fftfreq(n_fft))
    filtered = np.fft.ifft(np.fft.fft(error, n_fft, axis=1) * ramp, axis=1).real[:, :n_bins]
    out = np.zeros_like(image)
    back_project(np.ascontiguousarray(filtered), np.cos(angles), np.sin(angles), out)
    return out * np.pi / _N_ANGLES / pixel_mm


def _upsample(
    coarse: NDArray[np.float64], shape: tuple[int, ...], spacing_mm: tuple[float, float, float], pixel_mm: float
) -> NDArray[np.float32]:
    """Bilinear values of a coarse image at the voxels of a slice."""
    y = np.clip(np.arange(shape[0]) * spacing_mm[1] / pixel_mm - 0.5, 0, _PIXELS - 1.001)
    x = np.clip(np.arange(shape[1]) * spacing_mm[0] / pixel_mm - 0.5, 0, _PIXELS - 1.001)
    y0, x0 = y.astype(np.int64), x.astype(np.int64)
    fy, fx = (y - y0)[:, None], (x - x0)[None, :]
    rows = coarse[y0] * (1 - fy) + coarse[y0 + 1] * fy
    return np.asarray(rows[:, x0] * (1 - fx) + rows[:, x0 + 1] * fx, dtype=np.float32)
