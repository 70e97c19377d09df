import numpy as np
import pytest

from vertloc.kernels.trees import CHILD_ASTRAY, NO_SUCH_LEAF, NOT_ONE_PARENT, SOUND, TOO_DEEP, tree_fault


def grown(rng, n_inner):
    """A random tree as (nodes, 2) children, in the depth-first order of scikit-learn."""
    children = []

    def grow(n):
        node = len(children)
        children.append([-1, int(rng.integers(9))])
        if n:
            left = int(rng.integers(n))
            children[node] = [grow(left), grow(n - 1 - left)]
        return node

    grow(n_inner)
    return np.array(children, np.int32)


def joined(trees):
    roots = np.cumsum([0, *(len(tree) for tree in trees[:-1])])
    shifted = [np.where(tree[:, :1] < 0, tree, tree + root) for tree, root in zip(trees, roots, strict=True)]
    return roots.astype(np.int64), np.concatenate(shifted).astype(np.int32)


def is_sound(roots, children, n_leaves, most_levels):
    """Walk down every tree along all its paths."""
    ends = [*roots[1:], len(children)]
    met = []

    def walk(node, begin, end, level):
        met.append(node)
        if level > most_levels:
            return False
        left, right = children[node]
        if left < 0:
            return 0 <= right < n_leaves
        return all(node < child < end and walk(child, begin, end, level + 1) for child in (left, right))

    return all(walk(r, r, e, 1) for r, e in zip(roots, ends, strict=True)) and sorted(met) == list(range(len(children)))


@pytest.mark.parametrize("seed", range(30))
def test_the_check_agrees_with_walking_down_every_path(seed):
    rng = np.random.default_rng(seed)
    roots, children = joined([grown(rng, int(rng.integers(12))) for _ in range(int(rng.integers(1, 5)))])
    assert is_sound(roots, children, 9, 20)
    assert tree_fault(roots, children, 9, 20) == SOUND
    for _ in range(40):
        changed = children.copy()
        changed[rng.integers(len(children)), rng.integers(2)] = rng.integers(-2, len(children) + 2)
        most_levels = int(rng.integers(3, 20))
        expected = is_sound(roots, changed, 9, most_levels)
        assert (tree_fault(roots, changed, 9, most_levels) == SOUND) == expected


def test_each_fault_is_told_apart():
    roots, children = joined([np.array([[1, 2], [-1, 0], [-1, 1]]), np.array([[-1, 2]])])

    def fault(node, side, value, most_levels=2):
        changed = children.copy()
        changed[node, side] = value
        return tree_fault(roots, changed, 3, most_levels)

    assert fault(0, 0, 1) == SOUND
    assert fault(0, 0, 1, most_levels=1) == TOO_DEEP
    assert [fault(3, 1, value) for value in (-1, 3, 2**31 - 1)] == [NO_SUCH_LEAF] * 3
    assert [fault(0, 1, value) for value in (0, 3, 4, 2**31 - 1)] == [CHILD_ASTRAY] * 4
    assert fault(0, 1, 1) == NOT_ONE_PARENT  # two
    assert fault(0, 0, -1) == NOT_ONE_PARENT  # none
