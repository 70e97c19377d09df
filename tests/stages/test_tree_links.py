import numpy as np
import pytest

from vertloc.stages.tree_links import link_nodes

SOUND, UNFINISHED, TOO_DEEP = "sound", "not finished", "deeper than"


def naive_trees(is_leaf):
    """Read trees by recursion: children, roots and the depth of the deepest; None if one is unfinished."""
    children, roots, at, deepest = np.full((len(is_leaf), 2), -1, int), [], 0, 0
    rows = iter(range(len(is_leaf)))

    def read(level):
        nonlocal at, deepest
        node, at, deepest = at, at + 1, max(deepest, level)
        if node >= len(is_leaf):
            raise IndexError
        if is_leaf[node]:
            children[node] = -1, next(rows)
        else:
            children[node] = read(level + 1), read(level + 1)
        return node

    try:
        while at < len(is_leaf):
            roots.append(read(1))
    except IndexError:
        return None
    return children, roots, deepest


def linked(is_leaf, most_levels):
    try:
        return SOUND, *link_nodes(np.array(is_leaf, np.uint8), most_levels)
    except ValueError as error:
        return next(fault for fault in (UNFINISHED, TOO_DEEP) if fault in str(error)), None, None


@pytest.mark.parametrize("seed", range(200))
def test_any_sequence_is_the_trees_of_the_recursion_or_refused(seed):
    rng = np.random.default_rng(seed)
    is_leaf = (rng.random(int(rng.integers(1, 40))) < rng.uniform(0.4, 0.8)).astype(np.uint8)
    most_levels = int(rng.integers(1, 12))
    expected = naive_trees(is_leaf)
    fault, children, roots = linked(is_leaf, most_levels)
    if expected is None:
        assert fault in (UNFINISHED, TOO_DEEP)
    elif expected[2] > most_levels:
        assert fault == TOO_DEEP
    else:
        assert fault == SOUND
        np.testing.assert_array_equal(children, expected[0])
        np.testing.assert_array_equal(roots, expected[1])


def test_the_random_sequences_are_of_every_kind():
    kinds = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        is_leaf = rng.random(int(rng.integers(1, 40))) < rng.uniform(0.4, 0.8)
        kinds.add(linked(is_leaf, int(rng.integers(1, 12)))[0])
    assert kinds == {SOUND, UNFINISHED, TOO_DEEP}


@pytest.mark.parametrize(
    ("is_leaf", "most_levels", "expected"),
    [
        ([1], 1, SOUND),
        ([0, 1, 1], 2, SOUND),
        ([0, 1, 1], 1, TOO_DEEP),
        ([0, 1], 5, UNFINISHED),
        ([0], 5, UNFINISHED),
        ([], 5, UNFINISHED),
        ([1, 0], 5, UNFINISHED),
        ([0] * 600 + [1] * 601, 511, TOO_DEEP),
        ([1] * 40_000, 1, SOUND),
        ([0] * 600, 511, UNFINISHED),
    ],
)
def test_each_fault_is_told_apart(is_leaf, most_levels, expected):
    assert linked(is_leaf, most_levels)[0] == expected
