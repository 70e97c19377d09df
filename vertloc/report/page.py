"""A folder of results -> `report.html`, one page that opens from the disk without a network.

The page holds the overview and the list of scans. What a scan needs besides (two views and a mosaic of slices, less
than a megabyte) lies in `report/scan-<n>.js` and is loaded when the scan is opened, so that a page of hundreds of
scans opens at once; scripts are what a browser loads from a disk too. A report in a single file holds them all instead.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import vertloc
from vertloc.errors import ReportError, VertlocError
from vertloc.evaluation.scores import ALL_REGIONS, AnyRegion, Summary, summarize
from vertloc.io.atomic import write_bytes_atomically
from vertloc.report.charts import run_charts
from vertloc.report.marks import SIGNS
from vertloc.report.runs import LOW_CONFIDENCE, Run, RunScan, as_text, read_run
from vertloc.report.scan_data import scan_data

logger = logging.getLogger(__name__)

PAGE = "report.html"
DATA_FOLDER = "report"

_SHOWN = ("done", "empty", "skipped")


@dataclass(frozen=True)
class _Entry:
    """A scan in the list: its data, or why there is none."""

    scan: RunScan
    index: int
    data: str = ""
    problem: str = ""


def check_can_report() -> None:
    """Raise ReportError if a library that only reports need is not there."""
    missing = [name for name, module in (("jinja2", "jinja2"), ("matplotlib", "matplotlib")) if not find_spec(module)]
    if missing:
        raise ReportError(f"a report needs {' and '.join(missing)}; install them with: pip install 'vertloc[report]'")


def write_report(
    folder: Path | str,
    truth: Path | str | None = None,
    n_jobs: int = 1,
    single_file: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Path:
    """Write the report of a folder of results into it and return the page.

    folder : results of `predict` or `study`
    truth : folder that is searched for annotations to score against; a study knows its own
    single_file : one file that can be sent, instead of a page and a folder beside it
    A scan that cannot be shown is listed with the reason. Raises ReportError if the folder holds no results.
    """
    from joblib import Parallel, delayed

    check_can_report()
    folder = Path(folder)
    run = read_run(folder, Path(truth) if truth is not None else None)
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    entries = []
    for entry in parallel(delayed(_prepared)(i, scan, folder, single_file) for i, scan in enumerate(run.scans)):
        entries.append(entry)
        progress()
    _remove_older_data(folder, len(entries))
    page = folder / PAGE
    write_bytes_atomically(page, as_text(_html(run, entries, single_file)).encode())
    return page


def data_file(index: int) -> str:
    """Return the name of the file with the data of a scan, relative to the page."""
    return f"{DATA_FOLDER}/scan-{index:04d}.js"


def _remove_older_data(folder: Path, n: int) -> None:
    """Remove what an earlier report of more scans left: it would show nowhere, but hold images of patients."""
    current = {folder / data_file(i) for i in range(n)}
    for path in (folder / DATA_FOLDER).glob("scan-*.js"):
        if path not in current and path.read_bytes()[:16] == b"vertloc.receive(":
            path.unlink()


def _prepared(index: int, scan: RunScan, folder: Path, single_file: bool) -> _Entry:
    if scan.status not in _SHOWN:
        return _Entry(scan, index, problem=scan.message)
    try:
        data = _json(scan_data(scan))
    except (VertlocError, OSError, ValueError, MemoryError) as error:
        logger.warning("%s: not shown in the report: %s", scan.scan, error)
        return _Entry(scan, index, problem=as_text(f"cannot be shown: {error}"))
    if single_file:
        return _Entry(scan, index, data)
    write_bytes_atomically(folder / data_file(index), f"vertloc.receive({index},{data});\n".encode())
    return _Entry(scan, index, data="beside")


def _html(run: Run, entries: list[_Entry], single_file: bool) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("vertloc.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates = resources.files("vertloc.report") / "templates"
    assets = {name: Markup((templates / name).read_text(encoding="utf-8")) for name in _ASSETS}
    return environment.get_template("report.html").render(
        run=run,
        title=as_text(run.folder.resolve().name),
        folder=as_text(str(run.folder.resolve())),
        entries=entries,
        counts=_counts(run),
        rows=_score_rows(run),
        charts=run_charts(run),
        assets=assets,
        single_file=single_file,
        settings=Markup(_json(_settings(run, entries, single_file))),
        low_confidence=LOW_CONFIDENCE,
        version=vertloc.__version__,
    )


_ASSETS = ("report.css", "viewer.js", "views.js", "ratings.js", "report.js")


def _counts(run: Run) -> list[tuple[str, str, str]]:
    """Figures for the top of the page: (number, what it counts, a hint)."""
    n = len(run.scans)
    looks = sum(bool(scan.concerns) for scan in run.scans)
    found = [len(scan.confidence) for scan in run.scans]
    counts = [(str(n), "scan" if n == 1 else "scans", ""), (str(sum(found)), "vertebrae named", "")]
    for status, words in (("failed", "failed"), ("empty", "without a vertebra")):
        number = sum(scan.status == status for scan in run.scans)
        counts += [(str(number), words, "bad")] if number else []
    counts.append((str(looks), "need a look" if looks != 1 else "needs a look", "warn" if looks else "good"))
    if run.scores is not None and run.scores.scans:
        summary = run.scores.summary()
        counts.append((f"{summary.identification_rate:.1%}", "identified", ""))
        counts.append((f"{run.scores.n_all_right}/{len(run.scores.scans)}", "scans all right", ""))
        counts.append((f"{summary.mean_mm:.1f} mm", "mean error", ""))
    return counts


def _score_rows(run: Run) -> list[tuple[str, list[tuple[AnyRegion, Summary]]]]:
    """Scores by region, of the whole run and of each of its cohorts."""
    judged = [scan for scan in run.scans if scan.score is not None]
    if not judged:
        return []
    groups = {"all scans": judged, **{name: [s for s in judged if s.cohort == name] for name in run.cohorts}}
    rows = []
    for name, scans in groups.items():
        scores = [scan.score for scan in scans if scan.score is not None]
        regions = [(region, summarize(scores, region)) for region in ALL_REGIONS]
        rows.append((name, [(region, summary) for region, summary in regions if summary.n]))
    return rows


def _settings(run: Run, entries: list[_Entry], single_file: bool) -> dict[str, Any]:
    """Collect what the page's scripts need to know."""
    identity = {"folder": str(run.folder.resolve()), "model": run.model.get("sha256", "")}
    return {
        "id": hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16],
        "run": as_text(run.folder.resolve().name),
        "single": single_file,
        "low": LOW_CONFIDENCE,
        "signs": {status: {"colour": sign.colour, "meaning": sign.meaning} for status, sign in SIGNS.items()},
        "scans": [_scan_settings(entry) for entry in entries],
    }


def _scan_settings(entry: _Entry) -> dict[str, Any]:
    scan = entry.scan
    return {
        "scan": scan.name,
        "image": as_text(str(scan.image)),
        "cohort": scan.cohort,
        "status": scan.status,
        "file": data_file(entry.index) if entry.data else "",
        "problem": entry.problem,
        "concerns": scan.concerns,
        "seconds": None if scan.seconds != scan.seconds else round(scan.seconds, 1),
        "verdict": scan.verdict,
        "identified": [scan.score.n_identified, scan.score.n] if scan.score else None,
        "least": round(scan.least_confidence, 4),
    }


def _json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
