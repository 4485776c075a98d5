"""Ctrl-C and SIGTERM: asked to stop, training finishes its step, saves, and says how to go on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from tfpipeline.console import say


class Interrupted(Exception):
    """Training was asked to stop; what was done is saved, the message says how to go on."""


class WorkersLost(Exception):
    """Another worker is gone; training can go on from the last checkpoint when all are started again."""


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event the first time; a second Ctrl-C stops at once."""
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
