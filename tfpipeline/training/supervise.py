"""Starts a training again when a worker was lost: ``tfpipeline train --supervise``. Imports no TensorFlow.

A group of workers that lost one cannot take in another (TensorFlow cannot mend a collective group), so all
of them end, with exit code 75, and their supervisors start them again; they meet, and go on from the
last checkpoint. On a cluster that restarts failed jobs by itself there is no need of this.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, Optional

from tfpipeline.console import say

TRY_AGAIN = 75  # sysexits.h's EX_TEMPFAIL
QUICK_SECONDS = 30.0  # a worker that lives shorter has not trained
QUICK_DEATHS = 5


def supervise(
    arguments: Sequence[str],
    *,
    command: Optional[Sequence[str]] = None,
    quick_seconds: float = QUICK_SECONDS,
    pause: float = 1.0,
) -> int:
    """Run ``tfpipeline ARGUMENTS`` until it ends by itself.

    It is started again when a signal has killed it, or when it has lost another worker (exit code 75), but
    not when it is done (0), was asked to stop (130) or was given something it can't use (2). After five that
    died at once, there is no use in another.

    Args:
        arguments: without ``--supervise``.
        command: what runs them; by default this Python.
        quick_seconds: who lives shorter has died at once.
        pause: seconds before it is started again.
    Returns:
        The exit code of the last one.
    """
    command = list(command or [sys.executable, "-P", "-m", "tfpipeline.cli"])
    asked: list[int] = []
    child: Optional[subprocess.Popen[Any]] = None

    def forward(number: int, frame: Optional[FrameType]) -> None:
        asked.append(number)
        if child is not None and child.poll() is None:
            child.send_signal(number)

    saved = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    quick = 0
    try:
        while True:
            began = time.monotonic()
            # A group of its own: a terminal's Ctrl-C would reach it twice, which means to stop at once.
            child = subprocess.Popen([*command, *arguments], process_group=0)
            if asked:  # between two of them
                child.send_signal(asked[-1])
            code = child.wait()
            if asked or (code >= 0 and code != TRY_AGAIN):
                return code if code >= 0 else 128 - code
            quick = quick + 1 if time.monotonic() - began < quick_seconds else 0
            reason = f"was killed by {_name(-code)}" if code < 0 else "has lost another worker"
            if quick >= QUICK_DEATHS:
                say(
                    f"the training {reason}, {quick} times within {quick_seconds:.0f} s of its start; "
                    f"giving up"
                )
                return code if code >= 0 else 128 - code
            say(f"the training {reason}; starting it again, it goes on from the last checkpoint")
            time.sleep(pause)
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
