"""Results of a batch -> those that a person should look at first, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertloc.batch.predicting import CaseResult

UNSURE_BELOW = 0.5
"""A vertebra that is less sure than this is more likely wrong than right."""

_MOST_ROWS = 40
_WIDEST = 90


def need_a_look(results: Sequence[CaseResult]) -> list[CaseResult]:
    """Choose what failed, then what is empty, then what is unsure, the least sure first."""
    ranked = [(_rank(result), i, result) for i, result in enumerate(results)]
    return [result for rank, _, result in sorted(ranked, key=lambda entry: entry[:2]) if rank[0] < 3]


def look_first_table(results: Sequence[CaseResult]) -> str:
    """Return one row a scan: what is the matter, its name, and why; the first ones, if there are many."""
    rows = [(_matter(result), result.scan, _why(result)) for result in results]
    width = max(len(scan) for _, scan, _ in rows[:_MOST_ROWS])
    lines = [f"  {matter:<6}  {scan:<{width}}  {why}" for matter, scan, why in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        lines.append(f"  ... and {len(rows) - _MOST_ROWS} more")
    return "\n".join([f"{len(rows)} of these need a look:", *lines])


def _rank(result: CaseResult) -> tuple[int, float]:
    if result.status == "failed":
        return 0, 0.0
    if not result.confidence:
        return 1, 0.0
    least = min(result.confidence.values())
    return (2, least) if least < UNSURE_BELOW or result.record.verdict == "unsure" else (3, least)


def _matter(result: CaseResult) -> str:
    return ("failed", "empty", "unsure")[_rank(result)[0]]


def _why(result: CaseResult) -> str:
    if result.status == "failed" or not result.confidence:
        text = " ".join(result.message.split())
        return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}..."
    if result.record.reasons:
        return "; ".join(result.record.reasons)
    unsure = [label for label, p in result.confidence.items() if p < UNSURE_BELOW]
    if not unsure:
        return "the level is uncertain"
    least = min(unsure, key=lambda label: result.confidence[label])
    return f"{len(unsure)} of {len(result.confidence)} vertebrae, least {least} ({result.confidence[least]:.0%})"
