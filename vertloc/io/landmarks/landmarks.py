"""Landmarks: the centroids of a scan with all that a file may say about them; what formats are written from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.vertebrae import is_vertebra

FARTHEST_MM = 1e6
"""No coordinate of a patient is larger."""

_NAME = re.compile(r"(?:vertebrae?[ _-]?)?(c|t|th|d|l|s)0?([0-9]{1,2})(?:[ _].*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Alternative:
    """Another way to name the same points: all names `shift` levels further down (+) or up (-), and how probable."""

    shift: int
    probability: float


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What is known of the vertebrae of one scan.

    confidence : by label, 0..1; empty where nobody said
    alternatives : other names for the whole chain, most probable first
    warnings : what was odd about the scan or its result, a line each
    edited : labels that a person set or moved
    provenance : what made them: program, version, model, settings; plain JSON values
    """

    centroids: Centroids
    confidence: Mapping[str, float] = field(default_factory=dict)
    alternatives: tuple[Alternative, ...] = ()
    warnings: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageReference:
    """The scan that landmarks belong to.

    name : of the scan; grid : its stored grid; path : its file or DICOM folder; None where they are not known
    """

    name: str = ""
    grid: Grid | None = None
    path: Path | None = None


def in_world(landmarks: Landmarks, image: ImageReference) -> Centroids:
    """Return the centroids in the world frame. Raises LandmarkError if that takes an image not given."""
    if landmarks.centroids.frame == "local" and image.grid is None:
        raise LandmarkError("points in the local frame have no place in the patient without their image")
    return landmarks.centroids if image.grid is None else landmarks.centroids.to_world(image.grid)


def grid_of(image: ImageReference) -> Grid:
    """Return the grid of the image. Raises LandmarkError if it is not known."""
    if image.grid is None:
        raise LandmarkError("this format counts the voxels of the image, and no image is given")
    return image.grid


def vertebra_name(text: str) -> str | None:
    """Recognize a vertebra's name as files write it: `T12`, `T12_center`, `vertebrae_T12`, `Th12`; else None."""
    match = _NAME.fullmatch(text.strip())
    if match is None:
        return None
    letter = match[1].upper()
    name = f"{'T' if letter in ('TH', 'D') else letter}{int(match[2])}"
    return name if is_vertebra(name) else None
