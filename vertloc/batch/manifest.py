"""Records of a folder of results -> `run.json`: what ran on what, with which versions, and what became of every scan.

It is assembled from the records, never from what a process remembers: after Ctrl-C, a kill and `--resume`, or with two
processes on one folder, it tells of every result that is there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vertloc.batch.predicting import CaseResult
from vertloc.batch.records import Record, read_record, read_records
from vertloc.io.atomic import write_bytes_atomically
from vertloc.model import Model
from vertloc.versions import versions
from vertloc.vertebrae import RANK, VERTEBRAE

_SMALLEST_ALTERNATIVE = 0.01


@dataclass(frozen=True, eq=False)
class Run:
    """What one run was about.

    command : the command line as it was given; scans : in the order of the run
    is_stopped : by Ctrl-C or a signal, before all scans were done
    is_part : one of many that share the folder, and do not list each other's results
    """

    command: Sequence[str]
    scans: Sequence[str]
    model: Model
    model_path: Path
    model_sha256: str
    frame: str
    seconds: float
    is_stopped: bool = False
    is_part: bool = False


def write_manifest(path: Path, run: Run, results: Sequence[CaseResult], out: Path) -> None:
    """Write `run.json` of a folder of results.

    results : of the scans that this run came to
    `cases` lists the scans of this run, in its order; `earlier` what else lies in the folder. Raises OutputError.
    """
    found = [read_record(out, scan) for scan in run.scans] if run.is_part else read_records(out)
    records = {record.scan: record for record in found if record is not None}
    records.update({result.scan: result.record for result in results if result.status == "failed"})
    skipped = {result.scan for result in results if result.status == "skipped"}
    records.update({result.scan: result.record for result in results if result.scan not in records})
    cases = [records[scan] for scan in run.scans if scan in records and records[scan].state != "writing"]
    others = [records[scan] for scan in sorted(set(records) - set(run.scans)) if records[scan].state != "writing"]
    counts = Counter("skipped" if record.scan in skipped else record.state for record in cases)
    manifest = {
        "command": list(run.command),
        "model": {"path": str(run.model_path.absolute()), "sha256": run.model_sha256, **asdict(run.model.provenance)},
        "settings": asdict(run.model.settings),
        "frame": run.frame,
        "versions": versions(),
        "seconds": round(run.seconds, 3),
        "stopped": run.is_stopped,
        "counts": {status: counts[status] for status in ("done", "empty", "skipped", "failed")},
        "left": [scan for scan in run.scans if scan not in {record.scan for record in cases}],
        "cases": [_plain(record, record.scan in skipped) for record in cases],
        "earlier": [_plain(record, True) for record in others],
    }
    write_bytes_atomically(path, (json.dumps(manifest, indent=1) + "\n").encode())


def _plain(record: Record, is_of_another_run: bool) -> dict[str, Any]:
    origin = record.origin
    return {
        "scan": record.scan,
        "image": record.image,
        "status": record.state,
        "message": record.message,
        "confidence": record.confidence,
        "verdict": record.verdict,
        "reasons": list(record.reasons),
        "shifts": sorted(record.shift_probability.items()),
        "alternatives": _alternatives(record),
        "distance": record.distance,
        "warnings": list(record.warnings),
        "seconds": record.seconds,
        "model": origin.model if origin else None,
        "frame": origin.frame if origin else None,
        "this_run": not is_of_another_run,
    }


def _alternatives(record: Record) -> dict[str, list[tuple[str, float]]]:
    """Other names of each vertebra with their probabilities, the likeliest first."""
    shifts = sorted(((p, shift) for shift, p in record.shift_probability.items() if shift != 0), reverse=True)
    return {
        label: [
            (VERTEBRAE[RANK[label] + shift], p)
            for p, shift in shifts
            if p >= _SMALLEST_ALTERNATIVE and 0 <= RANK[label] + shift < len(VERTEBRAE)
        ]
        for label in record.confidence
        if label in RANK
    }
