"""Many scans + model -> landmark files, each with its record; one bad scan does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vertloc.batch.cluster import connected, each_on_cluster
from vertloc.batch.empty import why_empty
from vertloc.batch.job import CaseResult, Job, ModelSource, PredictOptions, model_checksum
from vertloc.batch.listening import warnings_of_this_thread
from vertloc.batch.pipeline import read_ahead_of_work
from vertloc.batch.records import (
    FOLDER,
    Origin,
    Record,
    read_record,
    write_record,
    write_results,
)
from vertloc.batch.result_files import landmark_file_names, landmark_files
from vertloc.batch.resuming import Finished, finished
from vertloc.cohorts.case import Case
from vertloc.errors import OutputError, VertlocError
from vertloc.geometry import Grid
from vertloc.io.atomic import remove_stale_temporaries
from vertloc.io.images import open_image, open_silently, read_voxels
from vertloc.io.landmarks.landmarks import ImageReference
from vertloc.io.landmarks.lml import format_lml
from vertloc.io.outputs import make_folder
from vertloc.localization import Localization, localize_prepared, prepare
from vertloc.model import Model
from vertloc.stages.preprocess import IsotropicVolume
from vertloc.stages.shape_labelling import label_chain
from vertloc.versions import versions
from vertloc.volume import Scan
from vertloc.workers import n_workers

__all__ = ["CaseResult", "ModelSource", "PredictOptions", "predict_cases"]

logger = logging.getLogger(__name__)

_FORESEEN = (VertlocError, OSError, MemoryError)


def predict_cases(
    cases: Sequence[Case],
    model: Model,
    out: Path,
    n_jobs: int = 1,
    options: PredictOptions | None = None,
    progress: Callable[[CaseResult], None] = lambda _: None,
    source: ModelSource | None = None,
) -> list[CaseResult]:
    """Localize every case and write `<scan>.lml` into the folder `out`, and `records/`; in the order of the cases.

    Several cases run side by side on `n_jobs` threads, and as many are read ahead; a single case gets all threads.
    progress : called with each result, in the order of the cases
    source : the file of the model; workers of a cluster read it
    A scan that fails leaves what was there as it was. Raises OutputError if `out` cannot be written to, or holds an
    annotation that a result would replace.
    """
    options = options or PredictOptions()
    # Records and manifests are read from other working directories.
    cases = [replace(case, image_path=case.image_path.absolute()) for case in cases]
    make_folder(out)
    for folder in {place.parent for case in cases for place in (out / case.scan, out / FOLDER / case.scan)}:
        remove_stale_temporaries(folder)
    if options.preview:
        from vertloc.report.overlay import check_can_draw

        check_can_draw()
    if not options.resume:
        _refuse_to_replace_annotations(cases, out, options.formats)
    results = []
    sha256 = source.sha256() if source else model_checksum(model)
    job = Job(model, sha256, out.resolve(), options, source.path.resolve() if source else None)
    for result in _all_predicted(cases, job, n_jobs):
        results.append(result)
        progress(result)
    return results


@dataclass(frozen=True, eq=False)
class _Ahead:
    """What is known of a case once its turn to be read has come: what it is made of, and its voxels or its result.

    scan : its file, prepared : what the model works on; both None if it is finished
    warnings : what was said while it was read
    """

    origin: Origin
    scan: Scan | None = None
    prepared: IsotropicVolume | None = None
    finished: Finished | None = None
    warnings: tuple[str, ...] = ()


def _all_predicted(cases: Sequence[Case], job: Job, n_jobs: int) -> Iterator[CaseResult]:
    """Yield the results in the order of the cases."""
    if job.options.cluster:
        yield from _predicted_on_cluster(cases, job)
        return
    if len(cases) == 1:
        yield _predict_case(cases[0], job, n_jobs, lambda: _look_ahead(cases[0], job, n_jobs))
        return

    def look_ahead(case: Case) -> _Ahead:
        return _look_ahead(case, job, 1)

    def predict(case: Case, ahead: Callable[[], _Ahead]) -> CaseResult:
        return _predict_case(case, job, 1, ahead)

    yield from read_ahead_of_work(cases, look_ahead, predict, n_workers(n_jobs, len(cases)))


def _predicted_on_cluster(cases: Sequence[Case], job: Job) -> Iterator[CaseResult]:
    files = [path for path in (job.model_path, *(case.image_path for case in cases[:1])) if path is not None]
    with connected(job.options.cluster, job.out, files) as client:
        yield from each_on_cluster(client, _predict_on_worker, [(case, job) for case in cases], _lost)


def _predict_on_worker(task: tuple[Case, Job]) -> CaseResult:
    case, job = task
    return _predict_case(case, job, 1, lambda: _look_ahead(case, job, 1))


def _lost(task: tuple[Case, Job], error: Exception) -> CaseResult:
    """Tell of a scan whose worker died with it, again and again."""
    case, job = task
    message = f"its workers died or failed: {error}"
    logger.error("%s: %s", case.scan, message)
    record = Record(case.scan, str(case.image_path), None, "failed", message, versions=versions())
    return CaseResult("failed", _keep_record_of_failure(record, job.out))


def _look_ahead(case: Case, job: Job, n_jobs: int) -> _Ahead:
    """Read and prepare a case, unless its result is there; its voxels are never held as a whole.

    Raises what reading raises.
    """
    with warnings_of_this_thread() as warnings:
        origin = job.origin(case)
        earlier = finished(case, origin, job.out, job.options) if job.options.resume else None
        if earlier is not None:
            return _Ahead(origin, finished=earlier, warnings=tuple(warnings))
        scan = open_image(case.image_path)
        return _Ahead(origin, scan, prepare(scan, job.model, n_jobs), warnings=tuple(warnings))


def _predict_case(case: Case, job: Job, n_jobs: int, ahead: Callable[[], _Ahead]) -> CaseResult:
    """Predict one scan, whatever is wrong with it: one scan must not stop the others."""
    start = time.perf_counter()
    blank = Record(case.scan, str(case.image_path), None, "failed", versions=versions())
    with warnings_of_this_thread() as warnings:
        try:
            known = ahead()
            blank = replace(blank, origin=known.origin)
            # A single scan is read by this thread, whose warnings are heard already.
            warnings[:] = dict.fromkeys([*known.warnings, *warnings])
            if known.scan is None or known.prepared is None:
                return _skipped(case, known.finished, job)
            levels = job.known_levels(case, known.scan.grid)
            found = localize_prepared(known.prepared, known.scan.grid, job.model, n_jobs, levels)
            record = _describe(blank, known.scan, found, job.model)
            if job.options.preview:
                _draw(record, case, job.out)
            record = replace(record, warnings=tuple(warnings), seconds=round(time.perf_counter() - start, 3))
            record = write_results(job.out, record, _files(case, known.scan.grid, found, record, job))
        except Exception as error:
            # What nobody foresaw is said with its kind.
            logger.error("%s: %s", case.scan, _message(error), exc_info=not isinstance(error, _FORESEEN))
            seconds = round(time.perf_counter() - start, 3)
            failed = replace(blank, message=_message(error), warnings=tuple(warnings), seconds=seconds)
            return CaseResult("failed", _keep_record_of_failure(failed, job.out))
    return CaseResult("done" if found.labels else "empty", record)


def _describe(blank: Record, scan: Scan, found: Localization, model: Model) -> Record:
    confidence = {label: round(float(p), 4) for label, p in zip(found.labels, found.confidence, strict=True)}
    points = {label: (float(x), float(y), float(z)) for label, (x, y, z) in found.world}
    message = "" if confidence else why_empty(scan, model)
    state: Literal["done", "empty"] = "done" if confidence else "empty"
    level = found.certainty
    blank = replace(
        blank,
        verdict="" if state == "empty" else "sure" if level.is_sure else "unsure",
        reasons=level.reasons,
        shift_probability={shift: round(p, 4) for shift, p in level.shift_probability.items()},
        distance=round(level.distance, 1),
    )
    return replace(blank, state=state, message=message, confidence=confidence, world_mm=points)


def _files(case: Case, grid: Grid, found: Localization, record: Record, job: Job) -> dict[str, bytes]:
    """Make the landmark files of a scan, by name below the folder of the results."""
    image = ImageReference(case.scan, grid, case.image_path)
    known = job.known_levels(case, grid).labels
    files = landmark_files(record, image, job.options.formats, job.options.frame, known)
    if job.options.without_chain:
        settings = replace(job.model.settings.chain, use_chain=False)
        best = label_chain(found.proposals, job.model.shape, settings).centroids
        files[f"{job.options.without_chain}/{case.scan}.lml"] = format_lml(best.to_local(grid))
    return files


def _draw(record: Record, case: Case, out: Path) -> None:
    from vertloc.report.overlay import draw_overlay

    volume = read_voxels(open_silently(case.image_path))  # what is odd was said when it was predicted
    draw_overlay(volume, record.centroids(), None, out / f"{record.scan}.png", record.scan, record.confidence)


def _skipped(case: Case, earlier: Finished | None, job: Job) -> CaseResult:
    """Leave a finished scan alone, but for a picture that is missing."""
    assert earlier is not None
    if earlier.lacks_picture:
        _draw(earlier.record, case, job.out)
    return CaseResult("skipped", earlier.record)


def _keep_record_of_failure(failed: Record, out: Path) -> Record:
    """Write the record of a failure, unless it would replace that of a result that is still there."""
    earlier = read_record(out, failed.scan)
    if earlier is not None and earlier.results and all((out / name).exists() for name in earlier.results):
        names = ", ".join(earlier.results)
        return replace(failed, message=f"{failed.message} (the earlier result {names} is kept)")
    try:
        write_record(out, failed)
    except OutputError as error:
        logger.error("%s: %s", failed.scan, error)
    return failed


def _message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}".removesuffix(": ")
    return str(error) if isinstance(error, _FORESEEN) else f"unexpected {type(error).__name__}: {error}"


def _refuse_to_replace_annotations(cases: Sequence[Case], out: Path, formats: Sequence[str]) -> None:
    """Keep landmark files that lie beside their images: they are probably made by hand."""
    beside = [case.scan for case in cases if case.image_path.parent.resolve() == out.resolve()]
    paths = [out / name for scan in beside for name in landmark_file_names(scan, formats)]
    found = [path for path in paths if path.exists()]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise OutputError(
            f"{found[0]}{more}: lies beside its image and may be an annotation; choose another folder for the results"
        )
