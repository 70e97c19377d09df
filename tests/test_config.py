import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vertloc.config import Config, config_from_dict, read_config
from vertloc.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"


def written(tmp_path, text):
    path = tmp_path / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(tmp_path, text):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        read_config(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 600
    return message.removeprefix(f"{path}: ")


def with_forest(**changes):
    classifier = Config().classifier
    forest = dataclasses.replace(classifier.forest, **changes)
    return dataclasses.replace(Config(), classifier=dataclasses.replace(classifier, forest=forest))


def keys(data, prefix=""):
    for key, value in data.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def test_plain_values_and_back_are_the_same_configuration():
    changed = with_forest(n_trees=7, grower="scikit-learn", thresholds="best", patient_share=0.5)
    for config in (Config(), changed):
        assert config_from_dict(config.as_dict(), "here") == config
    assert changed != Config()


def test_yaml_and_back_is_the_same_configuration(tmp_path):
    assert read_config(written(tmp_path, yaml.safe_dump(Config().as_dict()))) == Config()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path):
    assert isinstance(read_config(path), Config)


def test_the_default_configuration_is_what_the_settings_classes_say():
    stated = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    assert stated == Config().as_dict()
    assert list(keys(stated)) == list(keys(Config().as_dict()))
    run = subprocess.run(
        [sys.executable, CONFIGS.parent / "scripts" / "default_config.py", "--check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CONFIGS.parent)},
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_the_configuration_of_2013_has_neither_voted_centres_nor_a_naming_step():
    config = read_config(CONFIGS / "miccai2013.yaml")
    assert not config.centres.grow
    assert not config.naming.learn
    assert config.prediction.chain.use_chain
    assert (CONFIGS / "miccai2013.yaml").read_text().count("guess") >= 5


def test_the_demo_configuration_has_small_forests_and_all_steps():
    config = read_config(CONFIGS / "demo.yaml")
    assert 8 <= config.classifier.forest.n_trees <= 10
    assert config.centres.forest.n_trees == 6
    assert config.naming.discriminant.n_features < Config().naming.discriminant.n_features
    assert config.centres.grow
    assert config.naming.learn


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "{}", "classifier:\n", "classifier: {forest: }\nnaming:\n  # n: 3\n"]
)
def test_what_is_left_out_keeps_its_default(tmp_path, text):
    assert read_config(written(tmp_path, text)) == Config()


def test_a_byte_order_mark_and_crlf_do_not_matter(tmp_path):
    config = read_config(written(tmp_path, b"\xef\xbb\xbfclassifier:\r\n  forest:\r\n    n_trees: 3\r\n"))
    assert config == with_forest(n_trees=3)


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1E-3", "0.001", ".001", "10e-4"])
def test_small_numbers_may_be_written_in_any_usual_way(tmp_path, text):
    config = read_config(written(tmp_path, f"prediction: {{naming: {{smallest_probability: {text}}}}}"))
    assert config.prediction.naming.smallest_probability == 0.001


def test_whole_numbers_do_for_lengths(tmp_path):
    assert read_config(written(tmp_path, "preprocess: {spacing_mm: 2}")).preprocess.spacing_mm == 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clasifier: {forest: {}}", "clasifier: unknown key; the nearest known one is classifier"),
        (
            "classifier: {forrest: {n_trees: 3}}",
            "classifier.forrest: unknown key; the nearest known one is classifier.f",
        ),
        (
            "centres: {forest: {trees: 3}}",
            "centres.forest.trees: unknown key; the nearest known one is centres.forest.n_t",
        ),
        ("n_trees: 3", "n_trees: unknown key; the nearest known one is classifier.forest.n_trees"),
        ("reach: 3", "reach: unknown key; the nearest known one is centres.samples.reach_mm"),
        ("spacing: 3", "spacing: unknown key; the nearest known one is preprocess.spacing_mm"),
        ("1: 2", "1: unknown key; the nearest known one is "),
        ("preprocess: {Spacing_mm: 3}", "preprocess.Spacing_mm: unknown key; the nearest known one is preprocess.spac"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path, text, message):
    assert message in refusal(tmp_path, text)


def test_all_unknown_keys_are_listed_at_once(tmp_path):
    message = refusal(tmp_path, "forrest: {}\nnaming: {gorw: false}\nprediction: {chain: {gapcost: 1}}")
    assert all(key in message for key in ("forrest", "naming.gorw", "chain.gapcost"))


