"""Data folders -> the files of every scan in them, whichever data set's layout they have.

Layouts are found by shape, scan by scan; nothing has to be renamed:

- Microsoft / University of Washington: `patient0001/2804506/2804506.{mhd,raw,lml}`, later
  `spine-1/patient0001/2804506/2804506.{nii.gz,lml}` and, for the test scans, flat
  `spine-test-data/2804506.{nii.gz,lml}`. So lie any scans whose annotation, in any format, stands beside the image.
- CTSpine1K and challenge files of VerSe: `<case>.nii.gz` with `<case>_seg.nii.gz` beside it or in a folder `labels`.
- VerSe: `rawdata/sub-verse000/sub-verse000*_ct.nii.gz`, `derivatives/sub-verse000/sub-verse000*_ctd.json`.
- TotalSegmentator: `s0001/ct.nii.gz`, `s0001/segmentations/vertebrae_L1.nii.gz`.
- nnU-Net, as VertebralBodiesCT-Labels: `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vertloc.cohorts.naming import base_name, names_of, scan_among
from vertloc.cohorts.walking import files_below
from vertloc.errors import CohortError
from vertloc.io.images import is_image_path, scan_name
from vertloc.io.landmarks.registry import (
    MASK_FOLDER,
    is_landmark_file,
    is_landmark_path,
    is_mask_folder,
    landmark_scan_name,
    preferred_landmarks,
)

_PATIENT = re.compile(r"patient[-_ ]?\d+|sub-[0-9a-z]+", re.IGNORECASE)
_SUBJECT_IN_NAME = re.compile(r"(sub-[0-9a-z]+)_", re.IGNORECASE)
_TOTALSEGMENTATOR_SUBJECT = re.compile(r"s\d{4}")
_LABEL_FOLDER = re.compile(r"labels(Tr|Ts)?|derivatives|segmentations")
_PARALLEL_FOLDERS = (
    ("rawdata", "derivatives"),
    ("volumes", "labels"),
    ("imagesTr", "labelsTr"),
    ("imagesTs", "labelsTs"),
)
_CHANNEL = re.compile(r"_0000$")


@dataclass(frozen=True)
class ScanFiles:
    """Everything found under one scan identifier; more than one image means that it is there twice.

    images, landmarks : paths, sorted; the landmarks lie anywhere and are named after the scan
    annotation_path : the landmarks that belong to the first image, by their place
    """

    scan: str
    images: tuple[Path, ...]
    landmarks: tuple[Path, ...]
    annotation_path: Path | None = None

    def annotation(self) -> Path | None:
        """Return the annotation of the first image, if there is one."""
        return self.annotation_path


def find_scans(data: Path | Sequence[Path], without: Path | None = None) -> dict[str, ScanFiles]:
    """Find images and landmark files below folders, through links too; names starting with a dot are passed over.

    without : a folder that is left out
    returns : by scan, sorted; a scan may have landmarks and no image
    Raises CohortError if one of `data` is not a folder.
    """
    roots = [data] if isinstance(data, Path) else list(data)
    files = {path: root for root in roots for path in _files(root, without)}
    landmarks = [path for path in files if is_landmark_file(path)]
    known = set(landmarks)
    images = {path: root for path, root in files.items() if path not in known and _is_scan(path, root)}
    names = names_of(images)
    by_scan: dict[str, list[Path]] = defaultdict(list)
    for image in sorted(images):
        by_scan[names[image]].append(image)
    belonging = _annotations(images, landmarks)
    others = {path: files[path] for path in landmarks if path not in belonging}
    named: dict[str, set[Path]] = defaultdict(set)
    for path, image in belonging.items():
        named[names[image]].add(path)
    for path, name in names_of(others).items():
        place = path.relative_to(others[path]).parent / name
        named[scan_among(place.as_posix(), by_scan) or name].add(path)
    return {
        scan: _scan_files(scan, by_scan.get(scan, []), named[scan], belonging) for scan in sorted({*by_scan, *named})
    }


def images_below(folder: Path) -> list[Path]:
    """List the scans below a folder, without annotations: masks that a data set brings along are no scans."""
    return [path for path in files_below(folder) if _is_scan(path, folder) and not is_landmark_path(path)]


def _scan_files(scan: str, images: list[Path], landmarks: set[Path], belonging: dict[Path, Path]) -> ScanFiles:
    own = [path for path in landmarks if images and belonging.get(path) == images[0]]
    return ScanFiles(scan, tuple(images), tuple(sorted(landmarks)), preferred_landmarks(own))


def _annotations(images: Iterable[Path], landmarks: Iterable[Path]) -> dict[Path, Path]:
    """Find which landmark files, and mask folders, belong to which image by their place; by path of the landmarks."""
    by_place: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for path in landmarks:
        by_place[path.parent, landmark_scan_name(path)].append(path)
    belonging: dict[Path, Path] = {}
    for image in sorted(images):
        for place in _places(image):
            for path in by_place.get(place, ()):
                belonging.setdefault(path, image)
        for path in _unnamed_masks(image):
            belonging.setdefault(path, image)
    return belonging


def _places(image: Path) -> list[tuple[Path, str]]:
    """List folders and names under which the annotation of an image may lie; see the layouts above."""
    name = scan_name(image)
    bare = _CHANNEL.sub("", name.removesuffix("_ct"))
    folders = [image.parent, *(_beside_in(image.parent, *pair) for pair in _PARALLEL_FOLDERS)]
    return list(dict.fromkeys((folder, n) for folder in folders if folder for n in (name, bare)))


def _unnamed_masks(image: Path) -> list[Path]:
    """List masks that only their folder tells from an image."""
    masks = (
        [image.parent / MASK_FOLDER] if scan_name(image) == "ct" and is_mask_folder(image.parent / MASK_FOLDER) else []
    )
    case = _CHANNEL.sub("", scan_name(image))
    folders = (_beside_in(image.parent, *pair) for pair in _PARALLEL_FOLDERS)
    named = (folder / f"{case}{suffix}" for folder in folders if folder is not None for suffix in (".nii.gz", ".nii"))
    return [*masks, *(path for path in named if path.is_file())]


def _beside_in(folder: Path, images: str, labels: str) -> Path | None:
    """Replace the innermost part `images` of a path by `labels`; None if there is none."""
    parts = list(folder.parts)
    if images not in parts:
        return None
    last = len(parts) - 1 - parts[::-1].index(images)
    return Path(*parts[:last], labels, *parts[last + 1 :])


def scans_meant(entry: str, found: Mapping[str, ScanFiles]) -> tuple[str, ...]:
    """Find the scans that a line of a fold file means: one by name or path, or all of a patient; none if unknown."""
    scan = scan_among(entry, found)
    if scan is not None:
        return (scan,)
    patient = entry.rpartition("/")[2]
    return tuple(scan for scan, files in found.items() if patient_of((*files.images, *files.landmarks)[0]) == patient)


def patient_of(image: Path) -> str:
    """Return the patient of a scan: the nearest folder above it named as patients are in the known data sets.

    That is `patientNNNN`, `sub-<name>`, or `sNNNN` around a `ct`; or the `sub-<name>` that the file name begins with.
    Else nothing tells which scans share a patient, and each is taken as a patient of its own.
    """
    for folder in image.parents:
        if _PATIENT.fullmatch(folder.name):
            return folder.name
    subject = _SUBJECT_IN_NAME.match(image.name)
    if subject:
        return subject[1]
    name = base_name(image)
    if name.lower() == "ct" and _TOTALSEGMENTATOR_SUBJECT.fullmatch(image.parent.name):
        return image.parent.name
    return name


def _files(root: Path, without: Path | None) -> list[Path]:
    if not root.is_dir():
        raise CohortError(f"{root}: expected a data folder, got {'a file' if root.exists() else 'nothing there'}")
    found = files_below(root)
    if without is None:
        return found
    folder = without.resolve()
    return [path for path in found if folder not in (path.parent.resolve(), *path.parent.resolve().parents)]


def _is_scan(path: Path, root: Path) -> bool:
    """Tell scans from the masks that data sets bring along in folders of their own."""
    return is_image_path(path) and not any(_LABEL_FOLDER.fullmatch(part) for part in path.relative_to(root).parts[:-1])
