"""A full-size scan to 3 mm, against SimpleITK."""

from __future__ import annotations

import SimpleITK as sitk  # noqa: N813

from bench_parts.harness import Contender, Figure, Target, interleaved, timed_figure
from bench_parts.scene import N_THREADS, Scene
from vertloc.geometry import Grid
from vertloc.stages.preprocess import preprocess
from vertloc.volume import Volume

_SPACING_MM = (0.5, 0.5, 1.25)


def measure_resampling(scene: Scene) -> list[Figure]:
    """Resample 300 x 512 x 512 voxels of 0.5 x 0.5 x 1.25 mm."""
    voxels = scene.scan.voxels
    volume = Volume(voxels, Grid(voxels.shape, _SPACING_MM))  # type: ignore[arg-type]
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(_SPACING_MM)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(N_THREADS)
    times = interleaved(
        {
            "ours": Contender(lambda: preprocess(volume, scene.config.preprocess, N_THREADS), scene.repeats(7)),
            "sitk": Contender(lambda: _with_simpleitk(image, scene.config.preprocess.spacing_mm), scene.repeats(3)),
        }
    )
    targets = [Target(0.05), Target(50, "ratio", at_least=True)]
    name = "resample 300x512x512 int16 to 3 mm"
    baseline = "SimpleITK recursive Gaussian + linear"
    return [timed_figure(name, times["ours"], baseline, times["sitk"], targets)]


def _with_simpleitk(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Smooth along each axis as the new voxel size asks for, then interpolate linearly."""
    smooth = sitk.Cast(image, sitk.sitkFloat32)
    for axis, spacing in enumerate(image.GetSpacing()):
        if spacing < spacing_mm:
            gaussian = sitk.RecursiveGaussianImageFilter()
            gaussian.SetDirection(axis)
            gaussian.SetSigma(0.4 * spacing_mm)
            smooth = gaussian.Execute(smooth)
    size = [round(n * s / spacing_mm) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    return sitk.Resample(
        smooth,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        (spacing_mm,) * 3,
        image.GetDirection(),
        -1000.0,
        sitk.sitkInt16,
    )
