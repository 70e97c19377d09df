import dataclasses
import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import numpy as np
import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from vertloc import model as module
from vertloc.config import PredictionSettings
from vertloc.errors import ModelError
from vertloc.io import model_file
from vertloc.localization import localize
from vertloc.model import load_model, save_model
from vertloc.settings import CHECKED, Before
from vertloc.vertebrae import VERTEBRAE

HEADER = "header.json"


@pytest.fixture(scope="module")
def saved(toy_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "toy.npz"
    save_model(toy_model, path)
    return path


class Parts:
    """A model file taken apart; put together again, its checksums are right unless a test spoils them."""

    def __init__(self, path):
        with zipfile.ZipFile(path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.header = json.loads(self.members.pop(HEADER))

    def __getitem__(self, name):
        return np.load(io.BytesIO(self.members[f"{name}.npy"]), allow_pickle=False)

    def __setitem__(self, name, array):
        self.raw(name, npy(array))
        self.header["sha256"][name] = checksum(array)

    def raw(self, name, data):
        self.members[f"{name}.npy"] = data

    def edit(self, name, index, value):
        array = self[name].copy()
        array[index] = value
        self[name] = array

    def write(self, path, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr(HEADER, json.dumps(self.header))
            for name, data in self.members.items():
                archive.writestr(name, data)
        return path


def npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def checksum(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.fixture
def parts(saved):
    return Parts(saved)


def refusal(path):
    with pytest.raises(ModelError) as error:
        load_model(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def arrays_of(model):
    for forest in (model.classifier, model.centre_forest):
        features = np.where(forest.children[:, 0] < 0, 0, forest.features)  # a leaf's feature says nothing
        yield from (forest.roots, forest.children, features, forest.thresholds, forest.rows())
    yield from (model.discriminant.weights, model.discriminant.offsets, model.discriminant.gram)
    for part in (model.classifier, model.centre_forest, model.discriminant):
        yield from (part.pool.offset_mm, part.pool.size_mm)
    yield from (model.shape.mean_mm, model.shape.covariance_mm2)


# Round trip


def test_a_model_comes_back_with_the_same_arrays_settings_and_provenance(toy_model, saved):
    loaded = load_model(saved)
    for name in ("preprocess", "label_radius_factor", "settings"):
        assert getattr(loaded, name) == getattr(toy_model, name)
    assert loaded.provenance == toy_model.provenance
    for before, after in zip(arrays_of(toy_model), arrays_of(loaded), strict=True):
        np.testing.assert_array_equal(after, before, strict=True)


def test_a_loaded_model_predicts_the_same_to_the_last_bit(toy_model, toy_scans, saved):
    before = localize(toy_scans[5].volume, toy_model)
    after = localize(toy_scans[5].volume, load_model(saved))
    assert after.labels == before.labels
    assert len(before.labels) > 3
    for name in ("confidence", "log_odds"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.world.points_mm, before.world.points_mm)


def test_the_same_model_gives_the_same_bytes(toy_model, saved, tmp_path):
    save_model(toy_model, tmp_path / "a.npz")
    save_model(load_model(saved), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes() == saved.read_bytes()


def test_a_model_without_the_optional_parts_comes_back_without_them(toy_model, tmp_path):
    plain = dataclasses.replace(toy_model, centre_forest=None, discriminant=None)
    save_model(plain, tmp_path / "plain.npz")
    loaded = load_model(tmp_path / "plain.npz")
    assert loaded.centre_forest is None
    assert loaded.discriminant is None


def test_other_programs_can_read_the_arrays_without_pickle(saved, toy_model):
    with np.load(saved, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["classifier/leaf_shares"], toy_model.classifier.leaf_values.shares)


def test_the_rewriting_of_these_tests_alone_spoils_nothing(parts, tmp_path, toy_model):
    assert load_model(parts.write(tmp_path / "same.npz")).provenance == toy_model.provenance


STORED = sorted((Path(__file__).parent / "stored").glob("model-format-*.npz"))


def test_there_is_a_stored_model_of_this_format():
    assert f"model-format-{model_file.FORMAT_VERSION}.npz" in {path.name for path in STORED}


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_model_stored_long_ago_still_loads_and_finds_the_same(path, toy_scans):
    expected = json.loads(path.with_suffix(".json").read_text())
    found = localize(toy_scans[5].volume, load_model(path))
    assert list(found.labels) == list(expected["points_mm"])
    assert len(found.labels) >= 5
    # Other processors may round otherwise in the last digits.
    np.testing.assert_allclose(found.world.points_mm, list(expected["points_mm"].values()), atol=1e-6)
    np.testing.assert_allclose(found.confidence, list(expected["confidence"].values()), atol=1e-6)


# What is no model file


def test_a_missing_file_and_a_folder_are_said_to_be_so(tmp_path):
    assert refusal(tmp_path / "none.npz") == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "expected a model file, got a folder"


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x80\x04N.", bytes(10_000)])
def test_what_is_no_zip_is_no_model(tmp_path, data):
    path = tmp_path / "m.npz"
    path.write_bytes(data)
    assert "not a model file, or a damaged one" in refusal(path)


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused(tmp_path, saved, share):
    data = saved.read_bytes()
    path = tmp_path / "m.npz"
    path.write_bytes(data[: int(share * len(data))])
    assert "not a model file, or a damaged one" in refusal(path)


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros(3))
    assert refusal(tmp_path / "m.npz") == "no header.json inside; not a vertloc model"


@pytest.mark.parametrize("header", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"nul"])
def test_a_header_that_is_not_json_is_refused(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr(HEADER, header)
    assert "the header is not JSON" in refusal(tmp_path / "m.npz")


@pytest.mark.parametrize("header", [b"[]", b"3", b"null", b"{}", b'{"format": "other"}'])
def test_a_header_of_something_else_is_refused(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr(HEADER, header)
    assert refusal(tmp_path / "m.npz") == "the header does not describe a vertloc model"


def test_a_huge_header_is_refused_unread(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr(HEADER, b" " * 4_000_001)
    assert refusal(tmp_path / "m.npz") == "the header is larger than 4000000 bytes"


# A header that does not fit


@pytest.mark.parametrize("version", [0, 1, 4, "2", None, True, [2], 2.5])
def test_another_format_version_is_refused(parts, tmp_path, version):
    parts.header["format_version"] = version
    assert f"format version {version!r}, this vertloc reads 2 and 3; train the model again" in refusal(
        parts.write(tmp_path / "m.npz")
    )


@pytest.mark.parametrize("labels", [list(VERTEBRAE[::-1]), list(VERTEBRAE[1:]), [], None, "C1"])
def test_another_label_table_is_refused(parts, tmp_path, labels):
    parts.header["labels"] = labels
    assert refusal(parts.write(tmp_path / "m.npz")) == "the label table differs from C1 ... S2"


def test_a_wrong_checksum_is_refused(parts, tmp_path):
    parts.header["sha256"]["naming/weights"] = "0" * 64
    message = refusal(parts.write(tmp_path / "m.npz"))
    assert message == "naming/weights is damaged: its checksum differs from the header's"


@pytest.mark.parametrize("checksums", [None, [], "x", {}])
def test_missing_checksums_are_refused(parts, tmp_path, checksums):
    parts.header["sha256"] = checksums
    assert "checksum" in refusal(parts.write(tmp_path / "m.npz"))


@pytest.mark.parametrize("key", ["settings", "provenance", "labels", "sha256", "format", "format_version"])
@pytest.mark.parametrize("value", ["absent", None, 7, "x", [], {}, [[]], {"a": 1}])
def test_every_part_of_the_header_must_be_there_and_of_its_kind(parts, tmp_path, key, value):
    if value == "absent":
        del parts.header[key]
    else:
        parts.header[key] = value
    assert refusal(parts.write(tmp_path / "m.npz"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", float("inf")),
        ("seed", "0"),
        ("n_scans", 2.5),
        ("n_patients", None),
        ("folds", "fold1"),
        ("folds", [1]),
        ("labels", []),
        ("labels", {"L1": "many"}),
        ("vertloc", 1),
        ("vertloc", ["0.1"]),
    ],
)
def test_a_garbled_provenance_names_its_field(parts, tmp_path, key, value):
    parts.header["provenance"][key] = value
    assert f"provenance.{key}" in refusal(parts.write(tmp_path / "m.npz"))


def test_an_unknown_setting_names_the_nearest_known_one(parts, tmp_path):
    parts.header["settings"]["prediction"]["chain"]["gap_cots"] = 3
    message = refusal(parts.write(tmp_path / "m.npz"))
    assert message == (
        "its settings: prediction.chain.gap_cots: unknown key; the nearest known one is prediction.chain.gap_cost"
    )


def test_a_model_holds_no_setting_that_only_training_reads(parts):
    stored = parts.header["settings"]
    assert list(stored["prediction"]) == ["posterior", "votes", "density", "chain", "naming", "certainty"]
    rule = ["largest_offset_mm", "largest_size_mm", "outside", "outside_hu", "lowest_hu", "highest_hu"]
    assert [list(stored[name]) for name in ("classifier", "centres", "naming")] == [rule] * 3
    assert "n_trees: 4" in parts.header["provenance"]["configuration"]


def leaves(settings, path=()):
    for key, value in settings.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]


def test_a_setting_that_is_missing_was_added_later_and_has_its_default(parts, tmp_path):
    all_keys = list(leaves(parts.header["settings"]))
    assert len(all_keys) > 35
    for *sections, key in all_keys:
        stored = json.loads(json.dumps(parts.header["settings"]))
        section = stored
        for name in sections:
            section = section[name]
        del section[key]
        if key == "label_radius_factor":  # no part of a settings class, and there from the beginning
            continue
        kept, parts.header["settings"] = parts.header["settings"], stored
        model = load_model(parts.write(tmp_path / "m.npz"))
        parts.header["settings"] = kept
        if sections[0] == "prediction":
            found, default = model.settings, PredictionSettings()
            for name in sections[1:]:
                found, default = getattr(found, name), getattr(default, name)
            assert getattr(found, key) == getattr(default, key)


def with_a_new_key(kind):
    """The settings class of some later version: one more key in it, and in every class below it."""
    annotations, values = {"added_later": Annotated[int, Field(ge=0), Before(4, 5)]}, {"added_later": 7}
    for field in dataclasses.fields(kind):
        hint = get_type_hints(kind)[field.name]
        section = next((k for k in (hint, *get_args(hint)) if dataclasses.is_dataclass(k)), None)
        if section is not None:
            later = with_a_new_key(section)
            annotations[field.name] = later if hint is section else later | None
    later = type(kind.__name__, (kind,), {"__annotations__": annotations, "__module__": __name__, **values})
    return checked(frozen=True, config=CHECKED)(later)


@pytest.mark.parametrize(("version", "value"), [(3, 5), (4, 7)])
def test_a_model_loads_after_a_key_was_added_to_every_settings_class(
    parts, toy_model, toy_scans, tmp_path, monkeypatch, version, value
):
    before = localize(toy_scans[5].volume, toy_model)
    later = with_a_new_key(module.StoredSettings)
    monkeypatch.setattr(module, "StoredSettings", later)
    monkeypatch.setattr(model_file, "_READ_VERSIONS", (3, 4))
    parts.header["format_version"] = version
    model = load_model(parts.write(tmp_path / "m.npz"))
    assert model.preprocess.added_later == model.settings.chain.added_later == value
    assert model.classifier.pool.rule.added_later == model.discriminant.pool.rule.added_later == value
    after = localize(toy_scans[5].volume, model)
    np.testing.assert_array_equal(after.world.points_mm, before.world.points_mm)
    np.testing.assert_array_equal(after.confidence, before.confidence)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocess.spacing_mm": 0.5, "classifier.largest_offset_mm": 400.0}, "classifier: largest_offset_mm + "),
        ({"preprocess.spacing_mm": 0.01}, "preprocess.spacing_mm: Input should be greater than or equal to 0.5"),
        ({"naming.largest_offset_mm": 1e9}, "naming.largest_offset_mm: Input should be less than or equal to 400"),
        ({"naming.largest_size_mm": float("inf")}, "largest_size_mm"),
        ({"classifier.outside_hu": float("nan")}, "outside_hu"),
        ({"preprocess.spacing_mm": 0.9, "centres.largest_size_mm": 200.0}, "too many voxels"),
    ],
)
def test_settings_that_would_exhaust_the_memory_are_refused(parts, tmp_path, changes, message):
    for key, value in changes.items():
        section, name = key.split(".")
        parts.header["settings"][section][name] = value
    assert message in refusal(parts.write(tmp_path / "m.npz"))


def test_what_could_not_be_loaded_is_not_saved_over_a_good_model(toy_model, saved, tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(saved.read_bytes())
    # What one annotation in micrometres makes of the shape model.
    shape = dataclasses.replace(toy_model.shape, mean_mm=toy_model.shape.mean_mm * 1000)
    with pytest.raises(ModelError, match="shape/mean_mm: not the displacements between vertebrae"):
        save_model(dataclasses.replace(toy_model, shape=shape), path)
    leaves = toy_model.classifier.leaf_values
    forest = toy_model.classifier.with_leaf_values(dataclasses.replace(leaves, shares=leaves.shares // 2))
    with pytest.raises(ModelError, match="classifier/leaf_shares: expected class distributions"):
        save_model(dataclasses.replace(toy_model, classifier=forest), path)
    assert path.read_bytes() == saved.read_bytes()


# Arrays that do not fit


def test_every_array_must_be_there(parts, tmp_path):
    for name in list(parts.header["sha256"]):
        data = parts.members.pop(f"{name}.npy")
        # What a file does not have is told by the array that is looked for first.
        assert "is missing" in refusal(parts.write(tmp_path / "m.npz"))
        parts.members[f"{name}.npy"] = data


def test_every_array_must_have_its_type_and_shape(parts, tmp_path):
    for name in list(parts.header["sha256"]):
        right = parts[name]
        other = np.float32 if right.dtype != np.float32 else np.float64
        for wrong in (right.astype(other), right[None], right[..., :0], right[:-1], right.reshape(-1)[:0]):
            if wrong.shape == right.shape[:1] and wrong.dtype == right.dtype:
                continue
            parts[name] = wrong
            assert name.partition("/")[0] in refusal(parts.write(tmp_path / "m.npz"))
        parts[name] = right


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_number_may_be_infinite_or_none(parts, tmp_path, value):
    for name in list(parts.header["sha256"]):
        right = parts[name]
        if right.dtype.kind == "f":
            parts.edit(name, (-1,) * right.ndim, value)
            assert refusal(parts.write(tmp_path / "m.npz")) == f"{name}: holds values that are not finite"
            parts[name] = right


@pytest.mark.parametrize("prefix", ["classifier", "centres"])
class TestEveryForest:
    def n_leaves(self, parts, prefix):
        return parts[f"{prefix}/weight" if prefix == "centres" else f"{prefix}/leaf_sizes"].size

    def test_features_lie_in_the_pool(self, parts, tmp_path, prefix):
        for name, value in (("features", 2**16 - 1), ("first_features", -1), ("first_features", 2**31 - 1)):
            right = parts[f"{prefix}/{name}"]
            parts.edit(f"{prefix}/{name}", 0, value)
            assert "names a feature that is not in the pool" in refusal(parts.write(tmp_path / "m.npz"))
            parts[f"{prefix}/{name}"] = right

    def test_an_empty_pool_has_no_feature_zero_either(self, parts, tmp_path, prefix):
        for name in ("offset_mm", "size_mm"):
            parts[f"{prefix}/{name}"] = np.empty((0, 2, 3), np.float32)
        parts[f"{prefix}/features"] = np.zeros_like(parts[f"{prefix}/features"])
        parts[f"{prefix}/first_features"] = np.zeros_like(parts[f"{prefix}/first_features"])
        assert prefix in refusal(parts.write(tmp_path / "m.npz"))

    def test_every_tree_has_its_first_feature(self, parts, tmp_path, prefix):
        right = parts[f"{prefix}/first_features"]
        for wrong in (right[1:], right[:0], np.append(right, right[-1:])):
            parts[f"{prefix}/first_features"] = wrong
            assert f"{prefix}/first_features: found" in refusal(parts.write(tmp_path / "m.npz"))

    def test_nodes_that_are_no_whole_trees_are_refused(self, parts, tmp_path, prefix):
        n_inner, n_leaves = parts[f"{prefix}/features"].size, self.n_leaves(parts, prefix)
        is_leaf = np.unpackbits(parts[f"{prefix}/is_leaf"])[: n_inner + n_leaves]
        # With the last leaf first, that one is a tree, and the last tree lacks it.
        parts[f"{prefix}/is_leaf"] = np.packbits(np.roll(is_leaf, 1))
        assert refusal(parts.write(tmp_path / "m.npz")) == f"{prefix}/is_leaf: the last tree is not finished"
        for wrong in (np.zeros_like(is_leaf), np.ones_like(is_leaf), is_leaf[:-9], np.append(is_leaf, is_leaf)):
            parts[f"{prefix}/is_leaf"] = np.packbits(wrong)
            message = refusal(parts.write(tmp_path / "m.npz"))
            assert message == f"{prefix}/is_leaf: expected {n_inner + n_leaves} nodes, {n_leaves} of them leaves"

    def test_a_tree_with_more_waiting_children_than_a_walk_holds_is_refused(self, parts, tmp_path, prefix):
        n_inner, n_leaves = parts[f"{prefix}/features"].size, self.n_leaves(parts, prefix)
        assert n_inner > 511
        # A single chain of inner nodes, and small trees of what is left.
        is_leaf = np.concatenate([np.zeros(n_inner), np.ones(n_leaves)]).astype(np.uint8)
        parts[f"{prefix}/is_leaf"] = np.packbits(is_leaf)
        message = refusal(parts.write(tmp_path / "m.npz"))
        assert message == f"{prefix}/is_leaf: {n_inner} right children wait in one tree, a walk can hold 511"


@pytest.mark.parametrize("wrong", ["one more", "one less", "none", "another class", "a share", "no leaf"])
def test_leaves_are_distributions(parts, tmp_path, wrong):
    sizes, shares = parts["classifier/leaf_sizes"], parts["classifier/leaf_shares"]
    array, index, value = {
        "one more": ("leaf_sizes", 0, sizes[0] + 1),
        "one less": ("leaf_sizes", 0, sizes[0] - 1),
        "none": ("leaf_sizes", slice(None), 0),
        "another class": ("leaf_classes", 3, 27),
        "a share": ("leaf_shares", 2, shares[2] ^ 1),
        "no leaf": ("leaf_sizes", None, None),
    }[wrong]
    if wrong == "no leaf":
        parts["classifier/leaf_sizes"] = sizes[:0]
    else:
        parts.edit(f"classifier/{array}", index, value)
    assert f"classifier/{array}: expected" in refusal(parts.write(tmp_path / "m.npz"))


def test_a_leaf_of_no_entry_among_others_is_refused(parts, tmp_path):
    sizes = parts["classifier/leaf_sizes"].copy()
    sizes[1] += sizes[0]
    sizes[0] = 0
    parts["classifier/leaf_sizes"] = sizes
    assert "classifier/leaf_sizes: expected sizes of at least 1" in refusal(parts.write(tmp_path / "m.npz"))


def test_votes_do_not_point_further_than_a_metre(parts, tmp_path):
    for value in (8001, -32768):
        parts.edit("centres/displacement", (1, 4), value)
        assert refusal(parts.write(tmp_path / "m.npz")) == "centres/displacement: expected displacements of at most 1 m"


@pytest.mark.parametrize("prefix", ["classifier", "centres", "naming"])
def test_features_reach_no_further_than_the_settings_say(parts, tmp_path, prefix):
    for name, value in (("offset_mm", 1e3), ("offset_mm", -1e3), ("size_mm", 1e3), ("size_mm", -1)):
        right = parts[f"{prefix}/{name}"]
        parts.edit(f"{prefix}/{name}", (5, 0, 1), value)
        assert f"{prefix}/offset_mm, size_mm: a feature reaches further" in refusal(parts.write(tmp_path / "m.npz"))
        parts[f"{prefix}/{name}"] = right


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weights", (26, 300)),
        ("weights", (27, 299)),
        ("weights", (300, 27)),
        ("offsets", (26,)),
        ("offsets", (27, 1)),
        ("gram", (26, 26)),
        ("gram", (27, 26)),
    ],
)
def test_the_discriminant_has_a_weight_for_every_feature_and_an_offset_for_every_class(parts, tmp_path, name, shape):
    right = parts[f"naming/{name}"]
    assert len(parts["naming/offset_mm"]) == 300
    parts[f"naming/{name}"] = np.zeros(shape, right.dtype)
    message = refusal(parts.write(tmp_path / "m.npz"))
    assert message == f"naming/{name}: found {right.dtype} {shape}, wanted {np.dtype(right.dtype)} {right.shape}"


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("weights", (3, 7), 1.1e6, "weights: out of all proportion"),
        ("weights", (3, 7), -3e38, "weights: out of all proportion"),
        ("offsets", 3, 1.1e9, "offsets: out of all proportion"),
        ("offsets", 3, -1e300, "offsets: out of all proportion"),
        ("gram", (3, 3), 1.1e9, "gram: expected a symmetric matrix of reasonable numbers"),
        ("gram", (20, 21), 12345.0, "gram: expected a symmetric matrix of reasonable numbers"),
    ],
)
def test_a_discriminant_out_of_all_proportion_is_refused(parts, tmp_path, name, index, value, message):
    parts.edit(f"naming/{name}", index, value)
    assert refusal(parts.write(tmp_path / "m.npz")) == f"naming/{message}"


@pytest.mark.parametrize("n", [0, 20_001])
def test_a_discriminant_of_no_or_too_many_features_is_refused(parts, tmp_path, n):
    for name in ("offset_mm", "size_mm"):
        parts[f"naming/{name}"] = np.zeros((n, 2, 3), np.float32)
    parts["naming/weights"] = np.zeros((27, n), np.float32)
    message = refusal(parts.write(tmp_path / "m.npz"))
    assert message == f"naming/offset_mm: expected 1 to 20000 features, got {n}"


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("shape/mean_mm", slice(None), 0.0),
        ("shape/mean_mm", (3, 2), -1e6),
        ("shape/covariance_mm2", (0, 0, 0), -1.0),
        ("shape/covariance_mm2", (0, 0, 1), 3.0),
        ("shape/covariance_mm2", slice(None), 0.0),
        ("shape/covariance_mm2", (0, 0, 0), 1e300),
        ("shape/log_ends", (0, 3), 1e6),
        ("shape/posture_mean", (2, 0), 1e6),
        ("shape/posture_mean", (2, 1), 7.0),
        ("shape/posture_scale", (0, 0, 0), -1.0),
        ("shape/posture_scale", (1, 0, 1), 3.0),
        ("shape/posture_scale", slice(None), 0.0),
        ("shape/posture_scale", (0, 0, 0), 1e300),
        ("shape/posture_freedom", 0, 0.0),
    ],
)
def test_a_shape_that_no_spine_has_is_refused(parts, tmp_path, name, index, value):
    parts.edit(name, index, value)
    assert refusal(parts.write(tmp_path / "m.npz")).startswith(name)


# Crafted files


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_inside_is_refused_and_never_run(parts, tmp_path):
    mark = tmp_path / "was-run"
    payload = Payload(str(mark))
    array = np.empty(1, object)
    array[0] = payload
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    for data in (out.getvalue(), pickle.dumps(payload)):
        parts.raw("classifier/leaf_shares", data)
        assert "classifier/leaf_shares: expected an array of" in refusal(parts.write(tmp_path / "m.npz"))
    pickle.loads(pickle.dumps(Payload(str(tmp_path / "control")))).close()
    assert (tmp_path / "control").exists()
    assert not mark.exists()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 27), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999, 99999999999), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 27), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 27), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 27), }",
        "(" * 5000,
        "__import__('os')",
        "",
    ],
)
def test_an_array_header_that_lies_is_refused_before_anything_is_allocated(parts, tmp_path, header):
    text = (header + " " * (-(len(header) + 11) % 64) + "\n").encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(108)
    parts.raw("classifier/leaf_shares", data)
    assert refusal(parts.write(tmp_path / "m.npz")).startswith("classifier/leaf_shares: ")


