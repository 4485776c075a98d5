"""Restarts a training after a worker was lost: ``tfpipeline train --supervise``. Imports no TensorFlow.

TensorFlow cannot replace a lost member of a collective group. Therefore all workers exit with code 75, and
their supervisors start them again. The workers reconnect and resume from the last checkpoint. A cluster that
restarts failed jobs by itself does not need this.
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
QUICK_SECONDS = 30.0  # a worker that ends sooner has not trained
QUICK_DEATHS = 5


def supervise(
    arguments: Sequence[str],
    *,
    command: Optional[Sequence[str]] = None,
    quick_seconds: float = QUICK_SECONDS,
    pause: float = 1.0,
) -> int:
    """Run ``tfpipeline ARGUMENTS``, and restart it when it is killed or loses a worker.

    It is restarted if a signal killed it or if it lost another worker (exit code 75). It is not restarted if
    it succeeded (0), was asked to stop (130) or reported a mistake of the user (2). After five quick deaths
    in a row this function gives up.

    Args:
        arguments: the command's arguments, without ``--supervise``.
        command: the command that takes the arguments; by default tfpipeline in this Python.
        quick_seconds: a process that ends sooner counts as a quick death.
        pause: seconds before a restart.
    Returns:
        The exit code of the last process.
    """
    command = list(command or [sys.executable, "-P", "-m", "tfpipeline"])
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
            # In its own process group: otherwise Ctrl-C would reach it twice, which means to stop
            # immediately.
            child = subprocess.Popen([*command, *arguments], process_group=0)
            if asked:  # the signal came between two processes
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
            say(f"the training {reason}; restarting it from the last checkpoint")
            time.sleep(pause)
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
