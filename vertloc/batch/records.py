"""Results belong to scans, not to runs: one record beside the results for each finished scan.

A record says what a result was made of (model, frame, settings, input files) and what came of it. It is written as the
scan finishes, so that a run that is stopped or killed loses nothing but the scans it was at, and a result is used again
only if it would come out the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vertloc.batch.locking import locked
from vertloc.centroids import Centroids
from vertloc.io.atomic import write_bytes_atomically

FOLDER = "records"
_SUFFIX = ".record"
_FORMAT = "vertloc record 1"
_MOST_BYTES = 4_000_000

State = Literal["writing", "done", "empty", "failed"]


@dataclass(frozen=True)
class Origin:
    """What a result is made of; results of the same origin are the same to the last bit.

    model, settings : checksums of the model file, and of the settings of the prediction
    frame : of the points in the landmark files; "" if nothing was written yet
    files : name, bytes and time stamp (ns) of each input file; the folder does not matter
    """

    model: str
    frame: str
    settings: str
    files: tuple[tuple[str, int, int], ...]

    def differences(self, other: Origin) -> str:
        """Say in words what differs; empty if nothing does."""
        kinds = (("model", "model"), ("frame", "frame"), ("settings", "settings"), ("files", "image"))
        return " and ".join(word for name, word in kinds if getattr(self, name) != getattr(other, name))


@dataclass(frozen=True)
class Record:
    """What became of a scan, and what its result was made of.

    state : "writing" while its files are replaced; "empty" means no vertebra found; message : why it failed or is empty
    confidence : by label; world_mm : by label, (x, y, z) of the patient, to the last bit
    verdict : "sure", or "unsure" for the reasons; "" where no vertebra was found
    shift_probability : probability of the names as they are, 0, and of every name being that many levels too high up
    distance : how unlike the scans that the model learnt from; see `Certainty`
    results : checksum of each file that was written, by its name below the folder of the results
    versions : of the package and the libraries
    """

    scan: str
    image: str
    origin: Origin | None
    state: State
    message: str = ""
    seconds: float = 0.0
    confidence: dict[str, float] = field(default_factory=dict)
    world_mm: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    verdict: Literal["sure", "unsure", ""] = ""
    reasons: tuple[str, ...] = ()
    shift_probability: dict[int, float] = field(default_factory=dict)
    distance: float = 0.0
    results: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def centroids(self) -> Centroids:
        """Return what was found, world frame."""
        return Centroids.from_points(self.world_mm, "world")


def record_path(out: Path, scan: str) -> Path:
    """Return where the record of a scan lies below the folder of the results."""
    return out / FOLDER / f"{scan}{_SUFFIX}"


def input_files(paths: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Identify files by name, size and time stamp. Raises OSError."""
    stats = [(path.name, path.stat()) for path in paths]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def checksum(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def settings_checksum(settings: Mapping[str, Any]) -> str:
    """Checksum of plain settings, whatever their order."""
    return checksum(json.dumps(settings, sort_keys=True, default=str).encode())


def write_results(out: Path, record: Record, files: Mapping[str, bytes]) -> Record:
    """Write the files of a scan below the folder `out`, and its record with their checksums; return the record.

    The files of one scan are of one writer. Meanwhile the record says "writing": whoever is killed between two files
    leaves a scan that is known to be unfinished. Raises OutputError naming the file that cannot be written; files of
    the same names from earlier runs then stay as they are.
    """
    done = replace(record, results={name: checksum(data) for name, data in files.items()})
    with locked(out / FOLDER):
        if any((out / name).exists() for name in files):
            write_record(out, replace(record, state="writing"))
        for name, data in files.items():
            write_bytes_atomically(out / name, data)
        write_record(out, done)
    return done


def write_record(out: Path, record: Record) -> None:
    """Write the record of a scan, whole. Raises OutputError."""
    text = json.dumps({"format": _FORMAT, **asdict(record)}, indent=1)
    write_bytes_atomically(record_path(out, record.scan), text.encode() + b"\n")


def read_record(out: Path, scan: str) -> Record | None:
    """Read the record of a scan; None if there is none, or what is there is no whole record of that scan."""
    try:
        with record_path(out, scan).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        record = _record(json.loads(data))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return record if record.scan == scan else None


def read_records(out: Path) -> list[Record]:
    """Read all records below a folder of results, sorted by scan."""
    folder = out / FOLDER
    names = [path.relative_to(folder).as_posix()[: -len(_SUFFIX)] for path in folder.rglob(f"*{_SUFFIX}")]
    records = (read_record(out, name) for name in sorted(names))
    return [record for record in records if record is not None]


def _record(plain: Any) -> Record:
    """Make a record of plain values; ValueError, TypeError or KeyError if they are not those of one."""
    if plain.pop("format") != _FORMAT:
        raise ValueError("another format")
    origin = plain.pop("origin")
    if origin is not None:
        files = tuple((str(name), int(size), int(time)) for name, size, time in origin.pop("files"))
        origin = Origin(files=files, **origin)
    warnings = tuple(str(text) for text in plain.pop("warnings"))
    reasons = tuple(str(text) for text in plain.pop("reasons", ()))
    shifts = {int(shift): float(p) for shift, p in plain.pop("shift_probability", {}).items()}
    points = {label: (float(x), float(y), float(z)) for label, (x, y, z) in plain.pop("world_mm").items()}
    record = Record(origin=origin, warnings=warnings, world_mm=points, **plain)
    record = replace(record, reasons=reasons, shift_probability=shifts)
    record.centroids()  # raises ValueError for what is no vertebra or no point
    if record.state not in ("writing", "done", "empty", "failed") or set(points) != set(record.confidence):
        raise ValueError("not a whole record")
    return record
