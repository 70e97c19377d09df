import dataclasses
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


def keys(data, prefix=""):
    for key, value in data.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")


def test_plain_values_and_back_are_the_same_configuration():
    changed = dataclasses.replace(
        Config(),
        forest=dataclasses.replace(
            Config().forest, n_trees=7, grower="scikit-learn", thresholds="best", patient_share=0.5
        ),
    )
    for config in (Config(), changed):
        assert config_from_dict(config.as_dict(), "here") == config
    assert changed != Config()


def test_yaml_and_back_is_the_same_configuration(tmp_path):
    assert read_config(written(tmp_path, yaml.safe_dump(Config().as_dict()))) == Config()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path):
    assert isinstance(read_config(path), Config)


def test_the_default_configuration_sets_every_key_in_the_order_of_the_data_flow_to_the_built_in_value():
    path = CONFIGS / "default.yaml"
    assert read_config(path) == Config()
    stated = yaml.safe_load(path.read_text())
    assert stated == Config().as_dict()
    flow = (
        "preprocess dense_labels sampling features forest centre_features centre_forest naming_features"
        " naming_samples naming_forest posterior centre_votes density shape_model shape naming"
    )
    assert list(stated) == flow.split()
    for section, values in Config().as_dict().items():
        assert list(stated[section]) == list(values)


def test_the_configuration_of_2013_has_neither_voted_centres_nor_a_naming_step():
    config = read_config(CONFIGS / "miccai2013.yaml")
    assert not config.centre_votes.use_votes
    assert not config.naming.use_naming
    assert config.shape.use_chain
    assert (CONFIGS / "miccai2013.yaml").read_text().count("guess") >= 5


def test_the_demo_configuration_has_small_forests_and_all_steps():
    config = read_config(CONFIGS / "demo.yaml")
    assert 8 <= config.forest.n_trees <= 10
    assert (config.centre_forest.n_trees, config.naming_forest.n_trees) == (6, 24)
    assert config.centre_votes.use_votes
    assert config.naming.use_naming


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "forest:\n", "forest: {}\nnaming:\n  # n: 3\n"])
def test_what_is_left_out_keeps_its_default(tmp_path, text):
    assert read_config(written(tmp_path, text)) == Config()


def test_a_byte_order_mark_and_crlf_do_not_matter(tmp_path):
    config = read_config(written(tmp_path, b"\xef\xbb\xbfforest:\r\n  n_trees: 3\r\n"))
    assert config == dataclasses.replace(Config(), forest=dataclasses.replace(Config().forest, n_trees=3))


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1E-3", "0.001", ".001", "10e-4"])
def test_small_numbers_may_be_written_in_any_usual_way(tmp_path, text):
    assert read_config(written(tmp_path, f"naming: {{smallest_probability: {text}}}")).naming == Config().naming


def test_whole_numbers_do_for_lengths(tmp_path):
    assert read_config(written(tmp_path, "preprocess: {spacing_mm: 2}")).preprocess.spacing_mm == 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forrest: {n_trees: 3}", "forrest: unknown key; the nearest known one is forest"),
        ("forest: {trees: 3}", "forest.trees: unknown key; the nearest known one is forest.n_trees"),
        ("n_trees: 3", "n_trees: unknown key; the nearest known one is forest.n_trees"),
        ("spacing: 3", "spacing: unknown key; the nearest known one is preprocess.spacing_mm"),
        ("1: 2", "1: unknown key; the nearest known one is "),
        ("preprocess: {Spacing_mm: 3}", "preprocess.Spacing_mm: unknown key; the nearest known one is preprocess.spac"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path, text, message):
    assert message in refusal(tmp_path, text)


def test_all_unknown_keys_are_listed_at_once(tmp_path):
    message = refusal(tmp_path, "forrest: {}\nnaming: {use_nmaing: false}\nshape: {gapcost: 1}")
    assert all(key in message for key in ("forrest", "use_nmaing", "gapcost"))


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
    assert "forest.n_trees" in refusal(tmp_path, f"forest: {{n_trees: {value}}}")


@pytest.mark.parametrize("value", ["true", "'3'", "3 mm", "[3, 3, 3]", "{}", "null", ".nan", ".inf", "-.inf"])
def test_a_length_that_is_no_finite_number_names_its_field(tmp_path, value):
    assert "spacing_mm" in refusal(tmp_path, f"preprocess: {{spacing_mm: {value}}}")


@pytest.mark.parametrize("value", ["1", "0", "'true'", "maybe", "[true]"])
def test_a_switch_is_true_or_false(tmp_path, value):
    assert "naming.use_naming" in refusal(tmp_path, f"naming: {{use_naming: {value}}}")


def fields():
    for section in dataclasses.fields(Config):
        for name, value in getattr(Config(), section.name).__dict__.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield f"{section.name}.{name}"


