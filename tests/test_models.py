import pytest

import vertloc
from vertloc import models
from vertloc.errors import ModelError
from vertloc.model import save_model
from vertloc.models import DEFAULT, find_model, packaged_models


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package that comes with two models, and an empty working folder."""
    (tmp_path / "models").mkdir()
    for name in (DEFAULT, "other"):
        (tmp_path / "models" / f"{name}.npz").write_bytes(b"")
    monkeypatch.setattr(models, "_FOLDER", tmp_path / "models")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "models"


def test_a_name_is_a_packaged_model_and_nothing_is_the_default(folder):
    assert find_model() == folder / "ct-spine.npz"
    assert find_model("other") == folder / "other.npz"
    assert list(packaged_models()) == ["ct-spine", "other"]


def test_a_path_stays_a_path_whether_it_is_there_or_not(folder):
    for path in ("none.npz", "below/other", str(folder / "other.npz"), "./other"):
        assert str(find_model(path)) in (path, path.removeprefix("./"))


def test_a_file_comes_before_a_packaged_model_of_its_name(folder):
    (folder.parent / "work/other").write_bytes(b"mine")
    assert find_model("other").read_bytes() == b"mine"


def test_an_unknown_name_is_an_error_that_names_the_known_ones(folder):
    with pytest.raises(ModelError, match=r"spine: neither a file nor .* \(packaged: ct-spine, other\)"):
        find_model("spine")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ModelError, match=r"\(packaged: none\)"):
        find_model("spine")
    with pytest.raises(ModelError, match=r"comes without a model; name the file of one \(--model MODEL.npz\)"):
        find_model()


def test_load_model_takes_a_name_a_path_or_nothing(folder, toy_model):
    save_model(toy_model, folder / "ct-spine.npz")
    assert vertloc.load_model().provenance == toy_model.provenance
    assert vertloc.load_model("ct-spine").provenance == toy_model.provenance
    assert vertloc.load_model(folder / "ct-spine.npz").provenance == toy_model.provenance


def test_every_model_that_is_packaged_can_be_loaded():
    for name in packaged_models():
        assert vertloc.load_model(name).provenance.n_scans > 0
