"""Every example of README, documentation and --help is run, page by page, in a folder where what it names lies.

Commands and Python of a page run in its order, in one folder. Of what is run, only sizes are changed: configurations
have few trees and features, and the packaged model is a toy one, except in the tutorial, which is run as it stands.
"""

import re
import shutil
from pathlib import Path

import pytest
from desk import make_desk
from pages import NAMES, ROOT, command_lines, examples, help_examples, parsers

from vertloc import models
from vertloc.cli import main

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytest.importorskip("pydicom")

# What is not run here, and why. A command that begins with one of these may be shown.
NOT_RUN = {
    "make demo": "all of this at full size: minutes, and a virtual environment; every step of it is run here",
    "make test": "runs this",
    "pip install": "needs a network and changes the environment",
    "python3 -m venv": "changes nothing that a command sees",
    "vertloc-env/bin/pip install": "needs a network",
    "dask ": "starts a cluster; tests/batch/test_cluster.py starts one of its own and compares the bytes",
    "vertloc predict --out results --list scans.txt --dask tcp://head:8786": "needs that cluster, as above",
    "vertloc study --data spine-db --folds fold1.txt fold2.txt --out study --dask tcp://head:8786": "as above",
    "vertloc folds --data neck trunk pelvis": "needs the scans that the packaged model learnt from",
    "vertloc study --data neck trunk pelvis": "as above; tests/scripts/test_model_scripts.py does it with others",
    "python scripts/narrow_study.py": "as above",
}
# Of these pages the packaged model itself names the scans.
AS_IT_STANDS = ("docs/tutorial.md",)
# Commands stand in blocks of these languages.
SHELLS = ("console", "sh", "bash", "shell")


def why_not(words):
    """Say why a command is not run; None if it is."""
    line = " ".join(words)
    return next((reason for start, reason in NOT_RUN.items() if f"{line} ".startswith(start)), None)


@pytest.fixture(scope="module")
def desk(tmp_path_factory, toy_model):
    folder = tmp_path_factory.mktemp("desk")
    make_desk(folder, toy_model)
    return folder


@pytest.fixture
def folder(desk, tmp_path, monkeypatch):
    """Be in a copy of the desk, with a small model in place of the packaged one."""
    copy = tmp_path / "desk"
    shutil.copytree(desk, copy, symlinks=True)
    monkeypatch.chdir(copy)
    monkeypatch.setattr(models, "_FOLDER", copy / "packaged")
    return copy


def run(words, where, capfd):
    """Run a command at a smaller size and expect that all went well."""
    arguments = smaller(words[1:])
    capfd.readouterr()
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    if code != 0:
        pytest.fail(f"{where}: {' '.join(words)}\nexit code {code}\n{out}{err}")
    assert out or "--quiet" in words, f"{where}: {' '.join(words)} printed nothing"


def smaller(arguments):
    """Give what trains a small configuration, unless it names one, and make few and coarse phantoms."""
    arguments = list(arguments)
    if arguments[0] in ("train", "study") and "--config" not in arguments:
        arguments += ["--config", "small.yaml"]
    if arguments[0] == "phantom":
        arguments[arguments.index("--patients") + 1] = "2"
        arguments += [] if "--coarse" in arguments else ["--coarse"]
    return arguments


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_page_run_in_its_order(name, folder, tmp_path, monkeypatch, capfd):
    small = (folder / "configs/default.yaml").read_bytes()
    if name in AS_IT_STANDS:
        monkeypatch.undo()
        empty = tmp_path / "empty"
        empty.mkdir()
        monkeypatch.chdir(empty)
    Path("small.yaml").write_bytes(small)
    names = {"__name__": "example"}
    for example in examples(name):
        where = f"{name}:{example.line}"
        if example.language in SHELLS:
            for words in command_lines(example.text):
                if not why_not(words):
                    run(words, where, capfd)
        elif example.language == "python":
            exec(compile(example.text, where, "exec"), names)
        elif '"vertloc ratings"' in example.text:
            Path("results-ratings.json").write_text(example.text)  # what the page then gives to `relabel`


@pytest.mark.parametrize("command", ["", *parsers()])
def test_the_examples_of_a_commands_help_run(command, folder, capfd):
    shutil.copy(folder / "configs/default.yaml", folder / "small.yaml")
    (folder / "results-ratings.json").write_text(ratings_of_the_report_page())
    lines = help_examples(command)
    assert lines
    for words in lines:
        assert words[0] == "vertloc" and command in ("", words[1])
        run(words, f"vertloc {command} --help", capfd)


def ratings_of_the_report_page():
    (text,) = [example.text for example in examples("docs/howto/report.md") if '"vertloc ratings"' in example.text]
    return text


@pytest.mark.parametrize("name", NAMES)
def test_a_command_on_a_page_is_run_or_listed_with_its_reason(name):
    for example in examples(name):
        if example.language in SHELLS:
            for words in command_lines(example.text):
                assert words[0] == "vertloc" or why_not(words), f"{name}:{example.line}: {' '.join(words)}"
        else:
            assert not re.search(r"^\s*(\$ |vertloc |make |pip |python3? )", example.text, re.MULTILINE), (
                f"{name}:{example.line}: a command in a block that is no console"
            )


def test_what_is_listed_as_not_run_is_on_a_page():
    shown = [
        f"{' '.join(words)} "
        for name in NAMES
        for example in examples(name)
        if example.language in SHELLS
        for words in command_lines(example.text)
    ]
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in shown), start


@pytest.mark.parametrize("name", NAMES)
def test_what_running_text_calls_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", prose):
        program, *words = code.split()
        options = [word.split("=")[0] for word in words if word.startswith("--")]
        if program == "vertloc" and words and words[0] in parsers():
            assert set(options) <= set(parsers()[words[0]]._option_string_actions), f"{name}: {code}"
        elif program == "vertloc":
            assert words[:1] in ([], ["--help"], ["--version"]), f"{name}: {code}"
        elif program == "make" and words:
            assert words[0] in targets, f"{name}: {code}"
        elif program == "python" and words and words[0].startswith("scripts/"):
            script = (ROOT / words[0]).read_text(encoding="utf-8")
            assert all(f'"{option}"' in script for option in options), f"{name}: {code}"
