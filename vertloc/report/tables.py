"""Scores -> Markdown for people, CSV and JSON for programs; every figure of our own is computed here and now."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

import vertloc
from vertloc.evaluation.matching import IDENTIFIED_WITHIN_MM, ScanScore, VertebraScore
from vertloc.evaluation.scores import ALL_REGIONS, SMALL_SCAN, Scores, Summary
from vertloc.report.published import PUBLISHED, PublishedResult

_DASH = "–"

_CSV_COLUMNS = (
    *("scan", "patient", "label", "region", "status", "error_mm", "nearest"),
    *("true_x_mm", "true_y_mm", "true_z_mm", "predicted_x_mm", "predicted_y_mm", "predicted_z_mm"),
)


_SUMMARY_HEADER = (
    "vertebrae",
    "annotated",
    "identified %",
    "95 % interval",
    "error mm: mean",
    "std",
    "median",
    "missed",
    "not annotated",
)


def study_table(scores: Scores, without_chain: Scores, cohorts: Mapping[str, Scores] | None = None) -> str:
    """Markdown: the scores of a study beside those without the shape step, the published rows, and the worst scans.

    cohorts : the scores of the scans of each data folder, by its name, where there are several
    """
    parts = [scores_table(scores, without_chain).rstrip(), published_table(), worst_scans(scores)]
    if cohorts:
        parts.insert(1, cohorts_table(cohorts))
    return "\n\n".join(parts)


def cohorts_table(cohorts: Mapping[str, Scores]) -> str:
    """Markdown: one row a cohort, over all its vertebrae."""
    rows = [
        _summary_row(f"{escape(name, quote=False)} ({len(scores.scans)} scans)", scores.summary("all"))
        for name, scores in cohorts.items()
    ]
    return "## By cohort\n\n" + _markdown(("cohort", *_SUMMARY_HEADER[1:]), rows)


def scores_table(scores: Scores, without_chain: Scores | None = None) -> str:
    """Markdown: scores by region, and what the scans as a whole look like.

    without_chain : scores of the same scans without the shape step, for one more row
    """
    rows = [_summary_row(region, scores.summary(region)) for region in ALL_REGIONS]
    rows.append(_summary_row(f"scans with at most {SMALL_SCAN}", scores.small.summary()))
    if without_chain is not None:
        rows.append(_summary_row("all, without the chain", without_chain.summary("all")))
    parts = [
        "## Scores",
        _markdown(_SUMMARY_HEADER, rows),
        f"Identified: nearest to its own vertebra among all annotated ones and less than {IDENTIFIED_WITHIN_MM:g} mm "
        "away; a missed vertebra counts as wrong. Errors are over the vertebrae that have a prediction of their name. "
        "Not annotated: predicted names that are not annotated in the scan. Interval: bootstrap over patients.",
        _markdown(("scans", "number"), _scan_rows(scores)),
    ]
    if scores.without_truth:
        names = escape(", ".join(scores.without_truth), quote=False)
        parts.append(f"Predicted, but without annotation: {names}.")
    return "\n\n".join(parts) + "\n"


def worst_scans(scores: Scores, n: int = 10) -> str:
    """Markdown: the scans with the lowest identification rate, worst first; equal ones by their largest error.

    A scan without any prediction comes before those with one, a scan without annotation is left out.
    """
    header = ("scan", "annotated", "identified", "missed", "not annotated", "error mm: mean", "largest", "shift")
    ranked = sorted((scan for scan in scores.scans if scan.n), key=badness)[:n]
    rows = [
        (
            scan.scan,
            str(scan.n),
            str(scan.n_identified),
            str(scan.n_missed) if scan.has_prediction else "no prediction file",
            str(len(scan.extra)),
            _number(_mean(scan)),
            _number(_largest(scan)),
            f"{scan.shift:+d}" if scan.shift else "0",
        )
        for scan in ranked
    ]
    note = "Shift: levels by which most labels are named too low (+, as T2 for T1) or too high (-)."
    return f"## Worst scans\n\n{_markdown(header, rows)}\n\n{note}\n"


def badness(scan: ScanScore) -> tuple[bool, float, float, str]:
    """Return a sort key, worst first: by identification rate, then by largest error; without annotation last."""
    largest = _largest(scan)
    rate = scan.identification_rate if scan.n else 1.0
    return (not scan.n, rate, -math.inf if math.isnan(largest) else -largest, scan.scan)


def scores_csv(scores: Scores) -> str:
    """CSV: one row a vertebra, then the labels that are not annotated, scan by scan; coordinates as in the files.

    status : identified, wrong, missed or not annotated; empty cells where there is no figure
    A name that a spreadsheet would take for a formula (it begins with =, +, - or @) has an apostrophe before it.
    error_mm : for a label that is not annotated, the distance to the nearest annotated vertebra
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for scan in scores.scans:
        names = (_harmless(scan.scan), _harmless(scan.patient))
        for v in scan.vertebrae:
            cells = (v.label, v.region, _status(v), _cell(v.error_mm), v.nearest)
            writer.writerow((*names, *cells, *map(_cell, v.true_mm), *map(_cell, v.predicted_mm)))
        for e in scan.extra:
            cells = (e.label, e.region, "not annotated", _cell(e.distance_mm), e.nearest)
            writer.writerow((*names, *cells, "", "", "", *map(_cell, e.predicted_mm)))
    return text.getvalue()


