"""Decides which versions are served: checks the directory, loads new versions, then unloads old ones.

This is TensorFlow Serving's policy (availability-preserving, latest N). A new version is loaded first. Only
then is the old one unloaded, after the requests that use it have finished.

A version that cannot be loaded may still be being copied. It stays LOADING, and is tried again whenever its
files change. When they have not changed for a while, it is END with its error. The old version continues to
serve all the time.

Sources in tensorflow/serving: core/availability_preserving_policy.cc, core/servable_state.h,
sources/storage_path/file_system_storage_path_source.cc.
"""

from __future__ import annotations

import contextlib
import enum
import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from tfpipeline.serving.server.batching import Batcher
from tfpipeline.serving.server.model_config import ModelConfig
from tfpipeline.serving.server.model_dir import fingerprint, has_saved_model, version_directories
from tfpipeline.serving.server.options import ServerOptions
from tfpipeline.serving.server.status import StatusError, no_saved_model, not_found

# As long as tensorflow_model_server tries: five times, two seconds apart (binary.py).
SETTLE_SECONDS = 10.0


class State(enum.IntEnum):
    """States of a version, with the numbers of `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


class Model(Protocol):
    """The interface of a loaded version; :class:`saved_model.SavedModel` implements it."""

    signatures: Any

    def run(self, feeds: Any, fetches: Any) -> Any: ...

    def close(self) -> None: ...


@dataclass
class Version:
    """One version, from its discovery to its end."""

    number: int
    path: Path
    state: State = State.START
    error: Optional[StatusError] = None  # why it is END
    model: Any = None
    batcher: Optional[Batcher] = None
    users: int = 0
    #: Why the last attempt to load it failed, and the files at that time: it is retried when they change.
    problem: Optional[StatusError] = None
    tried_files: Any = None
    tried_at: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)  # what the services store about its signatures


class VersionManager:
    """Loads and unloads the versions of one model in its own thread.

    Args:
        config: name, directory, version policy.
        options: poll interval, batching.
        load: directory -> loaded model; raises :class:`StatusError`.
        say: called with one sentence when a version is loaded, unloaded, or cannot be loaded.
        clock: returns seconds; tests pass their own.
        waited: see :class:`Batcher`.
    """

    def __init__(
        self,
        config: ModelConfig,
        options: ServerOptions,
        load: Callable[[Path], Model],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._config = config
        self._options = options
        self._load = load
        self._say = say
        self._clock = clock
        self._waited = waited
        self._lock = threading.Lock()
        self._versions: dict[int, Version] = {}
        self._wake = threading.Event()
        self._changed = threading.Event()
        self._stopping = False
        self._first_look = threading.Event()
        self._directory_error = ""
        self._thread = threading.Thread(target=self._work, name=f"versions of {config.name}", daemon=True)

    # -- for the services ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def use(self, number: Optional[int]) -> Iterator[Version]:
        """A served version for the duration of a request: the newest, or the requested one.

        Raises:
            StatusError: NOT_FOUND, in the server's words.
        """
        name = self._config.name
        with self._lock:
            served = [v for v in self._versions.values() if v.state == State.AVAILABLE]
            if number is None:
                version = max(served, key=lambda v: v.number, default=None)
                wanted = f"Latest({name})"
            else:
                version = next((v for v in served if v.number == number), None)
                wanted = f"Specific({name}, {number})"
            if version is None:
                raise not_found(f"Servable not found for request: {wanted}")
            version.users += 1
        try:
            yield version
        finally:
            with self._lock:
                version.users -= 1
                if not version.users and version.state == State.UNLOADING:
                    self._wake.set()

    def states(self) -> list[tuple[int, State, Optional[StatusError]]]:
        """All versions seen so far, newest first."""
        with self._lock:
            return [
                (number, version.state, version.error)
                for number, version in sorted(self._versions.items(), reverse=True)
            ]

    def problems(self) -> list[tuple[int, StatusError]]:
        """Why versions could not be loaded so far, newest first, even if they are tried again."""
        with self._lock:
            return [
                (number, version.problem)
                for number, version in sorted(self._versions.items(), reverse=True)
                if version.problem is not None
            ]

    # -- for the server --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start polling and loading."""
        self._thread.start()

    def first_look_done(self, timeout: float) -> bool:
        """Wait until the versions found at the start are loaded or have failed."""
        return self._first_look.wait(timeout)

    def configure(self, config: ModelConfig) -> None:
        """Use another directory or version policy from now on."""
        self._config = config
        self._changed.set()
        self._wake.set()

    def available(self) -> list[int]:
        """The versions being served, newest first."""
        return [number for number, state, _ in self.states() if state == State.AVAILABLE]

    def stop(self) -> None:
        """Unload everything and end the thread. All requests must have finished."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        with self._lock:
            versions = [v for v in self._versions.values() if v.model is not None]
        for version in versions:
            self._end(version)

    # -- the thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        looked = False
        while not self._stopping:
            changed = self._changed.is_set()
            self._changed.clear()
            if changed or not (looked and self._options.poll_seconds == 0):
                self._look()
                looked = True
            self._first_look.set()
            self._unload_unused()
            self._wake.wait(self._options.poll_seconds or None)
            self._wake.clear()
        self._first_look.set()

    def _look(self) -> None:
        try:
            paths = version_directories(self._config.base_path)
        except OSError as error:
            # A network share may be briefly unavailable: loaded versions stay, as in TensorFlow Serving.
            self._tell_once(
                f"cannot read {self._config.base_path} ({error.strerror}); loaded versions are kept"
            )
            return
        self._directory_error = ""
        # A directory without its graph file is probably still being copied; an older version serves in the
        # meantime.
        whole = [number for number in paths if has_saved_model(paths[number])]
        selected = self._config.policy.select(paths)
        chosen = sorted({*selected, *self._config.policy.select(whole)}, reverse=True)
        for number in chosen:
            self._bring(number, paths[number])
            if self._stopping:
                return
        for version in self._waiting():
            if version.number not in chosen:  # removed, or overtaken by newer versions
                self._give_up(version)
        self._retire(set(chosen), anything=bool(selected))

    def _bring(self, number: int, path: Path) -> None:
        with self._lock:
            version = self._versions.get(number)
        if version is not None and version.problem is None and version.state != State.END:
            return
        files = fingerprint(path)
        if version is not None and version.problem is not None and version.tried_files == files:
            if version.state == State.LOADING and self._clock() - version.tried_at >= self._settle_seconds():
                self._give_up(version)
            return
        again = version is not None and version.state == State.LOADING
        version = Version(number, path, State.LOADING, tried_files=files, tried_at=self._clock())
        with self._lock:
            self._versions[number] = version
        try:
            if not has_saved_model(path):
                raise no_saved_model(path)
            model = self._load(path)
        except StatusError as error:
            self._fail(version, error, again)
            return
        with self._lock:
            version.model = model
            # With one row at a time there is no batching, so there is no queue.
            if self._options.batching.max_rows > 1:
                version.batcher = Batcher(self._options.batching, waited=self._waited)
            version.state = State.AVAILABLE
        if self._first_look.is_set():
            self._say(f"version {number} of {self._config.name} is loaded and serving")

    def _fail(self, version: Version, problem: StatusError, again: bool) -> None:
        with self._lock:
            version.problem = problem
        if self._settle_seconds() == 0:
            self._give_up(version)
        elif self._first_look.is_set() and not again:
            reason = first_line(problem.message)
            self._say(f"{version.path} cannot be loaded yet ({reason}); waiting for its files to change")

    def _settle_seconds(self) -> float:
        """How long to wait for a version's files to change; not at all if they are looked at only once."""
        return SETTLE_SECONDS if self._options.poll_seconds else 0.0

    def _waiting(self) -> list[Version]:
        with self._lock:
            return [v for v in self._versions.values() if v.problem is not None and v.state == State.LOADING]

    def _give_up(self, version: Version) -> None:
        assert version.problem is not None
        with self._lock:
            version.error = version.problem
            version.state = State.END
        if self._first_look.is_set():
            serving = self.available()
            meanwhile = f"version {serving[0]} keeps serving" if serving else "nothing is being served"
            self._say(f"{version.path} cannot be loaded ({first_line(version.error.message)}); {meanwhile}")

    def _retire(self, wanted: set[int], anything: bool) -> None:
        """Unload the other versions, unless nothing would be left to serve."""
        with self._lock:
            ready = [n for n in wanted if n in self._versions and self._versions[n].state == State.AVAILABLE]
            if anything and not ready:
                return
            for number, version in self._versions.items():
                if number not in wanted and version.state == State.AVAILABLE:
                    version.state = State.UNLOADING

    def _unload_unused(self) -> None:
        with self._lock:
            idle = [v for v in self._versions.values() if v.state == State.UNLOADING and not v.users]
        for version in idle:
            self._end(version)
            self._say(f"version {version.number} of {self._config.name} is unloaded")

    def _end(self, version: Version) -> None:
        with self._lock:
            model, version.model, version.batcher = version.model, None, None
            version.notes.clear()
            version.state = State.UNLOADING
        model.close()
        del model
        gc.collect()  # a graph has many reference cycles and holds the model's memory
        with self._lock:
            version.state = State.END

    def _tell_once(self, sentence: str) -> None:
        if sentence != self._directory_error:
            self._directory_error = sentence
            self._say(sentence)


def first_line(message: str) -> str:
    """The first line of a message of TensorFlow, which can have many lines."""
    return message.strip().split("\n", 1)[0].rstrip(".") or "no reason given"
