"""Same as `vertloc train`: see `python scripts/train.py --help`."""

import sys

from vertloc.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("train"))
