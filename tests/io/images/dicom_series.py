"""DICOM series made for tests, one file a slice, with whatever defect is asked for."""

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE = (7, 20, 24)
SPACING = (0.8, 0.6, 2.5)
OBLIQUE = np.array([[0.6, 0.0, -0.8], [0.0, 1.0, 0.0], [0.8, 0.0, 0.6]])


def voxels(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def dataset(values, position, orientation, **elements):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = elements.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = elements.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    made = FileDataset(
        "x", {}, file_meta=meta, preamble=bytes(128), is_little_endian=meta.TransferSyntaxUID.is_little_endian
    )
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.ImageType, made.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    made.PatientName, made.PatientID = "Doe^Jane", "0815"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.SeriesNumber = "1.2.3", "1.2.3.4", 3
    made.ImagePositionPatient = [f"{p:.6f}" for p in position]
    made.ImageOrientationPatient = [f"{o:.8f}" for o in orientation]
    made.PixelSpacing = [SPACING[1], SPACING[0]]
    made.Rows, made.Columns = values.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 1
    made.RescaleSlope, made.RescaleIntercept = 1, -24
    for name, value in elements.items():
        setattr(made, name, value)
    if not hasattr(made, "PixelData"):
        slope, intercept = float(made.RescaleSlope), float(made.RescaleIntercept)
        stored = np.round((values - intercept) / slope)
        made.PixelData = stored.astype("<i2" if made.PixelRepresentation else "<u2").tobytes()
    return made


def write_series(folder, values=None, axes=None, places=None, shear=0.0, origin=(-10.0, 20.0, -300.0), change=None,
                 **elements):  # fmt: skip
    """Write a slice a file; places : along the normal, in slices; change : called with k, returns more elements."""
    folder.mkdir(parents=True, exist_ok=True)
    values = voxels() if values is None else values
    axes = np.eye(3) if axes is None else axes
    places = np.arange(len(values)) if places is None else places
    for k, (plane, place) in enumerate(zip(values, places, strict=True)):
        along = place * SPACING[2]
        position = np.array(origin) + axes[:, 2] * along + axes[:, 1] * along * shear
        more = {"InstanceNumber": k + 1, **elements, **(change(k) if change else {})}
        made = dataset(plane, position, (*axes[:, 0], *axes[:, 1]), **more)
        # Names in no order: the place of a slice is in its header.
        number = elements.get("SeriesNumber", 3)
        made.save_as(folder / f"{(k * 5) % 97:02d}-{number}-{k}.dcm", enforce_file_format=True)
    return folder
