import vertloc
from vertloc import versions as module
from vertloc.versions import versions


def test_what_results_depend_on_has_its_version():
    found = versions()
    assert found["vertloc"] == vertloc.__version__
    assert {"python", "numpy", "scipy", "numba", "scikit-learn", "SimpleITK", "machine", "system"} <= set(found)
    assert all(found.values())


def test_an_absent_library_has_an_unknown_version(monkeypatch):
    def absent(name):
        raise module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(module.metadata, "version", absent)
    module._versions.cache_clear()
    assert versions()["numba"] == "unknown"
    module._versions.cache_clear()