@pytest.mark.parametrize(
    "value",
    [
        "true",
        "'30'",
        "thirty",
        "30.5",
        "[30]",
        "{a: 30}",
        ".nan",
        ".inf",
        "null",
        "2001-01-01",
        "!!binary aGk=",
        "!!set {a}",
    ],
)
def test_a_value_of_the_wrong_type_names_its_field(tmp_path, value):
    message = refusal(tmp_path, f"classifier: {{forest: {{n_trees: {value}}}}}")
    assert "classifier.forest.n_trees" in message


@pytest.mark.parametrize("value", ["true", "'3'", "3 mm", "[3, 3, 3]", "{}", "null", ".nan", ".inf", "-.inf"])
def test_a_length_that_is_no_finite_number_names_its_field(tmp_path, value):
    assert "spacing_mm" in refusal(tmp_path, f"preprocess: {{spacing_mm: {value}}}")


@pytest.mark.parametrize("value", ["1", "0", "'true'", "maybe", "[true]"])
def test_a_switch_is_true_or_false(tmp_path, value):
    assert "naming.learn" in refusal(tmp_path, f"naming: {{learn: {value}}}")


def numbers(settings, path=()):
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from numbers(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield ".".join((*path, key))


@pytest.mark.parametrize("value", [math.nan, -1.0e300, 1.0e300])
@pytest.mark.parametrize("field", list(numbers(Config().as_dict())))
def test_no_number_may_be_nan_or_absurd(field, value):
    *sections, name = field.split(".")
    data = {name: value}
    for section in reversed(sections):
        data = {section: data}
    with pytest.raises(ConfigError, match=rf"here: {field}: "):
        config_from_dict(data, "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classifier: {forest: {n_trees: 0}}", "classifier.forest.n_trees: Input should be greater than or equal to 1"),
        ("classifier: {forest: {n_trees: 20000}}", "Input should be less than or equal to 10000, got 20000"),
        (
            "centres: {forest: {thresholds: all}}",
            "centres.forest.thresholds: Input should be 'random' or 'best', got 'a",
        ),
        (
            "centres: {forest: {features_per_tree: 10}}",
            "centres.forest: features_per_node <= features_per_tree must hold",
        ),
        (
            "naming: {discriminant: {shrinkage: 0}}",
            "naming.discriminant.shrinkage: Input should be greater than 0, got 0",
        ),
        (
            "naming: {samples: {changes: {widest_mm: 60}}}",
            "naming.samples.changes: narrowest_mm <= widest_mm must hold",
        ),
        (
            "naming: {features: {highest_hu: -200}}",
            "naming.features: lowest_hu -150.0 must lie below highest_hu -200.0",
        ),
        ("preprocess: {spacing_mm: 0}", "preprocess.spacing_mm: Input should be greater than or equal to 0.5, got 0"),
        ("preprocess: {lowest_hu: 2000}", "preprocess: lowest_hu 2000.0 must lie below highest_hu 1500.0"),
        ("centres: {features: {outside: mirror}}", "Input should be 'replicate' or 'constant', got 'mirror'"),
        (
            "centres: {features: {outside_hu: 1e9}}",
            "centres.features.outside_hu: Input should be less than or equal to 1",
        ),
        ("centres: {features: {smallest_size_mm: 60}}", "smallest_size_mm 60.0, largest_size_mm 25.0"),
        ("prediction: {posterior: {stop_after_trees: -1}}", "prediction.posterior.stop_after_trees: Input should be"),
        ("classifier: 3", "classifier: Input should be an object, got 3"),
        ("classifier: {forest: [n_trees]}", "classifier.forest: Input should be an object, got ['n_trees']"),
    ],
)
def test_an_impossible_value_names_its_field_and_what_was_wanted(tmp_path, text, message):
    assert message in refusal(tmp_path, text)


def test_problems_in_several_sections_are_listed_at_once(tmp_path):
    message = refusal(
        tmp_path, "centres: {forest: {n_trees: 0}}\nprediction: {chain: {gap_cost: -1}, density: {neighbours: x}}"
    )
    assert all(key in message for key in ("centres.forest.n_trees", "chain.gap_cost", "density.neighbours"))


