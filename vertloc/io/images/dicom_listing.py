"""A folder of DICOM files -> the CT series in it, their names, and words for what is none."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from vertloc.errors import ImageError
from vertloc.io.images.dicom_header import DicomHeader, is_dicom, read_dicom_header
from vertloc.io.images.dicom_stack import FEWEST_SLICES, Stack, largest_stack, why_no_slice

logger = logging.getLogger(__name__)

_MOST_FILES = 50_000


def ct_series(folder: Path) -> list[Stack]:
    """List all CT series of a folder and below it that are a scan each."""
    return stacks_among(dicom_headers(folder)[0], str(folder))[0]


def series_below(folder: Path, series: str | None = None, name: Path | None = None) -> list[tuple[Path, Stack]]:
    """Find the DICOM series to predict in a folder and below it: in every folder, the largest of each study.

    series : number or UID of the series to take instead; name : of the folder, in words that are said about it
    returns : a file of each series, which stands for it, and its slices; sorted by file
    Where a study has several, a warning lists them.
    """
    by_folder: dict[Path, list[DicomHeader]] = defaultdict(list)
    for header in dicom_headers(folder)[0]:
        by_folder[header.path.parent].append(header)
    of_one_study: dict[tuple[str, str], list[Stack]] = defaultdict(list)
    for place, headers in by_folder.items():
        for stack in stacks_among(headers, str(place))[0]:
            if series is None:
                of_one_study[str(place), stack.headers[0].text("study_uid")].append(stack)
            elif is_series(stack, series):
                of_one_study[str(place), series_uid(stack)].append(stack)
    taken = []
    for (where, _), stacks in of_one_study.items():
        best, others = largest_series(stacks)
        taken.append(best)
        if others:
            logger.warning("%s: %s", name or where, others)
    return sorted(((min(h.path for h in s.headers), s) for s in taken), key=lambda found: found[0])


def largest_series(stacks: Sequence[Stack]) -> tuple[Stack, str]:
    """Choose the series with the most slices, the first of several; also say what else there is, "" if nothing."""
    best = max(stacks, key=lambda stack: len(stack.headers))
    others = "; ".join(describe_series(stack) for stack in stacks if stack is not best)
    return best, f"{describe_series(best)} is taken, not {others}; --series takes another" if others else ""


def is_series(stack: Stack, series: str) -> bool:
    """Tell whether a series has this number or UID."""
    return series in (series_uid(stack), stack.headers[0].text("series_number"))


def series_name(stack: Stack, keep_names: bool = False) -> str:
    """Name a scan after its series, without anything that names the patient unless asked to keep it."""
    header = stack.headers[0]
    checksum = hashlib.sha256(series_uid(stack).encode()).hexdigest()[:8]
    name = f"series{_plain(header.text('series_number')) or '0'}-{checksum}"
    patient = _plain(header.text("patient_name")) if keep_names else ""
    return f"{patient}-{name}" if patient else name


def describe_series(stack: Stack) -> str:
    """Describe a series in a few words."""
    header = stack.headers[0]
    z, y, x = stack.grid.shape
    number, description = header.text("series_number") or "without number", header.text("description")
    return f"series {number} ({description[:40]!r}, {len(stack.headers)} slices, {x} x {y} x {z})"


def series_uid(stack: Stack) -> str:
    """UID of the series that a stack is made of."""
    return stack.headers[0].text("series_uid")


def dicom_headers(folder: Path) -> tuple[list[DicomHeader], str]:
    """Read all DICOM files of a folder and below it, or beside one file; also say which could not be read."""
    below = folder.parent.iterdir() if folder.is_file() else folder.rglob("*")
    headers, unread = [], Counter[str]()
    for n, path in enumerate(sorted(below)):
        if n > _MOST_FILES:
            raise ImageError(f"{folder}: more than {_MOST_FILES} files; give the folder of one series")
        if path.name.startswith(".") or not is_dicom(path):
            continue
        try:
            headers.append(read_dicom_header(path))
        except ImageError as error:
            unread[str(error).partition(": ")[2]] += 1
    return headers, "".join(f"; {n} files: {why}" for why, n in unread.items())


def stacks_among(headers: Sequence[DicomHeader], where: str) -> tuple[list[Stack], Counter[str]]:
    """Make a stack of every series that has one; also count why other files have no part in any."""
    by_series: dict[str, list[DicomHeader]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for header in headers:
        why = why_no_slice(header)
        if why:
            left_out[why] += 1
        else:
            by_series[header.text("series_uid")].append(header)
    stacks = []
    for slices in by_series.values():
        if len(slices) < FEWEST_SLICES:
            left_out[f"slice in a series of only {len(slices)}"] += len(slices)
            continue
        try:
            stacks.append(largest_stack(slices, where))
        except ImageError as error:
            left_out[str(error).removeprefix(f"{where}: ")] += len(slices)
    return stacks, left_out


def nothing_to_take(path: Path, series: str | None, stacks: Sequence[Stack], left_out: Counter[str]) -> str:
    """Say that the series that was asked for, or any, is not there, and what is."""
    parts = [describe_series(stack) for stack in stacks] + [f"{n} x {why}" for why, n in left_out.items()]
    asked = f"series {series} is not a CT scan here" if series else "no CT scan among the DICOM files"
    way_out = "; multi-frame files can be converted with dcm2niix" if left_out["multi-frame file"] else ""
    return f"{path}: {asked}; there are: {', '.join(parts)}{way_out}"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40]
