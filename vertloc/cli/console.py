"""What the commands share: one progress bar and the log; and, from `printing`, how to speak to the user."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from vertloc.cli.printing import complain, printable, say

__all__ = ["complain", "progress_bar", "say"]


@contextmanager
def progress_bar(args: Namespace, n_steps: int, unit: str) -> Iterator[Callable[[], None]]:
    """Give a function to call after each step; the bar shows on a terminal only. Sets up the log as well."""
    with _bar(args, n_steps, unit) as (step, write):
        handler = _LogHandler(write)
        handler.setFormatter(logging.Formatter("%(message)s"))
        handler.setLevel(logging.INFO if args.verbose else logging.WARNING)
        logger = logging.getLogger("vertloc")
        previous = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        try:
            yield step
        finally:
            logger.removeHandler(handler)
            logger.setLevel(previous)


@contextmanager
def _bar(args: Namespace, n_steps: int, unit: str) -> Iterator[tuple[Callable[[], None], Callable[[str], None]]]:
    """Give what to call after each step, and what writes a line above the bar, if there is one."""
    if args.quiet or not sys.stderr.isatty():
        yield lambda: None, lambda line: print(line, file=sys.stderr)
        return
    from tqdm import tqdm

    with tqdm(total=n_steps, unit=unit, file=sys.stderr, dynamic_ncols=True) as bar:

        def step() -> None:
            bar.update()

        yield step, partial(tqdm.write, file=sys.stderr)


class _LogHandler(logging.Handler):
    """Writes log lines above the bar instead of through it."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(printable(self.format(record)))
