"""Warnings of one scan -> its record: what the library logs while a thread works on the scan."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def warnings_of_this_thread() -> Iterator[list[str]]:
    """Give a list that fills with the warnings that this thread logs inside the block, each once."""
    heard: list[str] = []
    handler = _Listener(heard)
    logger = logging.getLogger("vertloc")
    logger.addHandler(handler)
    try:
        yield heard
    finally:
        logger.removeHandler(handler)


class _Listener(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        text = record.getMessage()
        if record.levelno == logging.WARNING and text not in self._heard:
            self._heard.append(text)
        if logging.lastResort is not None and not _somebody_else_listens():
            logging.lastResort.handle(record)  # what Python does where nobody has set up logging


def _somebody_else_listens() -> bool:
    handlers = [*logging.getLogger("vertloc").handlers, *logging.getLogger().handlers]
    return any(not isinstance(handler, _Listener) for handler in handlers)
