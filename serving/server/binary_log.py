"""Reads the log of `tensorflow_model_server`: what it serves, what it refused, and what a user should see.

The log is the only place that tells all of it with every kind of credentials: with mutual TLS, this process
could not call the server's own services.

Sources in tensorflow/serving: core/loader_harness.cc, model_servers/server.cc, model_servers/server_core.cc.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Optional

NAME = "tensorflow_model_server"
_LAST_LINES = 20
# TensorFlow's own log lines ("2026-01-01 00:00:00.0: E file.cc:1] ...") and absl's ("E0000 00:00:17.0 1
# file.cc:1] ...").
_ERROR_LINE = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:.]+: [EF] |[EF]\d{4} )")
_LOG_PREFIX = re.compile(r"^(?:\d{4}-\d\d-\d\d [\d:.]+: [IWEF] |[IWEF]\d{4} [\d:.]+\s+\d+ )\S+\] ")
_ID = r"\{name: (.*) version: (\d+)\}"
_RETRIED = re.compile(rf"servable: {_ID} failed: (.*)")
_LOADED = re.compile(rf"Successfully loaded servable version {_ID}")
_LEAVING = re.compile(rf"Quiescing servable version {_ID}")
_UNLOADED = re.compile(rf"Done unloading servable version {_ID}")
_FAILED = re.compile(rf"Encountered an error for servable version {_ID}: (.*)")
_LISTENING = "Running gRPC ModelServer at "
_APPLIED = "Finished adding/updating models"
_REFUSED = "PollFilesystemAndReloadConfig failed to ReloadConfig: "
_GIVEN_UP = re.compile(rf"^Servable {_ID} cannot be loaded: ")  # after _FAILED
_NO_FILE = "Failed to read ModelServerConfig file: "  # it is there only while a change waits to be read
_UNKNOWN_FLAG = re.compile(r"^unknown argument: (\S+)")
_REASONS = ("Failed to start server", "Couldn't interpret value", "unknown argument")


class BinaryLog:
    """What the log has told so far. :meth:`read` takes one line after the other."""

    def __init__(self) -> None:
        #: Model -> its AVAILABLE versions.
        self.available: dict[str, set[int]] = {}
        #: (model, version) -> why it could not be loaded.
        self.failed: dict[tuple[str, int], str] = {}
        self.listening = False
        #: Since :meth:`forget_change`: whether a configuration was used, and why one was refused.
        self.applied = False
        self.refused: Optional[str] = None
        self.unknown_flag = ""
        self._retried: set[tuple[str, int]] = set()
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._reasons: list[str] = []  # the help of all flags may follow them

    def read(self, line: str, *, starting: bool = False) -> Optional[str]:
        """Note what a line tells; returns a sentence for the user, if it is for the user.

        Args:
            line: one line.
            starting: whether nothing is served yet. Then only a delay is for the user: the server's end tells
                everything else.
        """
        text = _LOG_PREFIX.sub("", line)
        if text.startswith(_NO_FILE):
            return None
        self._last.append(text)
        if text.startswith(_REASONS):
            self._reasons.append(text)
        if match := _RETRIED.search(text):
            version = match[1], int(match[2])
            if version in self._retried:  # each attempt is logged
                return None
            self._retried.add(version)
            return f"version {match[2]} of {match[1]} cannot be loaded yet ({match[3]}); trying again"
        sentence = self._noted(line, text)
        return None if starting else sentence

    def _noted(self, line: str, text: str) -> Optional[str]:
        if text.startswith(_LISTENING):
            self.listening = True
        elif text.startswith(_APPLIED):
            self.applied = True
        elif text.startswith(_REFUSED):
            self.refused = text.removeprefix(_REFUSED)
        elif match := _UNKNOWN_FLAG.match(text):
            self.unknown_flag = match[1]
        elif match := _LOADED.search(text):
            self.available.setdefault(match[1], set()).add(int(match[2]))
            self.failed.pop((match[1], int(match[2])), None)
            return f"version {match[2]} of {match[1]} is loaded and serving"
        elif match := _LEAVING.search(text):
            self.available.get(match[1], set()).discard(int(match[2]))
        elif match := _UNLOADED.search(text):
            return f"version {match[2]} of {match[1]} is unloaded"
        elif match := _FAILED.search(text):
            self.failed[match[1], int(match[2])] = match[3]
            self._retried.discard((match[1], int(match[2])))
            return f"version {match[2]} of {match[1]} cannot be loaded ({match[3]})"
        elif _ERROR_LINE.match(line) and not _GIVEN_UP.match(text):
            return f"{NAME}: {text}"
        return None

    def forget_change(self) -> None:
        """Called when a new configuration is written."""
        self.applied = False
        self.refused = None

    def last_words(self) -> str:
        """What the server said at its end."""
        return " / ".join(self._reasons or list(self._last)[-3:])[:600] or "it printed nothing"
