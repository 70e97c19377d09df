"""Shared by all tests: one toy model, trained once a session."""

import numba
import numpy as np
import pytest
from toy import make_toy_scan, toy_config

from vertloc.training import train_on_scans


@pytest.fixture(scope="session")
def toy_scans():
    """Six toy patients; the model has seen the first five."""
    return tuple(make_toy_scan(seed) for seed in range(6))


@pytest.fixture(scope="session")
def toy_model(toy_scans):
    config = toy_config()
    return train_on_scans([scan.training_scan(config) for scan in toy_scans[:5]], config, seed=1, n_jobs=2)


@pytest.fixture(autouse=True)
def _wraparound_is_meant():
    """Kernels count on integers that wrap around; run without compilation, numpy's scalars would warn of it."""
    with np.errstate(over="ignore" if numba.config.DISABLE_JIT else "warn"):
        yield
