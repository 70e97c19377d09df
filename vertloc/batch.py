"""Many scans + model -> landmark files and a run manifest; one bad scan does not stop the others."""

from __future__ import annotations

import json
import logging
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import vertloc
from vertloc.cohorts.case import Case
from vertloc.errors import VertlocError
from vertloc.io.atomic import write_bytes_atomically
from vertloc.io.images import read_image
from vertloc.io.lml import write_lml
from vertloc.kernels.jit import run_pieces
from vertloc.localization import Localization, localize
from vertloc.model import Model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseResult:
    """What became of one scan.

    status : "done", "empty" (no vertebra found), "skipped" (its result was already there) or "failed"
    message : the error of a failed scan
    confidence : by label; seconds : reading, computing and writing together
    """

    scan: str
    image: str
    status: str
    message: str = ""
    seconds: float = 0.0
    confidence: dict[str, float] = field(default_factory=dict)
    localization: Localization | None = field(default=None, repr=False, compare=False)


def predict_cases(
    cases: Sequence[Case],
    model: Model,
    out: Path,
    n_jobs: int = 1,
    resume: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> list[CaseResult]:
    """Localize every case and write `<scan>.lml` into the folder `out`; results in the order of the cases.

    Several cases run side by side on `n_jobs` threads; a single case gets all threads.
    resume : leave scans alone whose `.lml` is already there
    """
    out.mkdir(parents=True, exist_ok=True)
    threads_inside = n_jobs if len(cases) == 1 else 1

    def predict(i: int) -> CaseResult:
        result = _predict_case(cases[i], model, out, threads_inside, resume)
        progress()
        return result

    return run_pieces(predict, len(cases), n_jobs)


def _predict_case(case: Case, model: Model, out: Path, n_threads: int, resume: bool) -> CaseResult:
    target = out / f"{case.scan}.lml"
    image = str(case.image_path)
    if resume and target.exists():
        return CaseResult(case.scan, image, "skipped")
    start = time.perf_counter()
    try:
        found = localize(read_image(case.image_path), model, n_threads)
        write_lml(target, found.local)
    except (VertlocError, OSError, MemoryError) as error:
        message = str(error) or type(error).__name__
        logger.error("%s: %s", case.scan, message)
        return CaseResult(case.scan, image, "failed", message, time.perf_counter() - start)
    confidence = {label: round(float(p), 4) for label, p in zip(found.labels, found.confidence, strict=True)}
    status = "done" if found.labels else "empty"
    return CaseResult(case.scan, image, status, "", time.perf_counter() - start, confidence, found)


def write_manifest(
    path: Path, command: str, results: Sequence[CaseResult], model: Model, settings: dict[str, Any], seconds: float
) -> None:
    """Write `run.json`: what ran on what, with which versions, and what became of every scan."""
    cases = [{**_plain(result), "seconds": round(result.seconds, 3)} for result in results]
    manifest = {
        "command": command,
        "settings": settings,
        "model": asdict(model.provenance),
        "versions": versions(),
        "seconds": round(seconds, 3),
        "counts": {s: sum(r.status == s for r in results) for s in ("done", "empty", "skipped", "failed")},
        "cases": cases,
    }
    write_bytes_atomically(path, (json.dumps(manifest, indent=1) + "\n").encode())


def versions() -> dict[str, str]:
    """Versions of the package, the interpreter and the libraries that results depend on."""
    libraries = ("numpy", "scipy", "numba", "scikit-learn", "SimpleITK")
    return {
        "vertloc": vertloc.__version__,
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in libraries},
        "machine": platform.machine(),
        "system": platform.system(),
    }


def _plain(result: CaseResult) -> dict[str, Any]:
    return {key: getattr(result, key) for key in ("scan", "image", "status", "message", "confidence")}
