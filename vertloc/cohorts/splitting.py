"""Scans + a number of folds -> lists of scans: no patient in two of them, about as many scans in each.

Patients are dealt out one by one, those with most scans first, each to the fold that has fewest scans so far; patients
with equally many are shuffled by the seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vertloc.cohorts.case import Case
from vertloc.errors import CohortError
from vertloc.io.atomic import write_bytes_atomically


def split_by_patient(cases: Sequence[Case], k: int, seed: int) -> list[list[str]]:
    """Deal the patients of `cases` out to `k` folds; returns the scans of each, sorted.

    The same cases, k and seed give the same folds, whatever the order of the cases. Raises CohortError for fewer than
    two folds or fewer patients than folds.
    """
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        by_patient[case.patient].append(case.scan)
    if k < 2:
        raise CohortError(f"expected at least 2 folds, got {k}")
    if len(by_patient) < k:
        raise CohortError(f"{len(by_patient)} patients cannot be split into {k} folds")
    patients = sorted(by_patient)
    np.random.default_rng(seed).shuffle(patients)
    folds: list[list[str]] = [[] for _ in range(k)]
    for patient in sorted(patients, key=lambda name: -len(by_patient[name])):
        min(folds, key=len).extend(by_patient[patient])
    return [sorted(fold) for fold in folds]


def write_folds(out: Path, folds: Sequence[Sequence[str]], comment: str) -> list[Path]:
    """Write `fold1.txt`, `fold2.txt`, ... into a folder, one scan a line; files that are there are not replaced.

    comment : first line of each
    Raises CohortError if one of the files is there already.
    """
    paths = [out / f"fold{i}.txt" for i in range(1, len(folds) + 1)]
    there = [path for path in paths if path.exists()]
    if there:
        raise CohortError(f"{there[0]}: is there already; choose another folder, or remove it")
    for path, fold in zip(paths, folds, strict=True):
        write_bytes_atomically(path, "".join(f"{line}\n" for line in (f"# {comment}", *fold)).encode())
    return paths
