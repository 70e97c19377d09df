"""Pictures of many scans -> one HTML page to look through them, the worst first; it needs nothing but the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from vertloc.evaluation.scores import Scores
from vertloc.report.tables import badness

_STYLE = (
    "body{background:#111;color:#ddd;font:14px sans-serif;margin:16px}"
    "main{display:flex;flex-wrap:wrap;gap:14px;align-items:flex-start}"
    "figure{margin:0;padding:8px;background:#1c1c1c;border-top:3px solid #4be37a}"
    "figure.flagged{border-top-color:#ff5a52}"
    "img{height:420px;display:block}"
    "figcaption{padding-top:6px}"
)


@dataclass(frozen=True)
class Entry:
    """One picture of the page.

    picture : its path relative to the page; is_flagged : whether somebody should look at it
    """

    scan: str
    picture: str
    caption: str
    is_flagged: bool = False


def score_entries(scores: Scores, folder: str = ".") -> list[Entry]:
    """Make an entry of every scan, the worst first; flagged unless every annotated vertebra is identified.

    folder : where the pictures `<scan>.png` lie, relative to the page
    """
    entries = []
    for scan in sorted(scores.scans, key=badness):
        parts = [f"identified {scan.n_identified}/{scan.n}"]
        if len(scan.errors_mm):
            parts.append(f"mean error {scan.errors_mm.mean():.1f} mm")
        if scan.shift:
            parts.append(f"shifted by {scan.shift:+d}")
        entries.append(Entry(scan.scan, f"{folder}/{scan.scan}.png", ", ".join(parts), not scan.is_all_right))
    return entries


def gallery_html(title: str, entries: Sequence[Entry]) -> str:
    """Lay out the pictures on one page, in the given order; a click opens a picture in full size."""
    flagged = sum(entry.is_flagged for entry in entries)
    figures = "\n".join(map(_figure, entries))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>"
        f"<p>{len(entries)} scans, {flagged} flagged.</p>\n<main>\n{figures}\n</main></body></html>\n"
    )


def _figure(entry: Entry) -> str:
    address, name = quote(entry.picture), escape(entry.scan)
    kind = ' class="flagged"' if entry.is_flagged else ""
    return (
        f'<figure{kind}><a href="{address}"><img src="{address}" alt="{name}" loading="lazy"></a>'
        f"<figcaption><b>{name}</b><br>{escape(entry.caption)}</figcaption></figure>"
    )