@pytest.mark.parametrize("value", [".nan", "-1.0e+300", "1.0e+300"])
@pytest.mark.parametrize("field", list(fields()))
def test_no_number_may_be_nan_or_absurd(tmp_path, field, value):
    section, name = field.split(".")
    message = refusal(tmp_path, f"{section}: {{{name}: {value}}}")
    assert section in message
    assert name in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forest: {n_trees: 0}", "forest: n_trees must lie within 1 and 10000, got 0"),
        ("forest: {thresholds: all}", "forest.thresholds: Input should be 'random' or 'best', got 'all'"),
        ("forest: {features_per_tree: 10}", "forest: features_per_node must lie within 1 and 10, got 60"),
        ("preprocess: {spacing_mm: 0}", "preprocess: spacing_mm must lie within 0.5 and 20, got 0.0"),
        ("preprocess: {lowest_hu: 2000}", "lowest_hu 2000.0 must lie below highest_hu 1500.0"),
        ("features: {outside: mirror}", "features.outside: Input should be 'replicate' or 'constant', got 'mirror'"),
        ("features: {outside_hu: 1e9}", "features: outside_hu must lie on the CT scale"),
        ("features: {smallest_size_mm: 60}", "smallest_size_mm 60.0, largest_size_mm 40.0"),
        ("posterior: {stop_after_trees: -1}", "posterior: stop_after_trees must lie within 0 and 10000, got -1"),
        ("forest: 3", "forest: expected a mapping of settings, got 3"),
        ("forest: [n_trees]", "forest: expected a mapping of settings, got ['n_trees']"),
    ],
)
def test_an_impossible_value_names_its_field_and_what_was_wanted(tmp_path, text, message):
    assert message in refusal(tmp_path, text)


def test_problems_in_several_sections_are_listed_at_once(tmp_path):
    message = refusal(tmp_path, "forest: {n_trees: 0}\nshape: {gap_cost: -1}\ndensity: {neighbours: x}")
    assert all(key in message for key in ("forest: n_trees", "shape: gap_cost", "density.neighbours"))


@pytest.mark.parametrize("section", ["features", "centre_features", "naming_features"])
def test_features_that_reach_too_many_voxels_are_refused_because_of_the_memory_they_would_take(tmp_path, section):
    text = f"preprocess: {{spacing_mm: 2}}\n{section}: {{largest_offset_mm: 399, largest_size_mm: 20}}"
    wanted = f"{section}: largest_offset_mm + largest_size_mm / 2 = 409 mm reach 204 voxels at preprocess.spacing_mm 2"
    assert wanted in refusal(tmp_path, text)


def test_boxes_whose_sum_would_overflow_are_refused(tmp_path):
    # (250 + 1)^3 voxels of up to 2500 HU do not fit 31 bits.
    text = "preprocess: {spacing_mm: 1}\nfeatures: {largest_size_mm: 200, largest_offset_mm: 40}"
    assert "features: a box of largest_size_mm 200 holds too many voxels" in refusal(tmp_path, text)


@pytest.mark.parametrize("spacing_mm", [1.5, 2.0, 4.0, 20.0])
def test_the_usual_voxel_sizes_need_no_other_change(tmp_path, spacing_mm):
    config = read_config(written(tmp_path, f"preprocess: {{spacing_mm: {spacing_mm}}}"))
    assert config.preprocess.spacing_mm == spacing_mm


def test_a_key_or_section_that_stands_twice_is_an_error_with_both_lines(tmp_path):
    assert "line 3: n_trees stands already in line 2" in refusal(tmp_path, "forest:\n  n_trees: 3\n  n_trees: 4\n")
    message = refusal(tmp_path, "forest: {n_trees: 3}\nshape: {}\nforest: {n_trees: 4}\n")
    assert "line 3: forest stands already in line 1" in message
    assert "n_trees stands already" in refusal(tmp_path, "forest: {n_trees: 3, 'n_trees': 4}")


def test_the_same_key_in_two_sections_is_no_repetition(tmp_path):
    config = read_config(written(tmp_path, "forest: {n_trees: 3}\ncentre_forest: {n_trees: 4}\n"))
    assert (config.forest.n_trees, config.centre_forest.n_trees) == (3, 4)


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
    assert refusal(tmp_path, bytes(range(256))) == "expected a YAML text file, got binary data"


def test_a_missing_file_and_a_folder_are_said_to_be_so(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_config(tmp_path)


def test_a_huge_file_is_refused_unread(tmp_path):
    assert "are too many for a configuration" in refusal(tmp_path, "#" * 100_001)


@pytest.mark.parametrize("data", [None, [], "forest", 3, {"forest": 3}, {"forest": {"n_trees": object()}}, {3: {}}])
def test_plain_values_of_another_kind_are_errors_that_name_their_source(data):
    with pytest.raises(ConfigError, match=r"^the header: "):
        config_from_dict(data, "the header")
