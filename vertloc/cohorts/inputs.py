"""Image files and folders from the command line -> cases, one result name each."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from vertloc.cohorts.case import Case
from vertloc.cohorts.layout import images_below, patient_of
from vertloc.cohorts.naming import names_of
from vertloc.errors import CohortError


def cases_from_inputs(inputs: Sequence[Path]) -> list[Case]:
    """Make a case of every image file, and of every scan below every folder, sorted inside a folder.

    The name of a scan is that of the file as given, not of what a link points to: data stores keep their files under
    other names. Where several have one file name, `s0001/ct.nii.gz`, it is the path below the folder given, or below
    the folder that all given files share; results then lie in folders likewise. Masks beside the scans are no scans.
    Raises CohortError, listing all problems: an input that does not exist, a folder without an image, two images whose
    results would have the same name.
    """
    problems: list[str] = []
    images: dict[Path, Path] = {}
    shared = _shared_folder([path for path in inputs if not path.is_dir()])
    for path in inputs:
        if path.is_dir():
            below = sorted(images_below(path))
            if not below:
                problems.append(f"{path}: no image found in this folder or below")
            for image in below:
                images.setdefault(_absolute(image), _absolute(path))
        elif path.exists():
            # A file that is no image fails as a case of its own, and the others go on.
            images.setdefault(_absolute(path), shared)
        else:
            problems.append(f"{path}: no such file or folder")
    names = names_of(images)
    problems += _clashes(names)
    if problems:
        raise CohortError("\n".join(problems))
    return [Case(names[path], patient_of(path), path) for path in images]


def _absolute(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _shared_folder(files: Sequence[Path]) -> Path:
    """Return the folder that all files lie in or below."""
    folders = {str(_absolute(path).parent) for path in files}
    try:
        return Path(os.path.commonpath(folders)) if folders else Path()
    except ValueError:  # on different drives
        return Path(_absolute(files[0]).anchor)


def _clashes(names: dict[Path, str]) -> list[str]:
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        by_name[name].append(path)
    return [
        f"{' and '.join(map(str, same))} would both write {name}.lml; predict them separately"
        for name, same in by_name.items()
        if len(same) > 1
    ]
