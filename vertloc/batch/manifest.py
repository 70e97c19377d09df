"""Results of many scans -> `run.json`: what ran on what, with which versions, and what became of every scan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from vertloc.batch.predicting import CaseResult, Status
from vertloc.centroids import Frame
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.model_file import file_sha256
from vertloc.model import Model
from vertloc.versions import versions


def write_manifest(
    path: Path,
    command: Sequence[str],
    results: Sequence[CaseResult],
    model: Model,
    model_path: Path,
    frame: Frame,
    seconds: float,
    model_sha256: str | None = None,
) -> None:
    """Write `run.json`: what ran on what, with which versions, and what became of every scan.

    command : the command line as it was given; model_sha256 : checksum of the model file, if it is known already
    """
    sha256 = model_sha256 or file_sha256(model_path)
    cases = [{**_plain(result), "seconds": round(result.seconds, 3)} for result in results]
    manifest = {
        "command": list(command),
        "model": {"path": str(model_path), "sha256": sha256, **asdict(model.provenance)},
        "settings": asdict(model.settings),
        "frame": frame,
        "versions": versions(),
        "seconds": round(seconds, 3),
        "counts": {s: sum(r.status == s for r in results) for s in get_args(Status)},
        "cases": cases,
    }
    write_bytes_atomically(path, (json.dumps(manifest, indent=1) + "\n").encode())


def _plain(result: CaseResult) -> dict[str, Any]:
    return {key: getattr(result, key) for key in ("scan", "image", "status", "message", "confidence")}
