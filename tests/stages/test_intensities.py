import numpy as np
import pytest

from vertloc.geometry import Grid
from vertloc.stages.intensities import unit_warning
from vertloc.stages.preprocess import PreprocessSettings, preprocess
from vertloc.volume import Volume

RNG = np.random.default_rng(0)


def body(air=0.3, shape=(40, 50, 60)):
    """Air, fat, muscle, bone: a patient's shares, with a scanner's noise."""
    kinds = RNG.choice([-1000.0, -100.0, 50.0, 400.0, 900.0], shape, p=[air, 0.25, 0.62 - air, 0.1, 0.03])
    return kinds + RNG.normal(0, 20, shape)


def warning(values):
    found = preprocess(Volume(values, Grid(values.shape, (2.0, 2.0, 2.0))), PreprocessSettings())
    assert len(found.warnings) <= 1
    assert found.are_hounsfield_units == (not found.warnings)
    return found.warnings[0] if found.warnings else None


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("air", [0.0, 0.01, 0.3, 0.55])
def test_a_ct_scan_has_no_warning(dtype, air):
    assert warning(body(air).astype(dtype)) is None


def test_metal_contrast_and_scanner_padding_are_no_reason_for_a_warning():
    values = body()
    values[::3, 20:24, 20:24] = 3071
    values[:, 30:34, 30:34] = 300
    values[:, :2] = -3024
    assert warning(values.astype(np.int16)) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((body() + 1024).astype(np.uint16), "1024 too high"),
        ((body(0.0) + 1024).astype(np.uint16), "1024 too high"),
        (body().astype(np.int16).view(np.uint16), "wrapped"),
        (np.clip((body() + 200) / 700 * 255, 0, 255).astype(np.uint8), "from 0 to 255"),
        ((body() + 1000).astype(np.float32) / 3000, "span less than 300"),
        ((body() - body().mean()) / body().std(), "span less than 300"),
        (np.zeros((20, 20, 20), np.int16), "all voxels are the same"),
        ((body() > 200).astype(np.uint8) * 20, "span less than 300"),
        ((body() > 200).astype(np.int16) * 1000, "different ones, as in a mask"),
        (np.abs(body()) / 3 + 5, "neither air"),
    ],
)
def test_values_that_cannot_be_hounsfield_units_get_one_warning(values, message):
    found = warning(values)
    assert found is not None
    assert message in found
    assert "are no Hounsfield units" in found


def test_an_empty_sample_says_that_nothing_is_there():
    assert "all voxels are the same" in unit_warning(np.empty(0, np.float32))
