"""Model, scan or studies -> the figures that a person asks for, on matplotlib figures of their own (no pyplot).

- the class posterior along the spine, and the candidates with the chain that was chosen among them;
- what a forest looks at (importance by offset and box size), and the first levels of one of its trees;
- the scores by level, and a learning curve over several studies.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertloc.errors import OutputError, ReportError
from vertloc.evaluation.scores import ALL_REGIONS, Scores
from vertloc.io.atomic import write_bytes_atomically
from vertloc.localization import Localization, localize
from vertloc.model import Model
from vertloc.report.charts import ACCENT, REGION_COLOURS, STYLE, error_by_level
from vertloc.report.reformat import SpineCurve, spine_curve
from vertloc.stages.posterior import classify
from vertloc.stages.preprocess import preprocess
from vertloc.vertebrae import RANK, VERTEBRAE
from vertloc.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Figure  # also for its callers

FORMATS = (".png", ".svg", ".pdf")

_NEAR_MM = 10.0  # voxels this close to the curve count as the spine


@dataclass(frozen=True, eq=False)
class SpinePosterior:
    """Class posterior of the voxels near the spine, by height.

    z_mm : (n,) float64, world heights, rising; share : (n, 26) float64, mean probability of each vertebra there
    """

    z_mm: NDArray[np.float64]
    share: NDArray[np.float64]


def posterior_along_spine(volume: Volume, model: Model, curve: SpineCurve, n_jobs: int = 1) -> SpinePosterior:
    """Average the classifier's posterior over the voxels within 10 mm of a curve, slice by slice."""
    small = preprocess(volume, model.preprocess, n_jobs)
    posterior = classify(small, model.classifier, model.settings.posterior, n_jobs)
    z, y, x = small.grid.axes_mm()
    away = np.hypot(
        x[None, None, :] - curve.across("sagittal", z)[:, None, None],
        y[None, :, None] - curve.across("coronal", z)[:, None, None],
    )
    is_near = away < _NEAR_MM
    entries = is_near.reshape(-1)[posterior.voxel]
    slices = posterior.voxel[entries] // (len(y) * len(x))
    mass = np.zeros((len(z), len(VERTEBRAE)))
    np.add.at(mass, (slices, posterior.rank[entries]), posterior.probability[entries])
    return SpinePosterior(z, mass / np.maximum(is_near.sum(axis=(1, 2)), 1)[:, None])


def posterior_figure(volume: Volume, model: Model, n_jobs: int = 1) -> Figure:
    """Draw the class posterior along the spine, and the chain that came out of it in the end."""
    found = localize(volume, model, n_jobs)
    signal = posterior_along_spine(volume, model, spine_curve(found.world.points_mm, volume.grid), n_jobs)

    def draw(ax: Axes) -> None:
        step = (signal.z_mm[1] - signal.z_mm[0]) / 2 if len(signal.z_mm) > 1 else 1.0
        extent = (-0.5, len(VERTEBRAE) - 0.5, signal.z_mm[0] - step, signal.z_mm[-1] + step)
        picture = ax.imshow(signal.share, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=0, vmax=1)
        ax.figure.colorbar(picture, ax=ax, label="mean probability near the spine", pad=0.02)
        ax.plot([RANK[label] for label in found.labels], found.world.points_mm[:, 2], "o", mfc="none", mec="#43d3ff")
        _name_axes(ax, f"{volume.name}: class posterior along the spine; rings: the names given")

    return _figure(draw, (7.5, 6.0))


def candidates_figure(volume: Volume, model: Model, n_jobs: int = 1) -> Figure:
    """Draw every candidate by its name and height, coloured by evidence, and the chain chosen among them."""
    found = localize(volume, model, n_jobs)
    return _figure(lambda ax: _draw_candidates(ax, found, volume.name), (7.5, 6.0))


