"""Processes of their own that need not import TensorFlow: each is forked from one that has imported it, and
done nothing else.

The import takes longer than a short training. Where the start of a program is a test's subject, it is started
by ``subprocess``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """Calls a function in a process of its own; has what tests use of ``subprocess.Popen``.

    Args:
        function: one of a module, which is what can be sent to another process.
        arguments: the function's.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        handle, name = tempfile.mkstemp(prefix="errors-")
        os.close(handle)
        self._errors = Path(name)
        self._process = _context.Process(target=_run, args=(name, function, arguments))
        # It would import the module that runs the tests.
        with mock.patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """Wait for its end; what it has written to standard error."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        errors = self._errors.read_text() if self._errors.exists() else ""
        self._errors.unlink(missing_ok=True)
        return None, errors


def _run(errors: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with open(errors, "wb") as file:
        os.dup2(file.fileno(), 2)
    function(*arguments)


def tfpipeline(*arguments: str) -> None:
    """The program."""
    from tfpipeline.__main__ import main

    sys.argv = ["tfpipeline", *arguments]
    main()
