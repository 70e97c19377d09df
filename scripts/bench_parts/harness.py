"""Contenders -> interleaved timings -> figures -> a Markdown table and JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """A promise about a figure's value, or about its ratio to the baseline."""

    limit: float
    of: Literal["value", "ratio"] = "value"
    at_least: bool = False

    def holds(self, figure: Figure) -> bool:
        """Tell whether the figure keeps the promise."""
        found = figure.value if self.of == "value" else figure.ratio
        if found is None:
            return False
        return found >= self.limit if self.at_least else found <= self.limit

    def text(self, unit: str) -> str:
        """Return the promise as it stands in the table."""
        return f"{'>=' if self.at_least else '<='} {self.limit:g} {'x' if self.of == 'ratio' else unit}"


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    value, low, high : median, least and greatest of the repeats, in `unit`
    baseline, baseline_value : what it is compared with, measured in the same run
    ratio : how many times faster than the baseline, by the medians
    ratio_low, ratio_high : the same by the least and the most favourable repeats
    processor_ratio : the same in processor seconds of all threads, which other users of the machine disturb less
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    repeats: int = 1
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    processor_ratio: float | None = None
    targets: tuple[Target, ...] = ()
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return "met" or "MISSED"; empty without a target."""
        if not self.targets:
            return ""
        return "met" if all(target.holds(self) for target in self.targets) else "MISSED"


@dataclass(frozen=True)
class Contender:
    """Something to time; `repeats` may be fewer for a slow one, `warm_up` runs it once before the clock does."""

    run: Callable[[], object]
    repeats: int = 5
    warm_up: bool = True


@dataclass
class Times:
    """Wall seconds of one contender, by round, and the processor seconds of all its threads."""

    seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median seconds."""
        return median(self.seconds)


def interleaved(contenders: Mapping[str, Contender]) -> dict[str, Times]:
    """Time the contenders in turns, A B A B ..., so that a busy moment of the machine hits all of them alike."""
    for contender in contenders.values():
        if contender.warm_up:
            contender.run()
    times = {name: Times() for name in contenders}
    for turn in range(max(c.repeats for c in contenders.values())):
        for name, contender in contenders.items():
            if turn < contender.repeats:
                start, start_processor = time.perf_counter(), time.process_time()
                contender.run()
                times[name].seconds.append(time.perf_counter() - start)
                times[name].processor_seconds.append(time.process_time() - start_processor)
    return times


def timed_figure(
    name: str,
    ours: Times,
    baseline: str = "",
    theirs: Times | None = None,
    targets: Sequence[Target] = (),
    note: str = "",
) -> Figure:
    """Make the figure of a timing, with its ratio to a baseline if there is one."""
    plain = single_figure(name, ours.seconds, "s", targets, note)
    if theirs is None:
        return plain
    values = asdict(plain) | {
        "targets": tuple(targets),
        "baseline": baseline,
        "baseline_value": theirs.median,
        "ratio": theirs.median / ours.median,
        "ratio_low": min(theirs.seconds) / max(ours.seconds),
        "ratio_high": max(theirs.seconds) / min(ours.seconds),
        "processor_ratio": median(theirs.processor_seconds) / median(ours.processor_seconds),
    }
    return Figure(**values)


def single_figure(
    name: str, values: Sequence[float], unit: str, targets: Sequence[Target] = (), note: str = ""
) -> Figure:
    """Make a figure without a baseline from repeated measurements."""
    return Figure(name, median(values), unit, min(values), max(values), len(values), targets=tuple(targets), note=note)


def as_record(figure: Figure) -> dict[str, Any]:
    """Return a figure as plain values for JSON."""
    record = asdict(figure)
    record["targets"] = [target.text(figure.unit) for target in figure.targets]
    record["verdict"] = figure.verdict
    return record


def markdown_table(figures: Sequence[Figure]) -> str:
    """Lay the figures out as a Markdown table; a missed target stands out."""
    head = ("figure", "median", "min - max", "baseline in the same run", "ratio", "target", "", "note")
    rows = [head, tuple("---" for _ in head), *(_row(figure) for figure in figures)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows)


def _row(figure: Figure) -> tuple[str, ...]:
    spread = "" if figure.repeats < 2 else f"{figure.low:.3g} - {figure.high:.3g}"
    baseline, ratio = figure.baseline, ""
    if figure.baseline_value is not None:
        baseline += f": {figure.baseline_value:.3g} {figure.unit}"
    if figure.ratio is not None:
        ratio = f"{figure.ratio:.3g} x"
        if figure.ratio_low != figure.ratio_high:
            ratio += f" ({figure.ratio_low:.3g} - {figure.ratio_high:.3g})"
    targets = ", ".join(target.text(figure.unit) for target in figure.targets)
    value = f"{figure.value:.4g} {figure.unit}".strip()
    return (figure.name, value, spread, baseline, ratio, targets, figure.verdict, figure.note)