def _draw_candidates(ax: Axes, found: Localization, name: str) -> None:
    candidates = found.candidates
    order = np.argsort(candidates.log_odds, kind="stable")
    points = ax.scatter(
        candidates.rank[order],
        candidates.points_mm[order, 2],
        c=candidates.log_odds[order],
        s=14,
        cmap="viridis",
        vmin=-4,
        vmax=4,
    )
    ax.figure.colorbar(points, ax=ax, label="log odds against a missing vertebra", pad=0.02, extend="both")
    ax.plot([RANK[label] for label in found.labels], found.world.points_mm[:, 2], "-", color="#d03b3b", lw=1.2)
    ax.plot([RANK[label] for label in found.labels], found.world.points_mm[:, 2], "o", mfc="none", mec="#d03b3b", ms=8)
    _name_axes(ax, f"{name}: candidates and the chain chosen among them")


def _name_axes(ax: Axes, title: str) -> None:
    ax.set_xticks(range(len(VERTEBRAE)), VERTEBRAE, rotation=90)
    ax.set(xlabel="vertebra", ylabel="height z, mm", title=title, xlim=(-0.7, len(VERTEBRAE) - 0.3))


def features_figure(model: Model) -> Figure:
    """Draw what the classifier looks at: its nodes by offset and size of their boxes, without the voxels' own values.

    A node at depth d counts 2^-d, the share of the voxels that would meet it if every split were even.
    """
    forest = model.classifier
    weight = node_weights(forest)
    rows = forest.features[forest.children[:, 0] >= 0]
    offset, size, counts = [], [], []
    for box in (0, 1):
        is_box = forest.pool.size_mm[rows, box].min(axis=1) >= 1  # smaller: no box, or the voxel's own value
        offset.append(np.linalg.norm(forest.pool.offset_mm[rows[is_box], box], axis=1))
        size.append(np.cbrt(forest.pool.size_mm[rows[is_box], box].prod(axis=1)))
        counts.append(weight[forest.children[:, 0] >= 0][is_box])

    def draw(ax: Axes) -> None:
        share, xs, ys = np.histogram2d(
            np.concatenate(offset), np.concatenate(size), bins=(24, 16), weights=np.concatenate(counts)
        )
        picture = ax.pcolormesh(xs, ys, 100 * share.T / share.sum(), cmap="magma")
        ax.figure.colorbar(picture, ax=ax, label="share of the boxes met, %", pad=0.02)
        ax.set(xlabel="distance of the box from its voxel, mm", ylabel="edge of the box (geometric mean), mm")
        ax.set_title(f"What the {forest.n_trees} trees of the classifier look at")

    return _figure(draw, (7.0, 4.6))


def node_weights(forest: Any) -> NDArray[np.float64]:
    """2^-depth of every node of a forest: (nodes,) float64."""
    weight = np.zeros(len(forest.features))
    nodes, depth = np.asarray(forest.roots, dtype=np.int64), 0
    while len(nodes):
        weight[nodes] = 0.5**depth
        inner = nodes[forest.children[nodes, 0] >= 0]
        nodes, depth = forest.children[inner].reshape(-1).astype(np.int64), depth + 1
    return weight


def tree_figure(model: Model, tree: int = 0, depth: int = 3) -> Figure:
    """Draw the first levels of one tree of the classifier: the question of each node, and what is below the last ones.

    Raises ReportError if there is no such tree.
    """
    forest = model.classifier
    if not 0 <= tree < forest.n_trees:
        raise ReportError(f"there is no tree {tree}: the classifier has {forest.n_trees}, counted from 0")
    return _figure(
        lambda ax: _draw_node(ax, forest, int(forest.roots[tree]), (0.0, 1.0, 0, depth)), (4.2 + 2**depth, 2 + depth)
    )


def _draw_node(ax: Axes, forest: Any, node: int, room: tuple[float, float, int, int]) -> tuple[float, float]:
    """Draw a node and what is below it within left..right, from level to depth; returns where its box stands."""
    left, right, level, depth = room
    x, y = (left + right) / 2, -float(level)
    is_leaf = forest.children[node, 0] < 0
    if is_leaf or level == depth:
        text, paper = _outcome(forest, node), "#e8f1f8"
    else:
        text, paper = _question(forest, node), "#ffffff"
        ends = ((left, x), (x, right))
        for child, (low, high), answer in zip(forest.children[node], ends, ("yes", "no"), strict=True):
            at = _draw_node(ax, forest, int(child), (low, high, level + 1, depth))
            ax.plot([x, at[0]], [y, at[1]], color="#b9c0c8", lw=1, zorder=1)
            ax.text(
                (x + at[0]) / 2, (y + at[1]) / 2, answer, ha="center", va="center", fontsize=7, backgroundcolor="white"
            )
    box = {"boxstyle": "round,pad=0.4", "facecolor": paper, "edgecolor": "#b9c0c8"}
    ax.text(x, y, text, ha="center", va="center", fontsize=7, bbox=box, zorder=3)
    if level == 0:
        ax.set(xlim=(0, 1), ylim=(-depth - 0.5, 0.5))
        ax.set_axis_off()
    return x, y


