"""Scores of a run -> charts on matplotlib axes, for the report page (as inline SVG) and for `vertloc plot`."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertloc.evaluation.confidence import Reliability, RiskCoverage, reliability, risk_coverage
from vertloc.evaluation.matching import IDENTIFIED_WITHIN_MM, ScanScore
from vertloc.evaluation.scores import Scores
from vertloc.report.runs import Run
from vertloc.vertebrae import REGIONS, Region, anatomical_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REGION_COLOURS: dict[Region, str] = {
    "cervical": "#3b82c4",
    "thoracic": "#2f9e77",
    "lumbar": "#d9822b",
    "sacral": "#a05cc0",
}
_INK, _LINE, ACCENT = "#1b1f24", "#b9c0c8", "#2678b2"
# What the page's style sheet decides, so that charts follow its dark and light colours.
_AS_VARIABLES = {_INK: "var(--ink)", _LINE: "var(--line)", ACCENT: "var(--accent)"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
}


@dataclass(frozen=True)
class Chart:
    """A chart as inline SVG with what it shows in words."""

    title: str
    svg: str
    words: str
    is_wide: bool = False


def inline_svg(draw: Callable[[Axes], None], name: str, size_inches: tuple[float, float] = (4.4, 2.9)) -> str:
    """Draw on new axes and return an `<svg>` element whose ink, lines and accent are the page's own colours.

    name : makes the ids inside differ from those of other charts on the page
    """
    import matplotlib
    from matplotlib.figure import Figure

    data = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size_inches)
        draw(figure.subplots())
        figure.savefig(data, format="svg", metadata={"Date": None})
    svg = data.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # The size is the page's matter, by the viewBox.
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*" ', r'<svg aria-hidden="true" focusable="false" \1', svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" ', r"<svg \1", svg, count=1)
    for colour, variable in _AS_VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg


def run_charts(run: Run) -> list[Chart]:
    """Draw the charts of an overview: what can be drawn without the truth, and with it what the truth tells."""
    charts = []
    if any(scan.confidence for scan in run.scans):
        sure = np.array([p for scan in run.scans for p in scan.confidence.values()])
        words = f"{np.mean(sure >= 0.9):.0%} of {len(sure)} vertebrae are named with a confidence of at least 90 %."
        charts.append(
            Chart("Confidence", inline_svg(partial(confidence_histogram, confidence=sure), "confidence"), words)
        )
    if run.scores is None or not run.scores.scans:
        return charts
    summary = run.scores.summary()
    if not np.isnan(summary.median_mm):
        words = f"Median {summary.median_mm:.1f} mm, mean {summary.mean_mm:.1f} mm."
        charts.append(
            Chart("Localization error", inline_svg(partial(error_histogram, scores=run.scores), "errors"), words)
        )
        svg = inline_svg(partial(error_by_level, scores=run.scores), "levels", (10.0, 2.8))
        charts.append(Chart("By level", svg, "Localization error (boxes) and share identified (line).", True))
    pairs = confusions(run.scores.scans)
    if pairs:
        wrong = sum(n for (a, b), n in pairs.items() if a != b)
        words = f"{wrong} of {sum(pairs.values())} names within {IDENTIFIED_WITHIN_MM:g} mm of an annotation are wrong."
        size = (5.6, 5.0)
        charts.append(Chart("Confusion", inline_svg(partial(confusion, pairs=pairs), "confusion", size), words))
    confidence, is_right = judged_confidences(run)
    if len(confidence):
        curve, kept = reliability(confidence, is_right), risk_coverage(confidence, is_right)
        words = f"Expected calibration error {curve.expected_error:.3f} over {len(confidence)} names."
        charts.append(Chart("Reliability", inline_svg(partial(draw_reliability, curve=curve), "reliability"), words))
        sure = confidence >= 0.9
        words = f"Of the {sure.sum()} names at 90 % or more, {np.sum(~is_right[sure])} are wrong."
        charts.append(Chart("Risk and coverage", inline_svg(partial(draw_risk_coverage, curve=kept), "risk"), words))
    return charts


def judged_confidences(run: Run) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidence of every name that can be judged, and whether it is right; extra labels are no matter of judgement."""
    pairs = [
        (scan.confidence[v.label], v.is_identified)
        for scan in run.scans
        if scan.score is not None
        for v in scan.score.vertebrae
        if not v.is_missed and v.label in scan.confidence
    ]
    return np.array([p for p, _ in pairs], dtype=np.float64), np.array([hit for _, hit in pairs], dtype=np.bool_)


def confusions(scans: Sequence[ScanScore]) -> Counter[tuple[str, str]]:
    """Count (annotated, predicted) names of the points that lie within reach of an annotated vertebra."""
    pairs: Counter[tuple[str, str]] = Counter()
    for scan in scans:
        at = {v.label: np.array(v.true_mm) for v in scan.vertebrae}
        named = [(v.label, v.nearest, v.predicted_mm) for v in scan.vertebrae if not v.is_missed]
        named += [(e.label, e.nearest, e.predicted_mm) for e in scan.extra if e.nearest]
        for label, nearest, point in named:
            if np.linalg.norm(at[nearest] - np.array(point)) < IDENTIFIED_WITHIN_MM:
                pairs[nearest, label] += 1
    return pairs


