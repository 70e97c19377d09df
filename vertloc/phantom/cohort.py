"""Settings + seed -> a folder in the layout of the Microsoft spine CT database, with two patient-wise fold files.

Patient i depends on the seed and on i alone: a larger cohort contains the smaller one, and the number of workers
changes nothing. `phantom.json` tells how the folder was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vertloc.centroids import Centroids
from vertloc.errors import CohortError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import write_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.phantom.patient import Patient, make_patient
from vertloc.phantom.render import render_scan
from vertloc.phantom.scan import ScanGeometry, annotate_scan, plan_scan
from vertloc.phantom.settings import PhantomSettings
from vertloc.phantom.statistics import CohortStatistics, cohort_statistics
from vertloc.workers import run_pieces

MANIFEST = "phantom.json"


@dataclass(frozen=True, eq=False)
class PlannedScan:
    """A scan that can be painted: `index` is 0 or 1 within the patient; `scan` the 7-digit identifier."""

    patient_name: str
    scan: str
    fold: int
    patient: Patient
    geometry: ScanGeometry
    seed: tuple[int, int, int, int]

    def generator(self) -> np.random.Generator:
        """Make the generator of annotation, streaks and noise; new on every call."""
        return np.random.default_rng(self.seed)


def plan_patient(number: int, settings: PhantomSettings, seed: int) -> list[PlannedScan]:
    """Draw patient `number` (from 0) and the one or two scans of it; nothing is painted yet."""
    patient_rng = np.random.default_rng([seed, number, 0, 0])
    patient = make_patient(patient_rng, settings)
    n_scans = 2 if patient_rng.random() < settings.share_two_scans else 1
    first_id = 2_000_000 + 100 * number + int(patient_rng.integers(0, 40))
    scans = []
    for i in range(n_scans):
        geometry = plan_scan(patient, settings, np.random.default_rng([seed, number, 1, i]))
        scans.append(
            PlannedScan(
                patient_name=f"patient{number + 1:04d}",
                scan=f"{first_id + 41 * i:07d}",
                fold=1 + number % 2,
                patient=patient,
                geometry=geometry,
                seed=(seed, number, 2, i),
            )
        )
    return scans


def annotate_planned(scan: PlannedScan) -> Centroids:
    """Return the points that `render_scan` will give for this scan, without painting it."""
    return annotate_scan(scan.patient, scan.geometry, scan.generator())


def plan_cohort(settings: PhantomSettings, seed: int) -> list[PlannedScan]:
    """Draw all scans of a cohort; nothing is painted yet."""
    return [scan for number in range(settings.n_patients) for scan in plan_patient(number, settings, seed)]


def write_phantom_cohort(
    out: Path,
    settings: PhantomSettings,
    seed: int,
    n_jobs: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> CohortStatistics:
    """Write a cohort into the folder `out` and return its statistics; `progress` is called after every scan.

    `out/patientNNNN/<id>/<id>.{mhd,raw,lml}`, `fold1.txt`, `fold2.txt` (bare identifiers), `phantom.json`.
    n_jobs : scans painted side by side, on threads; the files do not depend on it

    Raises CohortError if `out` holds anything but the same cohort (which is then written again).
    """
    manifest = _manifest(settings, seed)
    _claim_folder(out, manifest)
    write_bytes_atomically(out / MANIFEST, manifest)
    scans = plan_cohort(settings, seed)

    def write(i: int) -> tuple[ScanGeometry, Centroids]:
        scan = scans[i]
        folder = out / scan.patient_name / scan.scan
        folder.mkdir(parents=True, exist_ok=True)
        volume, centroids = render_scan(scan.patient, scan.geometry, scan.generator(), scan.scan)
        write_image(volume, folder / f"{scan.scan}.mhd")
        write_lml(folder / f"{scan.scan}.lml", centroids)
        progress()
        return scan.geometry, centroids

    written = run_pieces(write, len(scans), n_jobs)
    for fold in (1, 2):
        listed = "".join(f"{scan.scan}\n" for scan in scans if scan.fold == fold)
        write_bytes_atomically(out / f"fold{fold}.txt", listed.encode("ascii"))
    return cohort_statistics(written)


def _manifest(settings: PhantomSettings, seed: int) -> bytes:
    record = {"generator": "vertloc phantom", "format": 1, "seed": seed, "settings": asdict(settings)}
    return (json.dumps(record, indent=2, sort_keys=True) + "\n").encode("utf-8")


def _claim_folder(out: Path, manifest: bytes) -> None:
    """Make sure that nothing else lives in the folder. Raises CohortError."""
    if not out.exists():
        out.mkdir(parents=True)
        return
    if not out.is_dir():
        raise CohortError(f"{out}: expected a folder for the synthetic cohort, found a file")
    if not any(out.iterdir()):
        return
    present = out / MANIFEST
    if not present.is_file():
        raise CohortError(
            f"{out}: expected an empty folder or a synthetic cohort, found other files without {MANIFEST}"
        )
    if present.read_bytes() != manifest:
        raise CohortError(
            f"{out}: holds a synthetic cohort with another seed or other settings; give a new folder or remove this one"
        )