def test_a_bomb_is_refused_unread(parts, tmp_path):
    parts.raw("classifier/leaf_shares", bytes(200_000_000))
    path = parts.write(tmp_path / "bomb.npz", zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 5_000_000
    assert refusal(path) == "its members unfold to more than 20 times the file, as no vertloc model does"


def test_members_compressed_in_another_way_are_refused(parts, tmp_path):
    path = parts.write(tmp_path / "m.npz", zipfile.ZIP_BZIP2)
    assert refusal(path) == "members compressed in a way that no vertloc model is"


def test_members_that_no_model_has_are_not_looked_at(parts, tmp_path, toy_model):
    parts.members["../../outside.npy"] = b"never read"
    parts.members["notes.txt"] = b"never read"
    assert load_model(parts.write(tmp_path / "m.npz")).provenance == toy_model.provenance
    assert not (tmp_path.parent.parent / "outside.npy").exists()


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bytes_never_do_more_than_make_a_model_error(saved, tmp_path, seed):
    # Most of the file is arrays; half of the flips go to the places where the structure is: headers and directory.
    rng = np.random.default_rng(seed)
    original = np.frombuffer(saved.read_bytes(), np.uint8)
    with zipfile.ZipFile(saved) as archive:
        starts = [info.header_offset for info in archive.infolist()]
        directory = archive.start_dir
    path = tmp_path / "m.npz"
    for variant in range(50):
        data = original.copy()
        where = rng.integers(len(data), size=int(rng.integers(1, 4)))
        if variant % 2:
            near = [rng.choice(starts) + rng.integers(160), directory + rng.integers(len(data) - directory)]
            where = np.append(where[:1], near[variant // 2 % 2])
        data[where] ^= rng.integers(1, 256, len(where)).astype(np.uint8)
        path.write_bytes(data.tobytes())
        try:
            load_model(path)
        except ModelError as error:
            assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("seed", range(3))
def test_wrong_numbers_under_right_checksums_are_refused_or_do_no_harm(saved, toy_scans, tmp_path, seed):
    rng = np.random.default_rng(seed)
    n_loaded = 0
    for _ in range(16):
        parts = Parts(saved)
        name = str(rng.choice(sorted(parts.header["sha256"])))
        bits = parts[name].copy().reshape(-1).view(np.uint8)
        bits[rng.integers(len(bits), size=2)] ^= rng.integers(1, 256, 2).astype(np.uint8)
        parts[name] = bits.view(parts[name].dtype).reshape(parts[name].shape)
        try:
            model = load_model(parts.write(tmp_path / "m.npz"))
        except ModelError:
            continue
        n_loaded += 1
        assert np.isfinite(localize(toy_scans[5].volume, model).confidence).all()
    assert 0 < n_loaded < 16