def confidence_histogram(ax: Axes, confidence: NDArray[np.float64]) -> None:
    """Draw how many vertebrae are named with which confidence."""
    ax.hist(confidence, bins=list(np.linspace(0, 1, 21)), color=ACCENT, rwidth=0.9)
    ax.set(xlabel="confidence", ylabel="vertebrae", xlim=(0, 1))


def error_histogram(ax: Axes, scores: Scores) -> None:
    """Draw the localization errors, by region on top of each other; the last bar holds all beyond it."""
    errors = {
        region: np.array([v.error_mm for s in scores.scans for v in s.vertebrae if v.region == region])
        for region in REGIONS
    }
    kept = {region: np.minimum(e[~np.isnan(e)], 20.5) for region, e in errors.items() if not np.isnan(e).all()}
    colours = [REGION_COLOURS[region] for region in kept]
    ax.hist(list(kept.values()), bins=list(range(22)), stacked=True, color=colours, label=list(kept), rwidth=0.9)
    ax.set(xlabel="localization error, mm", ylabel="vertebrae", xlim=(0, 21))
    ax.set_xticks([0, 5, 10, 15, 20.5], ["0", "5", "10", "15", "20+"])
    ax.legend(frameon=False, fontsize=9)


def error_by_level(ax: Axes, scores: Scores) -> None:
    """Draw the errors of each level as a box, and the share identified as a line on the other axis."""
    levels = sorted({v.label for scan in scores.scans for v in scan.vertebrae}, key=anatomical_order)
    at = {label: [v for s in scores.scans for v in s.vertebrae if v.label == label] for label in levels}
    errors = [[v.error_mm for v in at[label] if not v.is_missed] for label in levels]
    box = {"color": ACCENT, "linewidth": 1.0}
    ax.boxplot(
        errors,
        positions=range(len(levels)),
        showfliers=False,
        boxprops=box,
        whiskerprops=box,
        capprops=box,
        medianprops={"color": _INK, "linewidth": 1.4},
    )
    ax.set_xticks(range(len(levels)), levels, rotation=90 if len(levels) > 14 else 0)
    ax.set(ylabel="error, mm", xlim=(-0.6, len(levels) - 0.4))
    ax.set_ylim(bottom=0)
    rates = ax.twinx()
    share = [100 * np.mean([v.is_identified for v in at[label]]) for label in levels]
    rates.plot(range(len(levels)), share, "o-", color=REGION_COLOURS["lumbar"], lw=1, ms=3.5)
    rates.set_ylim(0, 104)
    rates.set_ylabel("identified, %", color=REGION_COLOURS["lumbar"])
    rates.spines["top"].set_visible(False)


def confusion(ax: Axes, pairs: Counter[tuple[str, str]]) -> None:
    """Draw the shares of each annotated level's names; right ones lie on the diagonal."""
    names = sorted({name for pair in pairs for name in pair}, key=anatomical_order)
    counts = np.array([[pairs[a, b] for b in names] for a in names], dtype=np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(np.where(counts > 0, share, np.nan), cmap="viridis_r", vmin=0, vmax=1, interpolation="nearest")
    small: dict[str, Any] = {"fontsize": 7 if len(names) > 14 else 9, "ha": "center", "va": "center"}
    for row, column in np.argwhere(counts > 0):
        colour = "#ffffff" if share[row, column] > 0.45 else "#111111"
        ax.text(column, row, f"{counts[row, column]:.0f}", color=colour, **small)
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set(xlabel="predicted", ylabel="annotated")
    ax.spines[:].set_visible(False)


def draw_reliability(ax: Axes, curve: Reliability) -> None:
    """Draw the share of right names against the confidence; the area of a dot is the number of names."""
    ax.plot([0, 1], [0, 1], color=_LINE, lw=1, ls="--")
    area = 20 + 180 * curve.count / max(1, curve.count.max())
    ax.plot(curve.mean_confidence, curve.share_right, color=ACCENT, lw=1)
    ax.scatter(curve.mean_confidence, curve.share_right, s=area, color=ACCENT, zorder=3, alpha=0.85, linewidths=0)
    ax.set(xlabel="confidence", ylabel="share of right names", xlim=(0, 1.03), ylim=(0, 1.05))


def draw_risk_coverage(ax: Axes, curve: RiskCoverage) -> None:
    """Draw the share of wrong names among the surest ones that are kept."""
    ax.step(curve.coverage, 100 * curve.risk, where="post", color=ACCENT, lw=1.4)
    ax.set(xlabel="share of names kept, the surest first", ylabel="wrong among them, %", xlim=(0, 1))
    ax.set_ylim(0, max(1.0, 105 * float(curve.risk.max(initial=0))))
