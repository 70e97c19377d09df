"""The command line: `vertloc train, predict, evaluate, study, phantom, info`.

Exit codes: 0 all well; 1 some scans failed; 2 nothing could be done (bad arguments, configuration, model or data);
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from vertloc.cli.arguments import make_parser
from vertloc.errors import VertlocError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = make_parser().parse_args(arguments)
    try:
        # The commands import the heavy libraries; --help and wrong arguments are answered without them.
        command = import_module(f"vertloc.cli.{args.command}")
        code: int = command.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"vertloc {args.command}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough, as in `vertloc info m.npz | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (VertlocError, OSError, MemoryError) as error:
        print(f"vertloc {args.command}: {_message(error)}", file=sys.stderr)
        return 2
    return code


def _message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory; a smaller --n-jobs, or fewer samples and features in the configuration, need less"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def run_command(command: str) -> int:
    """Run one command for a script that is named after it: `scripts/train.py`, `scripts/predict.py`."""
    return main([command, *sys.argv[1:]])
