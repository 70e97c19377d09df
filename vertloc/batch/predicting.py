"""Many scans + model -> landmark files; one bad scan does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vertloc.centroids import Frame
from vertloc.cohorts.case import Case
from vertloc.errors import OutputError, VertlocError
from vertloc.io.images import read_image
from vertloc.io.landmarks.lml import write_lml
from vertloc.io.outputs import make_folder
from vertloc.localization import Localization, localize
from vertloc.model import Model
from vertloc.volume import Volume

logger = logging.getLogger(__name__)


_FORESEEN = (VertlocError, OSError, MemoryError)

Status = Literal["done", "empty", "skipped", "failed"]


@dataclass(frozen=True)
class CaseResult:
    """What became of one scan.

    status : "done", "empty" (no vertebra found), "skipped" (its result was already there) or "failed"
    message : the error of a failed scan
    confidence : by label; seconds : reading, computing and writing together
    """

    scan: str
    image: str
    status: Status
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
    frame: Frame = "local",
    preview: bool = False,
    progress: Callable[[], None] = lambda: None,
    read_ahead: Callable[[], Volume] | None = None,
) -> list[CaseResult]:
    """Localize every case and write `<scan>.lml` into the folder `out`; results in the order of the cases.

    Several cases run side by side on `n_jobs` threads; a single case gets all threads.
    resume : leave scans alone whose `.lml` is already there
    frame : of the points in the `.lml` files
    preview : also draw `<scan>.png`
    read_ahead : gives the volume of a single case, if its reading has already begun
    A scan that fails leaves no result behind, not even that of an earlier run. Raises OutputError if `out` cannot be
    written to, or holds an annotation that a result would replace.
    """
    make_folder(out)
    if preview:
        from vertloc.report.overlay import check_can_draw

        check_can_draw()
    if not resume:
        _refuse_to_replace_annotations(cases, out)
    results = []
    for result in _all_predicted(cases, model, out, n_jobs, (resume, frame, preview), read_ahead):
        results.append(result)
        progress()
    return results


def _all_predicted(
    cases: Sequence[Case],
    model: Model,
    out: Path,
    n_jobs: int,
    how: tuple[bool, Frame, bool],
    read_ahead: Callable[[], Volume] | None,
) -> Iterator[CaseResult]:
    """Yield the results in the order of the cases; `how` is resume, frame and preview."""
    if len(cases) == 1:  # joblib takes a tenth of a second to import
        yield _predict_case(cases[0], model, out, n_jobs, *how, read_ahead)
        return
    from joblib import Parallel, delayed

    # Threads, unless `joblib.parallel_config(backend="dask")` sends the cases to a cluster that sees the same files.
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    yield from parallel(delayed(_predict_case)(case, model, out, 1, *how) for case in cases)


def _predict_case(
    case: Case,
    model: Model,
    out: Path,
    n_threads: int,
    resume: bool,
    frame: Frame,
    preview: bool,
    read_ahead: Callable[[], Volume] | None = None,
) -> CaseResult:
    image = str(case.image_path)
    if resume and (out / f"{case.scan}.lml").exists():
        return CaseResult(case.scan, image, "skipped")
    start = time.perf_counter()
    try:
        volume = read_ahead() if read_ahead else read_image(case.image_path)
        found = localize(volume, model, n_threads)
        confidence = {label: round(float(p), 4) for label, p in zip(found.labels, found.confidence, strict=True)}
        if preview:
            from vertloc.report.overlay import draw_overlay

            draw_overlay(volume, found.world, None, out / f"{case.scan}.png", case.scan, confidence)
        write_lml(out / f"{case.scan}.lml", found.local if frame == "local" else found.world, frame=frame)
    except Exception as error:
        # One scan must not stop the others, whatever is wrong with it; what nobody foresaw is said with its kind.
        message = _message(error)
        logger.error("%s: %s", case.scan, message, exc_info=not isinstance(error, _FORESEEN))
        for suffix in (".lml", ".png"):
            (out / f"{case.scan}{suffix}").unlink(missing_ok=True)
        return CaseResult(case.scan, image, "failed", message, time.perf_counter() - start)
    status: Status = "done" if found.labels else "empty"
    return CaseResult(case.scan, image, status, "", time.perf_counter() - start, confidence, found)


def _message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".removesuffix(": ")
    return str(error) if isinstance(error, _FORESEEN) else f"unexpected {type(error).__name__}: {error}"


def _refuse_to_replace_annotations(cases: Sequence[Case], out: Path) -> None:
    """Keep landmark files that lie beside their images: they are probably made by hand."""
    beside = [case.scan for case in cases if case.image_path.parent.resolve() == out.resolve()]
    found = [out / f"{scan}.lml" for scan in beside if (out / f"{scan}.lml").exists()]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise OutputError(
            f"{found[0]}{more}: lies beside its image and may be an annotation; choose another folder for the results"
        )