def scores_json(
    scores: Scores,
    configuration: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> str:
    """JSON: the scores by region and by scan with the configuration and the versions they come from.

    configuration : whatever settings made the predictions; versions : more of them than are known here
    A figure that does not exist is null.
    """
    known = {"vertloc": vertloc.__version__, "python": platform.python_version(), "numpy": np.__version__}
    document = {
        "definition": {"identified_within_mm": IDENTIFIED_WITHIN_MM, "small_scan_vertebrae": SMALL_SCAN},
        "versions": {**known, **(versions or {})},
        "configuration": dict(configuration or {}),
        "n_scans": len(scores.scans),
        "n_scans_all_right": scores.n_all_right,
        "scans_without_prediction": list(scores.without_prediction),
        "predictions_without_truth": list(scores.without_truth),
        "n_scans_by_shift": {f"{shift:+d}": n for shift, n in scores.shifts.items()},
        "regions": {region: _summary_record(scores.summary(region)) for region in ALL_REGIONS},
        "small_scans": {"n_scans": len(scores.small.scans), **_summary_record(scores.small.summary())},
        "scans": [_scan_record(scan) for scan in scores.scans],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _summary_row(name: str, s: Summary) -> tuple[str, ...]:
    interval = _DASH if math.isnan(s.interval[0]) else " to ".join(_percent(end) for end in s.interval)
    errors = (_number(s.mean_mm), _number(s.std_mm), _number(s.median_mm))
    return (name, str(s.n), _percent(s.identification_rate), interval, *errors, str(s.n_missed), str(s.n_extra))


def _scan_rows(scores: Scores) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("scored", str(len(scores.scans))),
        ("with every annotated vertebra identified", str(scores.n_all_right)),
        (f"with at most {SMALL_SCAN} annotated vertebrae", str(len(scores.small.scans))),
        ("of these with every one identified", str(scores.small.n_all_right)),
        ("without a prediction file", str(len(scores.without_prediction))),
    ]
    return rows + [(f"with most labels shifted by {shift:+d}", str(n)) for shift, n in scores.shifts.items()]


def published_table() -> str:
    """Markdown: what others published on the Microsoft database."""
    header = ("method", "reference", "scans", "identified %", "cervical", "thoracic", "lumbar", "error mm: mean", "std")
    text = (
        "## Published results\n\n"
        "On the Microsoft / University of Washington spine CT database, as their authors report them. Only scores of "
        "the same scans of that database can be compared with these rows; scores of other data cannot."
    )
    return f"{text}\n\n{_markdown(header, [_published_row(row) for row in PUBLISHED], n_text=3)}"


def _published_row(row: PublishedResult) -> tuple[str, ...]:
    rates = [_number(row.identified.get(region, math.nan)) for region in ("all", "cervical", "thoracic", "lumbar")]
    return (row.method, row.reference, row.scans, *rates, _number(row.mean_mm), _number(row.std_mm))


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], n_text: int = 1) -> str:
    """Lay out a table that also reads well as plain text: the first `n_text` columns left, the others right.

    Own code, since the libraries that do this (tabulate, pandas) escape neither bars nor markup in the cells.
    """
    cells = [[escape(cell, quote=False).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    width = [max(3, *(len(row[i]) for row in cells)) for i in range(len(header))]
    rule = ["-" * w if i < n_text else "-" * (w - 1) + ":" for i, w in enumerate(width)]

    def line(row: Sequence[str]) -> str:
        padded = (c.ljust(w) if i < n_text else c.rjust(w) for i, (c, w) in enumerate(zip(row, width, strict=True)))
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def _summary_record(s: Summary) -> dict[str, Any]:
    return {
        "annotated": s.n,
        "identified": s.n_identified,
        "missed": s.n_missed,
        "not_annotated": s.n_extra,
        "identification_rate": _or_null(s.identification_rate),
        "interval_95": [_or_null(end) for end in s.interval],
        "mean_mm": _or_null(s.mean_mm),
        "std_mm": _or_null(s.std_mm),
        "median_mm": _or_null(s.median_mm),
    }


def _scan_record(scan: ScanScore) -> dict[str, Any]:
    return {
        "scan": scan.scan,
        "patient": scan.patient,
        "has_prediction": scan.has_prediction,
        "annotated": scan.n,
        "identified": scan.n_identified,
        "missed": [v.label for v in scan.vertebrae if v.is_missed],
        "wrong": [v.label for v in scan.vertebrae if not v.is_missed and not v.is_identified],
        "not_annotated": [extra.label for extra in scan.extra],
        "mean_mm": _or_null(_mean(scan)),
        "shift": scan.shift,
    }


def _status(vertebra: VertebraScore) -> str:
    if vertebra.is_missed:
        return "missed"
    return "identified" if vertebra.is_identified else "wrong"


def _mean(scan: ScanScore) -> float:
    return float(scan.errors_mm.mean()) if len(scan.errors_mm) else math.nan


def _largest(scan: ScanScore) -> float:
    return float(scan.errors_mm.max()) if len(scan.errors_mm) else math.nan


def _percent(share: float) -> str:
    return _number(100 * share)


def _number(value: float) -> str:
    return _DASH if math.isnan(value) else f"{value:.1f}"


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _harmless(name: str) -> str:
    """Put an apostrophe before a name that a spreadsheet would take for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
