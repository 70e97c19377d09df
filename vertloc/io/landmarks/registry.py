"""Landmark file of any format <-> Landmarks; the only place that knows which suffix means what.

A format is one module and one line of `FORMATS`: the suffixes it takes, the coordinates its files hold, how it reads
and how it writes. Everything else asks here. The modules are imported when a file of theirs is met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from vertloc.centroids import Centroids
from vertloc.errors import LandmarkError
from vertloc.geometry import Grid
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.landmarks.landmarks import ImageReference, Landmarks
from vertloc.io.small_files import read_beginning

Coordinates = Literal["local", "world", "index", "voxels"]
"""What files hold: index times spacing, LPS mm of the patient, continuous voxel index, or an image of labels."""

Read = Callable[[Path, Grid | None], Landmarks]
Format = Callable[[Landmarks, ImageReference], bytes]


@dataclass(frozen=True)
class LandmarkFormat:
    """A kind of landmark file.

    name : as `--format` and `vertloc convert` know it
    suffixes : lower case; the first one is written
    coordinates : of the files where they do not say it themselves; "index" cannot be read without the image's grid
    reader, formatter : `module:function` below `vertloc.io.landmarks`; "" where the format is only written or only read
    recognizer : tells by the first KB whether a file is one of landmarks, where the suffix leaves that open
    companions : (suffix, formatter) of files that are written beside it
    """

    name: str
    suffixes: tuple[str, ...]
    coordinates: Coordinates
    reader: str
    formatter: str
    recognizer: str = ""
    companions: tuple[tuple[str, str], ...] = ()


FORMATS: tuple[LandmarkFormat, ...] = (
    LandmarkFormat("lml", (".lml",), "local", "lml:read_lml_landmarks", "lml:format_lml_landmarks"),
    LandmarkFormat(
        "json", (".json",), "world", "own_json:read_any_json", "own_json:format_own_json", "own_json:is_own_json"
    ),
    LandmarkFormat(
        "mrk.json",
        (".mrk.json",),
        "world",
        "slicer_markups:read_slicer_markups",
        "slicer_markups:format_slicer_markups",
    ),
    LandmarkFormat(
        "csv",
        (".csv",),
        "world",
        "slicer_tables:read_slicer_csv",
        "slicer_tables:format_slicer_csv",
        "slicer_tables:is_slicer_csv",
    ),
    LandmarkFormat("fcsv", (".fcsv",), "world", "slicer_tables:read_fcsv", ""),
    LandmarkFormat(
        "verse",
        ("_ctd.json", "_seg-subreg_ctd.json", "_seg-vb_ctd.json", "_seg-vert_ctd.json"),
        "index",
        "verse:read_verse",
        "verse:format_verse",
    ),
    LandmarkFormat("poi", ("_poi.json",), "world", "poi:read_poi", "poi:format_poi"),
    LandmarkFormat(
        "sr", (".dcm",), "world", "dicom_sr:read_dicom_sr", "dicom_sr:format_dicom_sr", "dicom_sr:is_dicom_sr"
    ),
    LandmarkFormat(
        "labels",
        ("_labels.nii.gz",),
        "voxels",
        "label_map:read_label_map",
        "label_map:format_label_map",
        companions=(("_labels.txt", "label_map:format_snap_labels"),),
    ),
    LandmarkFormat(
        "masks",
        ("_seg-vert_msk.nii.gz", "_seg.nii.gz", "_seg.nii", "_msk.nii.gz", "_seg.nrrd", "_seg.mha"),
        "voxels",
        "masks:read_masks",
        "",
    ),
)
"""In order of preference, where a scan has several."""

WRITTEN: tuple[str, ...] = tuple(entry.name for entry in FORMATS if entry.formatter)
"""Names of the formats that can be written."""

MASK_FOLDER = "segmentations"
"""Folder of TotalSegmentator's masks, one file a vertebra, beside the scan."""


def is_mask_folder(path: Path) -> bool:
    """Tell whether a folder holds TotalSegmentator's masks of vertebrae."""
    return path.name == MASK_FOLDER and any(path.glob("vertebrae_*.nii*"))


def _match(path: Path) -> tuple[LandmarkFormat, str] | None:
    """Find the format with the longest suffix that a name ends in; a name that is all suffix has none."""
    name = path.name.lower()
    ends = [
        (entry, suffix) for entry in FORMATS for suffix in entry.suffixes if name.endswith(suffix) and name != suffix
    ]
    return max(ends, key=lambda end: len(end[1]), default=None)


