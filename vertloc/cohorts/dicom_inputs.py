"""DICOM among the inputs of a prediction -> cases, one for each series; what is no DICOM is left for others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vertloc.cohorts.case import Case
from vertloc.cohorts.walking import files_below
from vertloc.errors import CohortError, ImageError
from vertloc.io.images import (
    DicomSeries,
    Stack,
    ct_series,
    is_dicom,
    is_image_path,
    open_silently,
    series_below,
    series_name,
    unpack_zip,
)

logger = logging.getLogger(__name__)


def dicom_cases(
    inputs: Sequence[Path], series: str | None = None, keep_names: bool = False
) -> tuple[list[Path], list[Case]]:
    """Make a case of the largest CT series of each study in every folder, and of every zip and single DICOM file.

    series : number or UID of the series to take instead; keep_names : put the patient's name before the scan's
    returns : the inputs that hold other images, or nothing that is known; and the cases
    Raises CohortError if a series was asked for and no input holds it.
    """
    rest: list[Path] = []
    cases: dict[Path, Case] = {}
    for path in inputs:
        found = _cases_of(path, series, keep_names)
        cases.update({case.image_path: case for case in found})
        if not found or (path.is_dir() and any(is_image_path(file) for file in files_below(path))):
            rest.append(path)
    if series is not None and not cases:
        raise CohortError(f"--series {series}: no CT series of this number or UID among the inputs")
    return rest, _told_apart(list(cases.values()))


def _told_apart(cases: Sequence[Case]) -> list[Case]:
    """Give cases of one name numbers: a series may lie in two folders, whose own names may be a patient's."""
    seen: dict[str, Case] = {}
    for case in cases:
        name, n = case.scan, 1
        while name in seen:
            n += 1
            name = f"{case.scan}-{n}"
        if n > 1:
            first = seen[case.scan].image_path
            logger.warning("%s: has the name of %s, too; its result is %s", case.image_path, first, name)
        seen[name] = replace(case, scan=name)
    return list(seen.values())


def _cases_of(path: Path, series: str | None, keep_names: bool) -> list[Case]:
    if path.is_dir():
        found = [(file, series_name(stack, keep_names), stack) for file, stack in series_below(path, series)]
        if not found and series is None and any(map(is_dicom, files_below(path))):
            return [Case(path.name, path.name, path.absolute())]  # it will fail, and say what the files are instead
    else:
        try:
            found = [(file, series_name(stack, keep_names), stack) for file, stack in _series_of_file(path, series)]
        except ImageError as error:  # as a case of its own it will fail, and the others go on
            logger.info("%s", error)
            return []
    return [Case(name, stack.headers[0].text("study_uid") or name, file.absolute()) for file, name, stack in found]


def _series_of_file(path: Path, series: str | None) -> list[tuple[Path, Stack]]:
    """Find the series that a file or a zip stands for, each with the path that stands for it alone."""
    if not path.is_file() or is_image_path(path):
        return []
    if path.suffix.lower() == ".zip":
        unpacked = unpack_zip(path)
        every = ct_series(unpacked.folder)
        if len(every) == 1 and series is None:
            return [(path, every[0])]
        return [(path / file.name, stack) for file, stack in series_below(unpacked.folder, series, path)]
    scan = open_silently(path, series)
    if not isinstance(scan, DicomSeries):
        return []
    return [(path if series is None else min(header.path for header in scan.stack.headers), scan.stack)]
