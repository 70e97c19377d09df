"""A DICOM series of 300 slices, against SimpleITK's series reader; both find and order the files themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from bench_parts.harness import Contender, Figure, Target, interleaved, timed_figure
from bench_parts.scene import Scene
from vertloc.io.images import read_image

_SPACING_MM = (0.5, 0.5, 1.25)


def measure_dicom(scene: Scene) -> list[Figure]:
    """Read 300 slices of 512 x 512 voxels, in a quick run 100."""
    voxels = scene.scan.voxels[: 100 if scene.quick else 300]
    folder = scene.folder / "dicom"
    _write_series(voxels, folder)
    np.testing.assert_array_equal(read_image(folder).voxels, sitk.GetArrayFromImage(_with_simpleitk(folder)))
    times = interleaved(
        {
            "ours": Contender(lambda: read_image(folder), scene.repeats(7)),
            "sitk": Contender(lambda: _with_simpleitk(folder), scene.repeats(7)),
        }
    )
    name = f"read a DICOM series, {len(voxels)}x512x512"
    target = Target(0.8, "ratio", at_least=True)
    return [timed_figure(name, times["ours"], "SimpleITK ImageSeriesReader", times["sitk"], [target], "files in cache")]


def _with_simpleitk(folder: Path) -> sitk.Image:
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def _write_series(voxels: np.ndarray, folder: Path) -> None:
    folder.mkdir()
    for k, plane in enumerate(voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(k)])
        made = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        made.Modality, made.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.StudyInstanceUID, made.SeriesInstanceUID, made.SeriesNumber, made.InstanceNumber = "1.2", "1.2.3", 3, k + 1
        made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, k * _SPACING_MM[2]], [1, 0, 0, 0, 1, 0]
        made.PixelSpacing, made.SliceThickness = list(_SPACING_MM[:2]), _SPACING_MM[2]
        made.Rows, made.Columns = plane.shape
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
        made.RescaleSlope, made.RescaleIntercept = 1, -1024
        made.PixelData = (np.clip(plane, -1024, 3071) + 1024).astype("<i2").tobytes()
        made.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