def is_landmark_path(path: Path) -> bool:
    """Tell whether the name of a file, in any case, ends as that of landmark files and of no others."""
    match = _match(path)
    return match is not None and not match[0].recognizer


def is_landmark_file(path: Path) -> bool:
    """Tell landmark files by their name and, where other files share the suffix, by their beginning."""
    match = _match(path)
    if match is None or not match[0].recognizer:
        return match is not None
    try:
        recognizes = cast(Callable[[bytes], bool], _function(match[0].recognizer))
        return recognizes(read_beginning(path, LandmarkError))
    except LandmarkError:
        return False


def landmark_scan_name(path: Path) -> str:
    """Return the scan a landmark file is named after: its name without the format's suffix, if it has one."""
    match = _match(path)
    return path.name[: -len(match[1])] if match else path.name


def landmark_format(path: Path) -> LandmarkFormat:
    """Return the format of a file by its name; other images, and folders of masks, are taken for masks.

    Raises LandmarkError for an unknown suffix.
    """
    match = _match(path)
    if match is not None:
        return match[0]
    if path.name.lower().endswith((".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")) or is_mask_folder(path):
        return format_named("masks")
    known = ", ".join(suffix for entry in FORMATS for suffix in entry.suffixes)
    raise LandmarkError(f"{path}: expected a landmark file ending in {known}")


def format_named(name: str) -> LandmarkFormat:
    """Return a format by its name. Raises LandmarkError for an unknown one."""
    found = next((entry for entry in FORMATS if entry.name == name), None)
    if found is None:
        raise LandmarkError(f"unknown format {name!r}; known are {', '.join(entry.name for entry in FORMATS)}")
    return found


def written_suffixes(names: Iterable[str]) -> tuple[str, ...]:
    """Return what follows the scan's name in the files that these formats write."""
    formats = [format_named(name) for name in names]
    return tuple(suffix for entry in formats for suffix in (entry.suffixes[0], *(s for s, _ in entry.companions)))


def preferred_landmarks(paths: Iterable[Path]) -> Path | None:
    """Choose among landmark files of one scan: the format that stands first in `FORMATS`; None of none."""
    return min(sorted(paths), key=lambda path: FORMATS.index(landmark_format(path)), default=None)


def read_landmarks(path: str | Path, grid: Grid | None = None) -> Landmarks:
    """Read a landmark file of any format, in the frame that it holds.

    grid : the stored grid of the image; formats that count voxels cannot do without
    Raises LandmarkError, naming file and place, for whatever is no such file, or for a missing grid.
    """
    path = Path(path)
    known = landmark_format(path)
    if not known.reader:
        raise LandmarkError(f"{path}: files of format {known.name} are written, but not read")
    if known.coordinates == "index" and grid is None:
        raise LandmarkError(
            f"{path}: its points are voxel indices, which mean nothing without their image;"
            " convert and relabel take it as --image SCAN"
        )
    return cast(Read, _function(known.reader))(path, grid)


def read_centroids(path: str | Path, grid: Grid | None = None) -> Centroids:
    """Read only the centroids of a landmark file; arguments and errors as for `read_landmarks`."""
    return read_landmarks(path, grid).centroids


def format_landmarks(name: str, landmarks: Landmarks, image: ImageReference) -> dict[str, bytes]:
    """Return the files of a scan in a format: bytes by the suffix that follows the scan's name.

    image : the scan they belong to, as far as it is known
    Raises LandmarkError for a format that is only read, or that needs an image that is not given.
    """
    known = format_named(name)
    if not known.formatter:
        raise LandmarkError(f"files of format {known.name} are read, but not written; known are {', '.join(WRITTEN)}")
    parts = ((known.suffixes[0], known.formatter), *known.companions)
    return {suffix: cast(Format, _function(place))(landmarks, image) for suffix, place in parts}


def write_landmarks(path: str | Path, landmarks: Landmarks, image: ImageReference, name: str | None = None) -> None:
    """Write landmarks in a format; every file appears whole. Errors as for `format_landmarks`, with the path.

    name : of the format; by default that of the suffix of `path`
    """
    path = Path(path)
    known = format_named(name) if name else landmark_format(path)
    try:
        files = format_landmarks(known.name, landmarks, image)
    except LandmarkError as error:
        raise LandmarkError(f"{path}: {error}") from None
    scan = landmark_scan_name(path)
    for suffix, data in files.items():
        write_bytes_atomically(path if suffix == known.suffixes[0] else path.with_name(f"{scan}{suffix}"), data)


def _function(place: str) -> object:
    module, _, name = place.partition(":")
    return getattr(import_module(f"vertloc.io.landmarks.{module}"), name)
