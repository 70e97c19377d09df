"""Record of an earlier run + what would be computed now -> whether the scan is finished."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vertloc.batch.records import Origin, Record, checksum, read_record
from vertloc.batch.result_files import landmark_file_names
from vertloc.cohorts.case import Case

if TYPE_CHECKING:
    from vertloc.batch.job import PredictOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A scan that need not be computed again; its picture may be missing."""

    record: Record
    lacks_picture: bool


def finished(case: Case, origin: Origin | None, out: Path, options: PredictOptions) -> Finished | None:
    """Tell whether a scan's result is there and would come out the same; None if it has to be computed.

    Why an earlier result is not used is said, once. A result that was changed after it was written is a person's work
    and stays; so does a landmark file without a record beside its image, which may be an annotation.
    """
    landmarks = _first_there(case, out, options)
    record = read_record(out, case.scan)
    if record is None:
        if landmarks is not None and case.image_path.parent.resolve() == out.resolve():
            logger.warning("%s: has no record and lies beside its image; kept, it may be an annotation", landmarks)
            return Finished(Record(case.scan, str(case.image_path), None, "done"), False)
        if landmarks is not None:
            logger.warning("%s: predicted again: nothing tells how the result that is there was made", case.scan)
        return None
    if record.state not in ("done", "empty") or record.origin is None or origin is None:
        return None
    missing = [name for name in _wanted(case, options) if name not in record.results or not (out / name).exists()]
    changed = [name for name, known in record.results.items() if _checksum(out / name) not in ("", known)]
    if missing and not changed:
        return None
    differences = record.origin.differences(origin)
    if differences:
        logger.warning("%s: predicted again: the result that is there is of another %s", case.scan, differences)
        return None
    if changed:
        logger.warning(
            "%s: changed after it was written; kept as it is", ", ".join(str(out / name) for name in changed)
        )
    return Finished(record, options.preview and not (out / f"{case.scan}.png").exists())


def _first_there(case: Case, out: Path, options: PredictOptions) -> Path | None:
    """Find a landmark file of this scan that is there already."""
    paths = (out / name for name in landmark_file_names(case.scan, options.formats))
    return next((path for path in paths if path.exists()), None)


def _wanted(case: Case, options: PredictOptions) -> list[str]:
    names = landmark_file_names(case.scan, options.formats)
    return [*names, f"{options.without_chain}/{case.scan}.lml"] if options.without_chain else names


def _checksum(path: Path) -> str:
    try:
        return checksum(path.read_bytes())
    except OSError:
        return ""
