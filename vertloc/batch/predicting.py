"""Many scans + model -> landmark files, each with its record; one bad scan does not stop the others."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from vertloc.batch.empty import why_empty
from vertloc.batch.listening import warnings_of_this_thread
from vertloc.batch.records import (
    FOLDER,
    Origin,
    Record,
    input_files,
    read_record,
    settings_checksum,
    write_record,
    write_results,
)
from vertloc.batch.resuming import Finished, finished
from vertloc.centroids import Frame
from vertloc.cohorts.case import Case
from vertloc.errors import OutputError, VertlocError
from vertloc.geometry import Grid
from vertloc.io.atomic import remove_stale_temporaries
from vertloc.io.images import image_files, open_image, read_image
from vertloc.io.landmarks.lml import format_lml
from vertloc.io.model_file import file_sha256
from vertloc.io.outputs import make_folder
from vertloc.localization import Localization, localize
from vertloc.model import Model, save_model
from vertloc.stages.shape_labelling import label_chain
from vertloc.versions import versions
from vertloc.volume import Scan
from vertloc.workers import n_workers

logger = logging.getLogger(__name__)

_FORESEEN = (VertlocError, OSError, MemoryError)

Status = Literal["done", "empty", "skipped", "failed"]


@dataclass(frozen=True)
class PredictOptions:
    """What is written for each scan, and what is done again.

    frame : of the points in the landmark files
    preview : also draw `<scan>.png`
    resume : leave alone what is finished and would come out the same
    without_chain : also write `<scan>.lml` into this folder, relative to that of the results: every vertebra's best
        candidate on its own; "": not
    """

    frame: Frame = "local"
    preview: bool = False
    resume: bool = False
    without_chain: str = ""


@dataclass(frozen=True)
class CaseResult:
    """What became of one scan.

    status : "done", "empty" (no vertebra found), "skipped" (the same result was already there) or "failed"
    record : what is known of the result, also of a skipped one; as it lies beside the results
    """

    status: Status
    record: Record

    @property
    def scan(self) -> str:
        """Name of the scan."""
        return self.record.scan

    @property
    def confidence(self) -> dict[str, float]:
        """How sure each vertebra is, by label."""
        return self.record.confidence

    @property
    def message(self) -> str:
        """Why the scan failed, or why no vertebra was found."""
        return self.record.message

    @property
    def seconds(self) -> float:
        """Time of reading, computing and writing together; of a skipped scan, when it was computed."""
        return self.record.seconds


@dataclass(frozen=True, eq=False)
class _Job:
    """What all scans of a run share; can be sent to another process."""

    model: Model
    model_sha256: str
    out: Path
    options: PredictOptions

    def origin(self, case: Case) -> Origin:
        """Tell what the result of a case is made of. Raises ImageError or OSError."""
        model = self.model
        settings = settings_checksum({"preprocess": asdict(model.preprocess), "prediction": asdict(model.settings)})
        return Origin(self.model_sha256, self.options.frame, settings, input_files(image_files(case.image_path)))


def predict_cases(
    cases: Sequence[Case],
    model: Model,
    out: Path,
    n_jobs: int = 1,
    options: PredictOptions | None = None,
    progress: Callable[[CaseResult], None] = lambda _: None,
    model_sha256: Callable[[], str] | None = None,
) -> list[CaseResult]:
    """Localize every case and write `<scan>.lml` into the folder `out`, and `records/`; in the order of the cases.

    Several cases run side by side on `n_jobs` threads; a single case gets all threads.
    progress : called with each result, in the order of the cases
    model_sha256 : gives the checksum of the model's file, asked for once the first scan is computed
    A scan that fails leaves what was there as it was. Raises OutputError if `out` cannot be written to, or holds an
    annotation that a result would replace.
    """
    options = options or PredictOptions()
    make_folder(out)
    for folder in (out, out / FOLDER):
        remove_stale_temporaries(folder)
    if options.preview:
        from vertloc.report.overlay import check_can_draw

        check_can_draw()
    if not options.resume:
        _refuse_to_replace_annotations(cases, out)
    results = []
    checksum = model_sha256 or (lambda: model_checksum(model))
    for result in _all_predicted(cases, _Job(model, checksum(), out, options), n_jobs):
        results.append(result)
        progress(result)
    return results


def model_checksum(model: Model) -> str:
    """Checksum of the file that `save_model` writes of a model."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "model.npz")
        return file_sha256(Path(folder) / "model.npz")


def _all_predicted(cases: Sequence[Case], job: _Job, n_jobs: int) -> Iterator[CaseResult]:
    """Yield the results in the order of the cases."""
    if len(cases) == 1:  # joblib takes a tenth of a second to import
        yield _predict_case(cases[0], job, n_jobs)
        return
    from joblib import Parallel, delayed

    # Threads, unless `joblib.parallel_config(backend="dask")` sends the cases to a cluster that sees the same files.
    parallel = Parallel(n_jobs=n_workers(n_jobs, len(cases)), prefer="threads", return_as="generator")
    yield from parallel(delayed(_predict_case)(case, job, 1) for case in cases)


def _predict_case(case: Case, job: _Job, n_jobs: int) -> CaseResult:
    """Predict one scan, whatever is wrong with it: one scan must not stop the others."""
    start = time.perf_counter()
    blank = Record(case.scan, str(case.image_path), None, "failed", versions=versions())
    with warnings_of_this_thread() as warnings:
        try:
            blank = replace(blank, origin=job.origin(case))
            earlier = finished(case, blank.origin, job.out, job.options) if job.options.resume else None
            if earlier is not None:
                return _skipped(case, earlier, job)
            scan = open_image(case.image_path)  # its voxels are never held as a whole
            found = localize(scan, job.model, n_jobs)
            record = _describe(blank, scan, found, job.model)
            if job.options.preview:
                _draw(record, case, job.out)
            record = replace(record, warnings=tuple(warnings), seconds=round(time.perf_counter() - start, 3))
            record = write_results(job.out, record, _files(case, scan.grid, found, job))
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
    return replace(blank, state=state, message=message, confidence=confidence, world_mm=points)


def _files(case: Case, grid: Grid, found: Localization, job: _Job) -> dict[str, bytes]:
    """Make the landmark files of a scan, by name below the folder of the results."""
    frame = job.options.frame
    files = {f"{case.scan}.lml": format_lml(found.local if frame == "local" else found.world, frame=frame)}
    if job.options.without_chain:
        settings = replace(job.model.settings.chain, use_chain=False)
        best = label_chain(found.proposals, job.model.shape, settings).centroids
        files[f"{job.options.without_chain}/{case.scan}.lml"] = format_lml(best.to_local(grid))
    return files


def _draw(record: Record, case: Case, out: Path) -> None:
    from vertloc.report.overlay import draw_overlay

    volume = read_image(case.image_path)
    draw_overlay(volume, record.centroids(), None, out / f"{record.scan}.png", record.scan, record.confidence)


def _skipped(case: Case, earlier: Finished, job: _Job) -> CaseResult:
    """Leave a finished scan alone, but for a picture that is missing."""
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


def _refuse_to_replace_annotations(cases: Sequence[Case], out: Path) -> None:
    """Keep landmark files that lie beside their images: they are probably made by hand."""
    beside = [case.scan for case in cases if case.image_path.parent.resolve() == out.resolve()]
    found = [out / f"{scan}.lml" for scan in beside if (out / f"{scan}.lml").exists()]
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise OutputError(
            f"{found[0]}{more}: lies beside its image and may be an annotation; choose another folder for the results"
        )
