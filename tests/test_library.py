"""The long example of the documentation's Python page, run as it stands there, and what README names."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from toy import make_toy_scan, toy_config, write_toy_cohort

from vertloc.io.images import write_image

README = Path(__file__).parents[1] / "README.md"
PAGE = README.parent / "docs/api.md"


def example():
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Toy data under the names that the example uses."""
    write_toy_cohort(tmp_path / "spine-db", [make_toy_scan(seed) for seed in range(6)])
    (tmp_path / "fold1-miccai2013.txt").write_text("toy04\ntoy05\n")
    (tmp_path / "fold2-miccai2013.txt").write_text("toy00\ntoy01\ntoy02\ntoy03\n")
    write_image(make_toy_scan(9).volume, tmp_path / "scan.nii.gz")
    (tmp_path / "configs").mkdir()
    for path in (README.parent / "configs").iterdir():
        shutil.copy(path, tmp_path / "configs")
    (tmp_path / "configs/default.yaml").write_text(yaml.safe_dump(toy_config().as_dict()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_the_example_of_the_python_page_runs_and_prints_labels_points_confidences_and_scores(capsys):
    exec(compile(example(), str(PAGE), "exec"), {})
    *points, scores = capsys.readouterr().out.splitlines()
    truth = make_toy_scan(9).centroids
    assert len(points) >= 5
    for line in points:
        label, *numbers, confidence = line.split()
        assert label in truth.labels
        assert max(abs(float(number) - true) for number, true in zip(numbers, truth[label], strict=True)) < 15
        assert 0 <= int(confidence.removesuffix("%")) <= 100
    rate, error = re.fullmatch(r"identified (.+)%, mean error (.+) mm", scores).groups()
    assert float(rate) > 60
    assert float(error) < 10
    assert sorted(path.name for path in Path("results").iterdir()) == ["toy04.lml", "toy05.lml"]


def test_the_readme_names_only_configurations_and_commands_that_exist():
    from vertloc.cli.arguments import make_parser

    text = README.read_text(encoding="utf-8")
    for name in re.findall(r"configs/[\w.-]+\.yaml", text):
        assert (README.parent / name).exists()
    help_text = make_parser().format_help()
    for command in re.findall(r"^ *\$? ?vertloc (\w+)", text, re.MULTILINE):
        assert f"    {command} " in help_text
