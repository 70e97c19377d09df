import numpy as np
import pytest

from vertloc.stages.tree_links import link_nodes

SOUND, UNFINISHED, TOO_MANY = "sound", "not finished", "a walk can hold"


def naive_trees(is_leaf):
    """Read trees by recursion: children, roots and the rows that a walk's stack needs; None if one is unfinished."""
    children, roots, at, most_rows = np.full((len(is_leaf), 2), -1, int), [], 0, 0
    rows = iter(range(len(is_leaf)))

    def read(waiting):
        nonlocal at, most_rows
        node, at, most_rows = at, at + 1, max(most_rows, waiting + 1)
        if node >= len(is_leaf):
            raise IndexError
        if is_leaf[node]:
            children[node] = -1, next(rows)
        else:
            children[node] = read(waiting + 1), read(waiting)
        return node

    try:
        while at < len(is_leaf):
            roots.append(read(0))
    except IndexError:
        return None
    return children, roots, most_rows


def linked(is_leaf, stack_rows):
    try:
        return SOUND, *link_nodes(np.array(is_leaf, bool), stack_rows)
    except ValueError as error:
        return next(fault for fault in (UNFINISHED, TOO_MANY) if fault in str(error)), None, None


@pytest.mark.parametrize("seed", range(200))
def test_any_sequence_is_the_trees_of_the_recursion_or_refused(seed):
    rng = np.random.default_rng(seed)
    is_leaf = (rng.random(int(rng.integers(1, 40))) < rng.uniform(0.4, 0.8)).astype(np.uint8)
    stack_rows = int(rng.integers(1, 8))
    expected = naive_trees(is_leaf)
    fault, children, roots = linked(is_leaf, stack_rows)
    if expected is None:
        assert fault in (UNFINISHED, TOO_MANY)
    elif expected[2] > stack_rows:
        assert fault == TOO_MANY
    else:
        assert fault == SOUND
        np.testing.assert_array_equal(children, expected[0])
        np.testing.assert_array_equal(roots, expected[1])


def test_the_random_sequences_are_of_every_kind():
    kinds = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        is_leaf = rng.random(int(rng.integers(1, 40))) < rng.uniform(0.4, 0.8)
        kinds.add(linked(is_leaf, int(rng.integers(1, 8)))[0])
    assert kinds == {SOUND, UNFINISHED, TOO_MANY}


@pytest.mark.parametrize(
    ("is_leaf", "stack_rows", "expected"),
    [
        ([1], 1, SOUND),
        ([0, 1, 1], 2, SOUND),
        ([0, 1, 1], 1, TOO_MANY),
        ([0, 1], 5, UNFINISHED),
        ([0], 5, UNFINISHED),
        ([], 5, UNFINISHED),
        ([1, 0], 5, UNFINISHED),
        ([0] * 511 + [1] * 512, 512, SOUND),
        ([0] * 512 + [1] * 513, 512, TOO_MANY),
        ([0, 1] * 40_000 + [1], 2, SOUND),
        ([0, 1] * 40_000 + [1], 1, TOO_MANY),
        ([1] * 40_000, 1, SOUND),
        ([0] * 600, 512, UNFINISHED),
    ],
)
def test_each_fault_is_told_apart(is_leaf, stack_rows, expected):
    assert linked(is_leaf, stack_rows)[0] == expected
