import argparse
import re
import shlex
from pathlib import Path

import pytest

import vertloc
from vertloc.cli.arguments import make_parser

COMMANDS = (
    *("train", "predict", "evaluate", "study", "report", "plot", "phantom", "info"),
    *("convert", "relabel", "folds"),
)


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args([*arguments, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_the_parser_has_the_promised_commands():
    (commands,) = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    assert tuple(commands.choices) == COMMANDS


def test_the_overview_names_every_command_and_where_to_begin(capsys):
    text = help_of(capsys)
    for command in COMMANDS:
        assert re.search(rf"^    {command} +\w", text, re.MULTILINE)
    assert "vertloc phantom" in text
    assert "exit codes:" in text
    assert "vertloc COMMAND --help" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_teaches(capsys, command):
    text = help_of(capsys, command)
    assert re.search(rf"^example:\n  vertloc {command} ", text, re.MULTILINE)
    for code in ("0    all well", "1    some scans failed", "2    nothing could be done", "130  stopped"):
        assert code in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_says_what_it_is(command):
    (commands,) = [a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for action in commands.choices[command]._actions:
        assert action.help, f"{command} {action.dest}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_the_help_are_valid_command_lines(capsys, command):
    lines = re.findall(r"^  vertloc (.+)$", help_of(capsys, command), re.MULTILINE)
    assert lines
    for line in lines:
        assert make_parser().parse_args(shlex.split(line)).command == command


def test_the_examples_of_the_overview_are_valid_command_lines(capsys):
    lines = re.findall(r"^  vertloc (.+)$", help_of(capsys), re.MULTILINE)
    assert [make_parser().parse_args(shlex.split(line)).command for line in lines] == ["predict", "phantom", "study"]


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"vertloc {vertloc.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("locate",), "invalid choice: 'locate'"),
        (("train",), "--data, --out"),
        (("predict", "x.mhd"), "--out"),
        (("evaluate", "--truth", "a"), "--pred"),
        (("study", "--data", "d", "--folds", "--out", "o"), "--folds: expected at least one argument"),
        (("train", "--data", "d", "--out", "m", "--n-jobs", "0"), "at least 1, or -1 for all cores, got 0"),
        (("train", "--data", "d", "--out", "m", "--n-jobs", "two"), "expected a whole number, got 'two'"),
        (("train", "--data", "d", "--out", "m", "--seed", "-1"), "expected a whole number of at least 0, got '-1'"),
        (("phantom", "--out", "o", "--patients", "0"), "expected a whole number of at least 1, got '0'"),
        (("predict", "--out", "o", "--part", "0/3", "x"), "expected I/N with I from 1 to N, such as 3/20, got '0/3'"),
        (("predict", "--out", "o", "--part", "3", "x"), "expected I/N with I from 1 to N"),
        (("predict", "--model", "m", "--out", "o", "--frame", "ras", "x"), "invalid choice: 'ras'"),
        (("predict", "--model", "m", "--out", "o", "--quiet", "--verbose", "x"), "not allowed with argument --quiet"),
    ],
)
def test_wrong_arguments_are_answered_with_the_usage_and_what_is_wrong(capsys, arguments, message):
    text = refusal(capsys, *arguments)
    assert text.startswith("usage: vertloc")
    assert message in text


@pytest.mark.parametrize("given", [("a", "b"), ("a", "--data", "b")])
@pytest.mark.parametrize("command", [("train", "--out", "m"), ("study", "--folds", "1", "2", "--out", "o")])
def test_several_data_folders_stand_behind_one_option_or_behind_several(command, given):
    assert make_parser().parse_args([*command, "--data", *given]).data == [Path("a"), Path("b")]


def test_scans_may_stand_behind_the_data_folder_of_a_prediction():
    args = make_parser().parse_args(["predict", "--out", "o", "--data", "db", "scan.mhd"])
    assert (args.data, args.inputs) == ([Path("db")], [Path("scan.mhd")])
