"""Data folder + fold files -> cohorts; every problem is listed at once, before any work starts.

A run over hundreds of scans takes hours. It must not stop at scan 180 for a missing file, nor be started twice to learn
of the second one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vertloc.annotation_check import annotation_problem
from vertloc.cohorts.case import Case, Cohort
from vertloc.cohorts.fold_files import FoldLine, read_fold_file
from vertloc.cohorts.layout import ScanFiles, find_scans, patient_of, scans_meant
from vertloc.errors import CohortError, ImageError, LandmarkError
from vertloc.geometry import Grid
from vertloc.io.images import read_grid
from vertloc.io.landmarks.registry import read_centroids

Data = Path | str | Sequence[Path | str]
"""A data folder, or several."""


def load_cohort(data: Data, fold_file: Path | str | None = None, need_landmarks: bool = True) -> Cohort:
    """Find the scans of a fold file, or all scans of a folder, and check their headers and annotations.

    data : a data folder, or several whose scans belong together
    need_landmarks : a scan without a readable annotation that fits its image is a problem; else annotations are not
        looked at, only paired
    Raises CohortError that lists every problem, a line each.
    """
    if fold_file is not None:
        return load_folds(data, [Path(fold_file)], need_landmarks)[0]
    roots = _roots(data)
    found = find_scans(roots)
    problems: list[str] = []
    wanted = [files for files in found.values() if files.images or need_landmarks]
    if not wanted:
        problems.append(f"{_and(roots)}: no image found in this folder or below")
    cases = _cases([(files, "") for files in wanted], need_landmarks, problems)
    _raise_if_any(problems)
    return Cohort("-".join(root.resolve().name for root in roots), roots[0], cases)


def load_folds(data: Data, fold_files: Sequence[Path], need_landmarks: bool = True) -> tuple[Cohort, ...]:
    """Find and check the scans of several fold files, and that no scan and no patient is in two of them.

    Two scans of a patient show the same spine: with one in each fold, cross-validation would test on what it trained
    on. Arguments and errors as for `load_cohort`.
    """
    roots = _roots(data)
    found = find_scans(roots)
    problems: list[str] = []
    cohorts, lines = [], []
    for path, name in zip(fold_files, _fold_names(fold_files), strict=True):
        entries = _read(path, found, _and(roots), problems)
        lines.append(entries)
        known = [(found[entry.scan], entry.where) for entry in entries]
        cohorts.append(Cohort(name, roots[0], _cases(known, need_landmarks, problems)))
    problems += _shared(cohorts, lines)
    _raise_if_any(problems)
    return tuple(cohorts)


def _roots(data: Data) -> list[Path]:
    return [Path(data)] if isinstance(data, Path | str) else [Path(root) for root in data]


def _and(roots: Sequence[Path]) -> str:
    return " and ".join(map(str, roots))


def _read(path: Path, found: Mapping[str, ScanFiles], where: str, problems: list[str]) -> list[FoldLine]:
    """Read the scans of a fold file by the names they have in `found`; what is unknown or repeated is a problem."""
    try:
        lines = read_fold_file(path)
    except CohortError as error:
        problems.append(str(error))
        return []
    if not lines:
        problems.append(f"{path}: expected one scan a line, got an empty fold file")
    first: dict[str, FoldLine] = {}
    for line in lines:
        scans = scans_meant(line.path, found)
        if not scans:
            problems.append(f"{line.where}: scan {line.scan} is not in {where}{_ambiguity(line.scan, found)}")
        for scan in scans:
            if scan in first:
                problems.append(f"{line.where}: scan {scan} stands already in {first[scan].where}")
            first.setdefault(scan, FoldLine(scan, line.where))
    return list(first.values())


def _ambiguity(scan: str, found: Mapping[str, ScanFiles]) -> str:
    same = [name for name in found if name.endswith(f"/{scan}")]
    return f"; {len(same)} scans are called so, name them by folder, as in {same[0]}" if same else ""


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
        return [f"scan {files.scan} has no annotation {_base(files)}.lml beside {files.images[0]}"]
    try:
        centroids = read_centroids(annotation, grid)
    except LandmarkError as error:
        return [str(error)]
    problem = annotation_problem(centroids, grid) if grid is not None else ""
    return [f"{annotation}: {problem}"] if problem else []


def _base(files: ScanFiles) -> str:
    return files.scan.rpartition("/")[2]


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
