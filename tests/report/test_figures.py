"""Figures: what is drawn is what the model and the scores say."""

import numpy as np
import pytest

from vertloc.centroids import Centroids
from vertloc.errors import OutputError, ReportError
from vertloc.evaluation.matching import score_scan
from vertloc.evaluation.scores import Scores
from vertloc.localization import localize
from vertloc.report.figures import (
    candidates_figure,
    errors_figure,
    features_figure,
    learning_figure,
    node_weights,
    posterior_along_spine,
    posterior_figure,
    save_figure,
    tree_figure,
)
from vertloc.report.reformat import spine_curve
from vertloc.vertebrae import RANK


def column(labels, aside=0.0):
    return Centroids.from_points({label: (aside, 0.0, -30.0 * i) for i, label in enumerate(labels)})


def test_the_posterior_at_a_vertebra_favours_it_and_is_a_probability(toy_model, toy_scans):
    scan = toy_scans[0]
    curve = spine_curve(scan.centroids.points_mm, scan.volume.grid)
    signal = posterior_along_spine(scan.volume, toy_model, curve)
    assert signal.share.min() >= 0
    assert signal.share.sum(axis=1).max() <= 1 + 1e-6
    levels = [signal.share[np.abs(signal.z_mm - point[2]).argmin()].argmax() for _, point in scan.centroids]
    assert [abs(level - RANK[label]) <= 1 for level, label in zip(levels, scan.centroids.labels, strict=True)].count(
        True
    ) >= len(levels) - 1


def test_every_candidate_and_the_chain_are_drawn(toy_model, toy_scans):
    volume = toy_scans[5].volume
    found = localize(volume, toy_model)
    axes = candidates_figure(volume, toy_model).axes[0]
    assert len(axes.collections[0].get_offsets()) == len(found.candidates)
    chain = axes.lines[0].get_xydata()
    np.testing.assert_allclose(chain[:, 1], found.world.points_mm[:, 2])
    assert [round(x) for x in chain[:, 0]] == [RANK[label] for label in found.labels]


def test_nodes_of_a_level_weigh_as_much_as_the_root_at_most(toy_model):
    forest = toy_model.classifier
    weights = node_weights(forest)
    assert weights.min() > 0
    assert weights[forest.roots].tolist() == [1.0] * forest.n_trees
    is_leaf = forest.children[:, 0] < 0
    # The leaves of a binary tree share the weight of its root.
    assert weights[is_leaf].sum() == pytest.approx(forest.n_trees)


def test_the_first_levels_of_a_tree_ask_what_its_nodes_ask(toy_model):
    texts = [text.get_text() for text in tree_figure(toy_model, tree=1, depth=2).axes[0].texts]
    forest = toy_model.classifier
    root = int(forest.roots[1])
    asked = [text for text in texts if "HU?" in text]
    assert len(asked) == 3
    threshold = f"{forest.thresholds[root]:.0f}".replace("-", "−")
    assert any(text.endswith(f"≤ {threshold} HU?") for text in asked)
    outcomes = [text for text in texts if "leaves)" in text]
    assert len(outcomes) == 4
    assert sum("background" in text for text in outcomes) >= 3
    with pytest.raises(ReportError, match="there is no tree 99: the classifier has 4"):
        tree_figure(toy_model, tree=99)


def test_a_learning_curve_is_sorted_by_scans():
    good = Scores((score_scan("a", column(["T1", "T2"]), column(["T1", "T2"])),))
    bad = Scores((score_scan("a", column(["T1", "T2"]), column(["T1"])),))
    axes = learning_figure([(30.0, good), (10.0, bad)]).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[10.0, 50.0], [30.0, 100.0]]


def test_figures_are_written_as_their_suffix_says_and_other_suffixes_are_refused(toy_model, tmp_path):
    figure = features_figure(toy_model)
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        save_figure(figure, tmp_path / f"a{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes().startswith(start)
    with pytest.raises(OutputError, match=r"expected a name ending in \.png, \.svg, \.pdf"):
        save_figure(figure, tmp_path / "a.gif")


def test_errors_by_level_show_every_annotated_level():
    scores = Scores((score_scan("a", column(["T1", "T2", "T3"]), column(["T1", "T2"], 3.0)),))
    boxes, rates = errors_figure(scores).axes
    assert [text.get_text() for text in boxes.get_xticklabels()] == ["T1", "T2", "T3"]
    assert rates.lines[0].get_xydata().tolist() == [[0.0, 100.0], [1.0, 100.0], [2.0, 0.0]]


def test_a_posterior_is_drawn_as_a_picture_that_is_not_blank(toy_model, toy_scans):
    picture = posterior_figure(toy_scans[5].volume, toy_model).axes[0].images[0].get_array()
    assert picture.max() > 0.3
