import numpy as np
import pytest

from vertloc.stages.packed_shape import SHAPE_MEMBERS, pack_shape, unpack_shape
from vertloc.stages.shape_model import ShapeModelSettings, learn_shape_model

PRIOR = learn_shape_model([], ShapeModelSettings())


def test_a_shape_model_comes_back_from_its_arrays():
    arrays = pack_shape(PRIOR)
    assert tuple(arrays) == SHAPE_MEMBERS
    again = pack_shape(unpack_shape(arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize("name", SHAPE_MEMBERS)
def test_an_array_that_is_missing_is_named(name):
    arrays = pack_shape(PRIOR)
    del arrays[name]
    with pytest.raises(ValueError, match=f"{name} is missing"):
        unpack_shape(arrays)
