"""The command line: `vertloc train, predict, evaluate, study, phantom, info`.

Exit codes: 0 all well; 1 some cases failed; 2 nothing could be done (bad arguments, configuration, model or data).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from vertloc.cli.arguments import make_parser
from vertloc.errors import VertlocError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = make_parser().parse_args(arguments)
    # The commands import the heavy libraries; --help and wrong arguments are answered without them.
    command = import_module(f"vertloc.cli.{args.command}")
    try:
        code: int = command.run(args)
    except (VertlocError, OSError) as error:
        print(f"vertloc {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"vertloc {args.command}: stopped", file=sys.stderr)
        return 130
    return code


def run_command(command: str) -> int:
    """Run one command for a script that is named after it: `scripts/train.py`, `scripts/predict.py`."""
    return main([command, *sys.argv[1:]])
