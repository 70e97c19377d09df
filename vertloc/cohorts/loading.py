"""Data folder + fold files -> cohorts; every problem is listed at once, before any work starts.

A run over hundreds of scans takes hours. It must not stop at scan 180 for a missing file, nor be started twice to learn
of the second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vertloc.annotation_check import annotation_problem
from vertloc.cohorts.case import Case, Cohort
from vertloc.cohorts.fold_files import FoldLine, read_fold_file
from vertloc.cohorts.layout import ScanFiles, find_scans, patient_of
from vertloc.errors import CohortError, ImageError, LandmarkError
from vertloc.geometry import Grid
from vertloc.io.images import read_grid
from vertloc.io.landmarks.registry import read_centroids


def load_cohort(data: Path | str, fold_file: Path | str | None = None, need_landmarks: bool = True) -> Cohort:
    """Find the scans of a fold file, or all scans of a folder, and check their headers and annotations.

    need_landmarks : a scan without a readable annotation is a problem; else annotations are not looked at, only paired
    Raises CohortError that lists every problem, a line each.
    """
    data = Path(data)
    if fold_file is not None:
        return load_folds(data, [Path(fold_file)], need_landmarks)[0]
    found = find_scans(data)
    problems: list[str] = []
    wanted = [files for files in found.values() if files.images or need_landmarks]
    if not wanted:
        problems.append(f"{data}: no image found in this folder or below")
    cases = _cases([(files, "") for files in wanted], need_landmarks, problems)
    _raise_if_any(problems)
    return Cohort(data.resolve().name, data, cases)


def load_folds(data: Path, fold_files: Sequence[Path], need_landmarks: bool = True) -> tuple[Cohort, ...]:
    """Find and check the scans of several fold files, and that no scan and no patient is in two of them.

    Two scans of a patient show the same spine: with one in each fold, cross-validation would test on what it trained
    on. Arguments and errors as for `load_cohort`.
    """
    found = find_scans(data)
    problems: list[str] = []
    cohorts, lines = [], []
    for path, name in zip(fold_files, _fold_names(fold_files), strict=True):
        entries = _read(path, problems)
        lines.append(entries)
        known = [(found[entry.scan], entry.where) for entry in entries if entry.scan in found]
        problems += [f"{e.where}: scan {e.scan} is not in {data}" for e in entries if e.scan not in found]
        cohorts.append(Cohort(name, data, _cases(known, need_landmarks, problems)))
    problems += _shared(cohorts, lines)
    _raise_if_any(problems)
    return tuple(cohorts)


def _read(path: Path, problems: list[str]) -> list[FoldLine]:
    """Read a fold file without its repeated lines, which are problems."""
    try:
        entries = read_fold_file(path)
    except CohortError as error:
        problems.append(str(error))
        return []
    if not entries:
        problems.append(f"{path}: expected one scan a line, got an empty fold file")
    first: dict[str, FoldLine] = {}
    for entry in entries:
        if entry.scan in first:
            problems.append(f"{entry.where}: scan {entry.scan} stands already in {first[entry.scan].where}")
        first.setdefault(entry.scan, entry)
    return list(first.values())


def _cases(wanted: Sequence[tuple[ScanFiles, str]], need_landmarks: bool, problems: list[str]) -> tuple[Case, ...]:
    """Make a case of each scan that has an image; `problems` is extended.

    wanted : files of a scan and the line that names it, "" if none does
    """
    cases = []
    for files, where in wanted:
        problems += [f"{where}: {problem}" if where else problem for problem in _problems(files, need_landmarks)]
        if files.images:
            image = files.images[0]
            cases.append(Case(files.scan, patient_of(image), image, files.annotation()))
    return tuple(cases)


def _problems(files: ScanFiles, need_landmarks: bool) -> list[str]:
    if not files.images:
        return [f"scan {files.scan} has no image beside {files.landmarks[0]}"]
    problems = []
    if len(files.images) > 1:
        problems.append(f"scan {files.scan} is there twice: {' and '.join(map(str, files.images))}")
    grid = None
    try:
        grid = read_grid(files.images[0])
    except ImageError as error:
        problems.append(str(error))
    if need_landmarks:
        problems += _landmark_problems(files, grid)
    return problems


def _landmark_problems(files: ScanFiles, grid: Grid | None) -> list[str]:
    annotation = files.annotation()
    if annotation is None:
        return [f"scan {files.scan} has no annotation {files.scan}.lml beside {files.images[0]}"]
    try:
        centroids = read_centroids(annotation, grid)
    except LandmarkError as error:
        return [str(error)]
    problem = annotation_problem(centroids, grid) if grid is not None else ""
    return [f"{annotation}: {problem}"] if problem else []


def _shared(cohorts: Sequence[Cohort], lines: Sequence[Sequence[FoldLine]]) -> list[str]:
    """Say which scans and patients are in two folds."""
    problems = []
    scan_seen: dict[str, str] = {}
    patient_seen: dict[str, tuple[int, str]] = {}
    for i, (cohort, entries) in enumerate(zip(cohorts, lines, strict=True)):
        patients = {case.scan: case.patient for case in cohort.cases}
        for entry in entries:
            if entry.scan in scan_seen:
                problems.append(f"{entry.where}: scan {entry.scan} is also in {scan_seen[entry.scan]}")
                continue
            scan_seen[entry.scan] = entry.where
            patient = patients.get(entry.scan)
            if patient is None:
                continue
            fold, where = patient_seen.setdefault(patient, (i, entry.where))
            if fold != i:
                problems.append(f"{entry.where}: {patient}, whose scan {entry.scan} this is, is also in {where}")
    return problems


def _fold_names(fold_files: Sequence[Path]) -> list[str]:
    """Return the stems of the fold files, numbered where they are the same: results are filed under them."""
    stems = [path.stem for path in fold_files]
    return [stem if stems.count(stem) == 1 else f"{stem}-{i}" for i, stem in enumerate(stems, start=1)]


def _raise_if_any(problems: Sequence[str]) -> None:
    if problems:
        unique = list(dict.fromkeys(problems))
        count = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"
        raise CohortError(f"{count}:\n" + "\n".join(unique))
