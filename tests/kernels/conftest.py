import numba
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _wraparound_is_meant():
    """Kernels count on integers that wrap around; run without compilation, numpy's scalars would warn of it."""
    with np.errstate(over="ignore" if numba.config.DISABLE_JIT else "warn"):
        yield
