"""A landmark file in one format -> the same points in another, through the image where frames or voxels differ."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vertloc.annotation_check import annotation_problem
from vertloc.centroids import Frame
from vertloc.errors import LandmarkError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import read_grid, scan_name
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks
from vertloc.io.landmarks.registry import (
    format_landmarks,
    is_mask_folder,
    landmark_format,
    landmark_scan_name,
    read_landmarks,
)

logger = logging.getLogger(__name__)


def convert_landmarks(
    source: Path, out: Path, image: Path | None = None, frame: Frame | None = None, formats: Sequence[str] = ()
) -> list[Path]:
    """Convert a landmark file, or a folder of masks; returns the files written.

    out : the file to write, whose name says the format; with `formats`, the folder for `<scan><suffix>` files
    image : the scan; needed where voxels are counted, or local points meet world ones
    frame : of the points in `.lml` files; by default local if that can be known
    Points that contradict the image are warned of. Raises LandmarkError, ImageError.
    """
    reference = image_reference(image)
    landmarks = read_landmarks(source, reference.grid)
    if reference.grid is not None and (problem := annotation_problem(landmarks.centroids, reference.grid)):
        logger.warning("%s: %s", source, problem)
    scan = reference.name or (source.parent.name if is_mask_folder(source) else landmark_scan_name(source))
    reference = replace(reference, name=scan)
    names = list(formats) or [landmark_format(out).name]
    files: dict[Path, bytes] = {}
    for name in names:
        shown = _in_frame(landmarks, reference, frame) if name == "lml" else landmarks
        try:
            made = format_landmarks(name, shown, reference)
        except LandmarkError as error:
            raise LandmarkError(f"{source}: cannot become {name}: {error}; name it with --image SCAN") from None
        stem = out / scan if formats else out.with_name(landmark_scan_name(out))
        paths = [stem.with_name(stem.name + suffix) for suffix in made]
        if not formats:
            paths[0] = out
        files.update(zip(paths, made.values(), strict=True))
    for path, data in files.items():
        if path.resolve() == source.resolve():
            raise LandmarkError(f"{path}: is the file to be converted; choose another name")
        write_bytes_atomically(path, data)
    return list(files)


def image_reference(image: Path | None) -> ImageReference:
    """Read what landmarks need of a scan: its grid; nothing of no scan. Raises ImageError."""
    return ImageReference() if image is None else ImageReference(scan_name(image), read_grid(image), image)


def _in_frame(landmarks: Landmarks, image: ImageReference, frame: Frame | None) -> Landmarks:
    """Bring landmarks into the frame that was asked for, or into the local one if that can be known."""
    centroids = landmarks.centroids
    wanted = frame or ("local" if image.grid is not None else centroids.frame)
    if wanted == centroids.frame:
        return landmarks
    if image.grid is None:
        raise LandmarkError(f"its points are in the {centroids.frame} frame, and no image is given")
    return replace(
        landmarks, centroids=centroids.to_world(image.grid) if wanted == "world" else centroids.to_local(image.grid)
    )
