"""The command line: `vertloc train, predict, evaluate, study, report, plot, phantom, info, convert, relabel, folds`.

Exit codes: 0 all well; 1 some scans failed; 2 nothing could be done (bad arguments, configuration, model or data);
130 stopped by Ctrl-C; 143 stopped by a signal to terminate.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from vertloc.cli.arguments import make_parser
from vertloc.cli.printing import complain, print_anything
from vertloc.errors import VertlocError


class Terminated(KeyboardInterrupt):
    """The signal to terminate: batch systems send it before they kill. Stops a command as Ctrl-C does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    print_anything()
    args = make_parser().parse_args(arguments)
    try:
        with _termination_as_interrupt():
            return _run(args)
    except KeyboardInterrupt as stop:
        complain(args, "stopped")
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:  # whoever read our output has seen enough, as in `vertloc info m.npz | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (VertlocError, OSError, MemoryError) as error:
        complain(args, _message(error))
        return 2


def _run(args: Namespace) -> int:
    # The commands import the heavy libraries; --help and wrong arguments are answered without them.
    command = import_module(f"vertloc.cli.{args.command}")
    code: int = command.run(args)
    sys.stdout.flush()
    return code


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory; a smaller --n-jobs, or fewer samples and features in the configuration, need less"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def run_command(command: str) -> int:
    """Run one command for a script that is named after it: `scripts/train.py`, `scripts/predict.py`."""
    return main([command, *sys.argv[1:]])
