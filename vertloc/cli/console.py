"""What the commands share: one progress bar and the log; and, from `printing`, how to speak to the user."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tqdm import tqdm

from vertloc.cli.printing import complain, printable, say

__all__ = ["complain", "progress_bar", "say"]


@contextmanager
def progress_bar(args: Namespace, n_steps: int, unit: str) -> Iterator[Callable[[], None]]:
    """Give a function to call after each step; the bar shows on a terminal only. Sets up the log as well."""
    hidden = args.quiet or not sys.stderr.isatty()
    with tqdm(total=n_steps, unit=unit, disable=hidden, file=sys.stderr, dynamic_ncols=True) as bar:
        handler = _BarHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        handler.setLevel(logging.INFO if args.verbose else logging.WARNING)
        logger = logging.getLogger("vertloc")
        previous = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            yield partial(_step, bar)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(previous)


def _step(bar: Any) -> None:
    bar.update()


class _BarHandler(logging.Handler):
    """Writes log lines above the bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(printable(self.format(record)), file=sys.stderr)