@pytest.mark.parametrize("section", ["classifier", "centres", "naming"])
def test_features_that_reach_too_many_voxels_are_refused_because_of_the_memory_they_would_take(tmp_path, section):
    text = f"preprocess: {{spacing_mm: 2}}\n{section}: {{features: {{largest_offset_mm: 399, largest_size_mm: 20}}}}"
    wanted = f"{section}.features: largest_offset_mm + largest_size_mm / 2 = 409 mm reach 204 voxels at preprocess.spac"
    assert wanted in refusal(tmp_path, text)


def test_boxes_whose_sum_would_overflow_are_refused(tmp_path):
    # (250 + 1)^3 voxels of up to 2500 HU do not fit 31 bits.
    text = "preprocess: {spacing_mm: 1}\nclassifier: {features: {largest_size_mm: 200, largest_offset_mm: 40}}"
    assert "classifier.features: a box of largest_size_mm 200 holds too many voxels" in refusal(tmp_path, text)


@pytest.mark.parametrize("spacing_mm", [1.5, 2.0, 4.0, 20.0])
def test_the_usual_voxel_sizes_need_no_other_change(tmp_path, spacing_mm):
    config = read_config(written(tmp_path, f"preprocess: {{spacing_mm: {spacing_mm}}}"))
    assert config.preprocess.spacing_mm == spacing_mm


def test_a_key_or_section_that_stands_twice_is_an_error_with_both_lines(tmp_path):
    assert "line 3: n_trees stands already in line 2" in refusal(tmp_path, "forest:\n  n_trees: 3\n  n_trees: 4\n")
    message = refusal(tmp_path, "centres: {grow: true}\nshape: {}\ncentres: {grow: true}\n")
    assert "line 3: centres stands already in line 1" in message
    assert "n_trees stands already" in refusal(tmp_path, "forest: {n_trees: 3, 'n_trees': 4}")


def test_the_same_key_in_two_sections_is_no_repetition(tmp_path):
    text = "classifier: {forest: {n_trees: 3}}\ncentres: {forest: {n_trees: 4}}\n"
    config = read_config(written(tmp_path, text))
    assert (config.classifier.forest.n_trees, config.centres.forest.n_trees) == (3, 4)


def test_aliases_are_refused_before_they_unfold(tmp_path):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    assert refusal(tmp_path, bomb) == "YAML aliases are not allowed here"
    assert refusal(tmp_path, "forest: &f {n_trees: 3}\nnaming_forest: *f\n") == "YAML aliases are not allowed here"


@pytest.mark.parametrize("text", ["3", "forest", "- forest\n- naming", "2001-01-01"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    assert "expected a mapping of sections to settings" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "forest: {n_trees: 3",
        "forest:\n\tn_trees: 3",
        "a: b: c",
        "forest: {}\n---\nforest: {}\n",
        "!!python/object/apply:os.system ['true']",
        "forest: !!python/name:os.system",
        "!!timestamp soon",
        "!!int ''",
        "!!float x",
        "!!bool perhaps",
        "!!map [a]",
        "!!map abc",
        "? [a]\n: b",
        "[" * 5000,
        "forest: {n_trees: " + "9" * 5000 + "}",
        "%YAML 3.0\n---\n",
        "key: \x00",
        "forest: {n_trees: 0x" + "f" * 5000 + "}",
    ],
)
def test_what_is_no_plain_yaml_is_one_error_line(tmp_path, text):
    assert refusal(tmp_path, text)


def test_a_binary_file_is_said_to_be_one(tmp_path):
    assert refusal(tmp_path, bytes(range(256))) == "expected a text file, got binary data"


def test_a_missing_file_and_a_folder_are_said_to_be_so(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_config(tmp_path)


def test_a_huge_file_is_refused_unread(tmp_path):
    assert "expected a small text file, got more than 100000 bytes" in refusal(tmp_path, "#" * 100_001)


@pytest.mark.parametrize("data", [None, [], "shape", 3, {"shape": 3}, {"shape": {"prior_pairs": object()}}, {3: {}}])
def test_plain_values_of_another_kind_are_errors_that_name_their_source(data):
    with pytest.raises(ConfigError, match=r"^the header: "):
        config_from_dict(data, "the header")
