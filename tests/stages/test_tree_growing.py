from dataclasses import replace

import numpy as np
import pytest

from vertloc.stages.context_features import ContextFeatureSettings, draw_feature_pool
from vertloc.stages.dense_labels import N_CLASSES
from vertloc.stages.tree_growing import ForestSettings, grow_centre_tree, grow_classification_tree

SETTINGS = ForestSettings(max_depth=6, features_per_tree=8, features_per_node=8, min_samples_leaf=10)
POOL = draw_feature_pool(8, ContextFeatureSettings(), np.random.default_rng(0))
GROWERS = ("vertloc", "scikit-learn")


def columns_of(n=300, seed=0):
    return np.random.default_rng(seed).normal(0, 800, (8, n)).astype(np.int16)


def leaf_rows(tree, columns):
    """Walk every sample down the flat tree, comparing values in HU."""
    values = columns / np.float32(8)
    node = np.zeros(columns.shape[1], int)
    for _ in range(50):
        is_right = values[tree.features[node], np.arange(columns.shape[1])] > tree.thresholds[node]
        node = np.where(tree.children[node, 0] >= 0, tree.children[node, is_right.astype(int)], node)
    assert (tree.children[node, 0] < 0).all()
    return tree.children[node, 1]


@pytest.mark.parametrize("grower", GROWERS)
def test_leaves_hold_the_weighted_mean_soft_label_of_their_samples(grower):
    rng = np.random.default_rng(0)
    columns = columns_of()
    mass = (rng.dirichlet(np.ones(N_CLASSES), 300) * rng.uniform(0.1, 2, (300, 1))).astype(np.float32)
    tree = grow_classification_tree(columns, mass, POOL, replace(SETTINGS, grower=grower), rng)
    leaf = leaf_rows(tree, columns)
    assert len(np.unique(leaf)) == len(tree.leaf_values) > 3
    for row, values_of_leaf in enumerate(tree.leaf_values):
        assert (leaf == row).sum() >= 10
        total = mass[leaf == row].sum(axis=0, dtype=np.float64)
        np.testing.assert_allclose(values_of_leaf, total / total.sum(), atol=1e-6)


@pytest.mark.parametrize("grower", GROWERS)
def test_leaves_hold_the_mean_displacement_and_a_weight_for_its_sureness(grower):
    columns = columns_of()
    displacement = np.random.default_rng(1).normal(0, 5, (300, 3)).astype(np.float32)
    tree = grow_centre_tree(columns, displacement, POOL, replace(SETTINGS, grower=grower), np.random.default_rng(2))
    leaf = leaf_rows(tree, columns)
    assert len(np.unique(leaf)) == len(tree.leaf_values) > 3
    for row, values_of_leaf in enumerate(tree.leaf_values):
        own = displacement[leaf == row].astype(np.float64)
        np.testing.assert_allclose(values_of_leaf[:3], own.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(values_of_leaf[3], (1 + own.var(axis=0).mean() / 4) ** -2, rtol=1e-4)


@pytest.mark.parametrize("grower", GROWERS)
def test_a_heavy_sample_counts_for_more(grower):
    # One column tells a few heavy samples of class 3 apart, another one many light ones of class 5.
    columns = np.zeros((8, 200), np.int16)
    columns[2, :20], columns[6, 20:60] = 80, 80
    mass = np.zeros((200, N_CLASSES), np.float32)
    mass[:, 1], mass[:20], mass[20:60] = 1, np.eye(N_CLASSES)[3] * 50, np.eye(N_CLASSES)[5] * 0.1
    for light, heavy, first in ((0.1, 50, 2), (50, 0.1, 6)):
        mass[20:60, 5], mass[:20, 3] = light, heavy
        tree = grow_classification_tree(columns, mass, POOL, replace(SETTINGS, grower=grower), np.random.default_rng(0))
        assert tree.features[0] == first


@pytest.mark.parametrize("grower", GROWERS)
def test_the_generator_decides_and_samples_of_one_class_are_one_leaf(grower):
    columns, settings = columns_of(), replace(SETTINGS, grower=grower, features_per_node=2)
    mass = np.random.default_rng(0).dirichlet(np.ones(N_CLASSES), 300).astype(np.float32)
    trees = [grow_classification_tree(columns, mass, POOL, settings, np.random.default_rng(s)) for s in (1, 1, 2)]
    np.testing.assert_array_equal(trees[0].thresholds, trees[1].thresholds)
    np.testing.assert_array_equal(trees[0].leaf_values, trees[1].leaf_values)
    assert not np.array_equal(trees[0].thresholds, trees[2].thresholds)
    same = np.tile(np.eye(N_CLASSES, dtype=np.float32)[4] * 2, (300, 1))
    tree = grow_classification_tree(columns, same, POOL, settings, np.random.default_rng(0))
    np.testing.assert_array_equal(tree.leaf_values, same[:1] / 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_trees": 0},
        {"max_depth": 101},
        {"min_samples_leaf": 0},
        {"features_per_node": 500},
        {"grower": "none"},
        {"thresholds": "none"},
        {"samples_per_tree": 0},
        {"patient_share": 0},
        {"samples_per_tree": 0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ForestSettings(**wrong)


def test_all_thresholds_are_tried_by_scikit_learn_only():
    assert ForestSettings(thresholds="best", grower="scikit-learn").thresholds == "best"
    with pytest.raises(ValueError, match="'best' needs the grower 'scikit-learn'"):
        ForestSettings(thresholds="best")