def _question(forest: Any, node: int) -> str:
    row = forest.features[node]
    parts = [_box(forest.pool.offset_mm[row, i], forest.pool.size_mm[row, i]) for i in (0, 1)]
    question = parts[0] if not parts[1] else f"{parts[0]}\nminus {parts[1]}"
    return f"{question}\n≤ {forest.thresholds[node]:.0f} HU?".replace("≤ -", "≤ −")


def _box(offset: NDArray[np.float32], size: NDArray[np.float32]) -> str:
    """Say in words where a box lies and how large it is; "" if there is none."""
    if size.min() <= 0:
        return ""
    if not offset.any() and size.max() < 1:
        return "here"
    words = (("left", "right"), ("back", "front"), ("up", "down"))
    ways = [f"{abs(v):.0f} {w[int(v < 0)]}" for v, w in zip(offset, words, strict=True) if abs(v) >= 1]
    return f"{size[0]:.0f}×{size[1]:.0f}×{size[2]:.0f} mm, {', '.join(ways) or 'here'}"


def _outcome(forest: Any, node: int) -> str:
    """Name the classes that are probable below a node, over its leaves alike."""
    leaves, waiting = [], [node]
    while waiting:
        left, right = forest.children[waiting.pop()]
        if left < 0:
            leaves.append(right)
        else:
            waiting += [int(left), int(right)]
    mean = np.asarray(forest.rows()[leaves], dtype=np.float64).mean(axis=0)
    names = ("background", *VERTEBRAE)
    best = np.argsort(-mean)[:3]
    return "\n".join([*(f"{names[i]} {mean[i]:.0%}" for i in best), f"({len(leaves)} leaves)"])


def errors_figure(scores: Scores) -> Figure:
    """Draw localization error and identification rate by level."""
    return _figure(lambda ax: error_by_level(ax, scores), (10.0, 4.0))


def learning_figure(studies: Sequence[tuple[float, Scores]]) -> Figure:
    """Draw the identification rate against the number of training scans, over all vertebrae and by region.

    studies : (mean number of training scans of its models, its scores)
    """
    studies = sorted(studies, key=lambda study: study[0])

    def draw(ax: Axes) -> None:
        n = [scans for scans, _ in studies]
        for region in ALL_REGIONS:
            colour = ACCENT if region == "all" else REGION_COLOURS[region]
            rates = [100 * scores.summary(region).identification_rate for _, scores in studies]
            if not np.isnan(rates).all():
                ax.plot(n, rates, "o-", color=colour, lw=2 if region == "all" else 1, label=region)
        low, high = zip(*(scores.summary("all").interval for _, scores in studies), strict=True)
        ax.fill_between(n, 100 * np.array(low), 100 * np.array(high), color=ACCENT, alpha=0.15, linewidth=0)
        ax.set(xlabel="scans learnt from", ylabel="identified, %", ylim=(None, 100.5))
        ax.legend(frameon=False)

    return _figure(draw, (6.5, 4.2))


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix says how. Raises OutputError for a suffix that is none of FORMATS."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise OutputError(f"{path}: expected a name ending in {', '.join(FORMATS)}")
    data = io.BytesIO()
    figure.savefig(data, format=suffix[1:], dpi=150, facecolor="white")
    write_bytes_atomically(path, data.getvalue())


def _figure(draw: Any, size_inches: tuple[float, float]) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "savefig.transparent": False}):
        figure = Figure(figsize=size_inches)
        draw(figure.subplots())
    return figure
