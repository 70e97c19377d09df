"""Folders of annotations and of results -> for each scan what is true and what was predicted, in one frame."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vertloc.centroids import Centroids
from vertloc.cohorts.layout import ScanFiles, find_scans, patient_of, scans_meant
from vertloc.cohorts.naming import base_name, scan_among
from vertloc.cohorts.walking import files_below
from vertloc.errors import ImageError, LandmarkError
from vertloc.geometry import Grid
from vertloc.io.images import read_grid
from vertloc.io.landmarks.registry import is_landmark_file, landmark_format, preferred_landmarks, read_centroids

RESULT_SUFFIX = "_centroids_conf"
"""Ending of the result files of 2013: `<scan>_centroids_conf.lml`."""


@dataclass(frozen=True)
class Truth:
    """An annotated scan.

    image_path : where it is known; it is needed where annotation and result are in different frames
    """

    scan: str
    patient: str
    landmarks_path: Path
    image_path: Path | None = None


def find_truths(
    roots: Sequence[Path], pred_dir: Path, scans: Sequence[str] | None, problems: list[str]
) -> tuple[list[Truth], Collection[str]]:
    """Find the annotated scans below `roots`, apart from `pred_dir` if it lies there.

    scans : only these, by name, path or patient
    returns : those to be scored, and the names of all
    """
    found = find_scans(roots, without=None if pred_dir.resolve() in {root.resolve() for root in roots} else pred_dir)
    annotated = {}
    for scan, files in found.items():
        own = _annotations(files)
        if own:
            annotated[scan] = files
        if len(own) > 1:
            problems.append(_several(scan, own))
    where = " and ".join(map(str, roots))
    if not annotated:
        problems.append(f"{where}: no .lml file in this folder or below it, nor landmarks of another format")
    wanted = list(annotated) if scans is None else _wanted(scans, annotated, where, problems)
    truths = [_truth(scan, annotated[scan]) for scan in wanted]
    return truths, annotated.keys()


def find_predictions(
    pred_dir: Path, names: Collection[str], problems: list[str], wanted: Collection[str] | None = None
) -> dict[str, Path]:
    """Find the result file of every scan below a folder; results without annotation go by their own path.

    names : of the annotated scans; wanted : of those that are scored, if that is not all
    """
    by_scan: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for path in files_below(pred_dir) if is_landmark_file(path)):
        place = path.relative_to(pred_dir).parent / base_name(path).removesuffix(RESULT_SUFFIX)
        by_scan[scan_among(place.as_posix(), names) or place.as_posix()].append(path)
    chosen = {}
    for scan, paths in by_scan.items():
        preferred = _one_format(paths)
        if len(preferred) > 1 and (wanted is None or scan in wanted):
            problems.append(_several(scan, preferred))
        chosen[scan] = preferred[0]
    return chosen


def read_pair(truth: Truth, pred_file: Path | None, problems: list[str]) -> tuple[Centroids, Centroids]:
    """Read annotation and result of a scan, in the annotation's frame; what cannot be read is empty and a problem."""
    grid = _grid(truth, problems)
    true = _read(truth.landmarks_path, grid, problems)
    predicted = Centroids((), np.empty((0, 3)), true.frame) if pred_file is None else _read(pred_file, grid, problems)
    if predicted.frame == true.frame:
        return true, predicted
    if grid is not None:
        return true, predicted.to_world(grid) if true.frame == "world" else predicted.to_local(grid)
    if len(true) and len(predicted):
        problems.append(
            f"{pred_file}: holds points in the {predicted.frame} frame, {truth.landmarks_path} in the {true.frame}"
            " frame, and without the image nothing tells how they lie to each other; put it beside the annotation, or"
            f" predict with --frame {true.frame}"
        )
    return true, Centroids((), np.empty((0, 3)), true.frame)


def _annotations(files: ScanFiles) -> list[Path]:
    """List what may be the annotation of a scan: one file if all is well."""
    own = [path for path in files.landmarks if not base_name(path).endswith(RESULT_SUFFIX)]
    if files.annotation() in own:
        return [path for path in own if path == files.annotation()]
    return _one_format(own)


def _one_format(paths: Sequence[Path]) -> list[Path]:
    """Keep the files of the preferred format; the same landmarks in several formats are no contradiction."""
    preferred = preferred_landmarks(paths)
    if preferred is None:
        return []
    return [path for path in paths if landmark_format(path) is landmark_format(preferred)]


def _several(scan: str, paths: Sequence[Path]) -> str:
    return f"{scan}: found {len(paths)} times: {', '.join(map(str, paths))}"


def _wanted(scans: Sequence[str], annotated: dict[str, ScanFiles], where: str, problems: list[str]) -> list[str]:
    wanted: list[str] = []
    for entry in scans:
        meant = scans_meant(entry, annotated)
        if not meant and annotated:
            problems.append(f"{entry}: no {entry.rpartition('/')[2]}.lml below {where}")
        wanted += meant
    repeated = {scan: n for scan, n in Counter((*wanted, *_unknown(scans, annotated))).items() if n > 1}
    problems += [f"{scan}: asked for {n} times" for scan, n in repeated.items()]
    return list(dict.fromkeys(wanted))


def _unknown(scans: Iterable[str], annotated: dict[str, ScanFiles]) -> list[str]:
    return [entry for entry in scans if not scans_meant(entry, annotated)]


def _truth(scan: str, files: ScanFiles) -> Truth:
    path = _annotations(files)[0]
    image = files.images[0] if files.images else None
    return Truth(scan, patient_of(image or path), path, image)


def _grid(truth: Truth, problems: list[str]) -> Grid | None:
    if truth.image_path is None:
        return None
    try:
        return read_grid(truth.image_path)
    except ImageError as error:
        problems.append(str(error))
        return None


def _read(path: Path, grid: Grid | None, problems: list[str]) -> Centroids:
    try:
        return read_centroids(path, grid)
    except (LandmarkError, OSError) as error:
        problems.append(str(error))
        return Centroids((), np.empty((0, 3)))
