"""`python -m vertloc`: the command line."""

import sys

from vertloc.cli import main

sys.exit(main())
