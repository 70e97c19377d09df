"""Image files and folders from the command line -> cases, one result name each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vertloc.cohorts.case import Case
from vertloc.cohorts.layout import files_below, patient_of
from vertloc.errors import CohortError
from vertloc.io.images import is_image_path, scan_name


def cases_from_inputs(inputs: Sequence[Path]) -> list[Case]:
    """Make a case of every image file, and of every image below every folder, sorted inside a folder.

    The name of a scan is that of the file as given, not of what a link points to: data stores keep their files under
    other names. Raises CohortError, listing all problems: an input that does not exist, a folder without an image, two
    images whose results would have the same name.
    """
    problems: list[str] = []
    images: list[Path] = []
    for path in inputs:
        if path.is_dir():
            below = sorted(p for p in files_below(path) if is_image_path(p))
            if not below:
                problems.append(f"{path}: no image found in this folder or below")
            images += below
        elif path.exists():
            # A file that is no image fails as a case of its own, and the others go on.
            images.append(path)
        else:
            problems.append(f"{path}: no such file or folder")
    images = list(dict.fromkeys(path.parent.resolve() / path.name for path in images))
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in images:
        by_name[scan_name(path)].append(path)
    for name, same in by_name.items():
        if len(same) > 1:
            problems.append(f"{' and '.join(map(str, same))} would both write {name}.lml; predict them separately")
    if problems:
        raise CohortError("\n".join(problems))
    return [Case(scan_name(path), patient_of(path), path) for path in images]
