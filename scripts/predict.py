"""Same as `vertloc predict`: see `python scripts/predict.py --help`."""

import sys

from vertloc.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("predict"))
