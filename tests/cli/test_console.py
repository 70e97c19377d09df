import io
import logging
from argparse import Namespace
from contextlib import redirect_stderr

import pytest

from vertloc.cli.console import progress_bar, say
from vertloc.cli.printing import printable


class Terminal(io.StringIO):
    def isatty(self):
        return True


def arguments(quiet=False, verbose=False):
    return Namespace(command="predict", quiet=quiet, verbose=verbose)


def run(args, log="info"):
    with progress_bar(args, 3, "scan") as step:
        for _ in range(3):
            step()
        getattr(logging.getLogger("vertloc.test"), log)("a message")


def test_on_a_terminal_there_is_one_bar_that_ends_full():
    with redirect_stderr(Terminal()) as terminal:
        run(arguments())
    assert terminal.getvalue().rstrip().splitlines()[-1].count("3/3") == 1


def test_in_quiet_there_is_no_bar_on_a_terminal_either():
    with redirect_stderr(Terminal()) as terminal:
        run(arguments(quiet=True))
    assert terminal.getvalue() == ""


def test_without_a_terminal_there_is_no_bar(capsys):
    run(arguments())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("quiet", "verbose", "log", "shown"),
    [
        (False, False, "info", False),
        (False, False, "warning", True),
        (False, True, "info", True),
        (True, False, "info", False),
        (True, False, "error", True),
    ],
)
def test_the_log_shows_on_standard_error_what_was_asked_for(capsys, quiet, verbose, log, shown):
    run(arguments(quiet, verbose), log)
    assert capsys.readouterr() == ("", "a message\n" if shown else "")


def test_the_log_is_as_before_afterwards_also_after_an_error():
    logger = logging.getLogger("vertloc")
    before = (list(logger.handlers), logger.level)
    with pytest.raises(RuntimeError, match="stop"), progress_bar(arguments(), 3, "scan"):
        assert len(logger.handlers) == len(before[0]) + 1
        raise RuntimeError("stop")
    assert (list(logger.handlers), logger.level) == before


def test_saying_goes_to_standard_output_unless_quiet(capsys):
    say(arguments(), "hello")
    say(arguments(quiet=True), "nobody hears this")
    assert capsys.readouterr() == ("hello\n", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \t tab and\nline", "plain, \t tab and\nline"),
        ("脊柱 1 é", "脊柱 1 é"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("N\udce4me", "N\\xe4me"),
        ("a\u202eb\x9b", "a\\u202eb\\x9b"),
        ("a\rb", "a\\x0db"),
    ],
)
def test_what_is_printed_does_nothing_to_a_terminal(text, shown):
    assert printable(text) == shown


def test_the_log_is_printable_as_well(capsys):
    with progress_bar(arguments(), 1, "scan"):
        logging.getLogger("vertloc.test").warning("%s", "\x1b[2J")
    assert capsys.readouterr().err == "\\x1b[2J\n"
