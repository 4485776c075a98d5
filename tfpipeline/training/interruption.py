"""Ctrl-C and SIGTERM: when asked to stop, training finishes its step, saves, and says how to continue."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from tfpipeline.console import say


class Interrupted(Exception):
    """Training was asked to stop. Its progress is saved; the message says how to continue."""


class WorkersLost(Exception):
    """Another worker was lost. Training continues from the last checkpoint when all workers are restarted."""


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """The first Ctrl-C or SIGTERM sets the event; a second Ctrl-C stops immediately."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set signal handlers
        return

    def ask(signum: int, frame: Any) -> None:
        if asked.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()
        say("finishing this step and saving; Ctrl-C again to stop at once")

    saved = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)
