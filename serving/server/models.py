"""The models of the embedded server: which there are, their labels, and how both are changed while it runs.

A new configuration replaces the old one, as in TensorFlow Serving: labels first, then models. New models are
loaded before the change is reported as done; removed models are unloaded once their requests have finished.

Source in tensorflow/serving: model_servers/server_core.cc (ReloadConfig).
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

import grpc

from tfpipeline.serving.server.model_config import PLATFORM, ModelConfig, Specific
from tfpipeline.serving.server.options import ServerOptions
from tfpipeline.serving.server.status import (
    StatusError,
    failed_precondition,
    invalid_argument,
    not_found,
    unavailable,
)
from tfpipeline.serving.server.versions import Model, State, Version, VersionManager

_NO_VERSION = Specific(())
_TICK_SECONDS = 0.05


class Models:
    """All models of a server.

    Args:
        options: poll interval, batching.
        load: (name of the model, directory) -> loaded model; raises :class:`StatusError`.
        say: called with one sentence when a version is loaded, unloaded, or cannot be loaded.
        waited: see :class:`Batcher`.
    """

    def __init__(
        self,
        options: ServerOptions,
        load: Callable[[str, Path], Model],
        say: Callable[[str], None],
        waited: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._options = options
        self._load = load
        self._say = say
        self._waited = waited
        self._changing = threading.Lock()  # one configuration after the other
        self._lock = threading.Lock()  # guards the three dictionaries, which are replaced, never changed
        self._configs: dict[str, ModelConfig] = {}
        self._managers: dict[str, VersionManager] = {}  # also of removed models: their versions are END
        self._labels: dict[str, Mapping[str, int]] = {}
        self._stopping = threading.Event()

    # -- for the services ------------------------------------------------------------------------------

    def use(self, spec: Any) -> AbstractContextManager[Version]:
        """The version that a `ModelSpec` refers to, for the duration of a request.

        Raises:
            StatusError: INVALID_ARGUMENT or NOT_FOUND, as `ServableRequestFromModelSpec` words it.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        if spec.WhichOneof("version_choice") == "version_label":
            return self._use_label(spec.name, spec.version_label)
        return self.use_version(spec.name, spec.version.value if spec.HasField("version") else None)

    def use_version(self, name: str, number: Optional[int]) -> AbstractContextManager[Version]:
        """The newest version of a model, or a certain one, for the duration of a request.

        Raises:
            StatusError: NOT_FOUND.
        """
        manager = self._managers.get(name)
        if manager is None:
            wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise not_found(f"Servable not found for request: {wanted}")
        return manager.use(number)

    @contextlib.contextmanager
    def _use_label(self, name: str, label: str) -> Iterator[Version]:
        with contextlib.ExitStack() as stack:
            number = self.version_of_label(name, label)
            try:
                version = stack.enter_context(self.use_version(name, number))
            except StatusError:
                # Between the two lines above, the label may have moved and the old version may have gone.
                moved = self.version_of_label(name, label)
                if moved == number:
                    raise
                version = stack.enter_context(self.use_version(name, moved))
            yield version

    def version_of_label(self, name: str, label: str) -> int:
        """The version that a label of a model points to.

        Raises:
            StatusError: INVALID_ARGUMENT, there is no such label or model.
        """
        version = self._labels.get(name, {}).get(label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return version

    def states(self, name: str) -> list[tuple[int, State, Optional[StatusError]]]:
        """All versions of a model seen so far, newest first; empty for a model that never was."""
        manager = self._managers.get(name)
        return manager.states() if manager else []

    def problems(self, name: str) -> list[tuple[int, StatusError]]:
        """Why versions of a model could not be loaded so far, newest first, even if they are tried again."""
        manager = self._managers.get(name)
        return manager.problems() if manager else []

    def configs(self) -> dict[str, ModelConfig]:
        """The models that are configured now, by name."""
        return self._configs

    def labels(self, name: str) -> Mapping[str, int]:
        """Label -> version of a model; empty for an unknown one."""
        return self._labels.get(name, {})

    # -- for the server --------------------------------------------------------------------------------

    def begin(self, configs: Iterable[ModelConfig]) -> None:
        """Start to load the first models; :meth:`loaded` tells when they are there.

        Raises:
            StatusError: see :meth:`reload`.
        """
        with self._changing:
            self._change(list(configs))

    def loaded(self) -> bool:
        """Whether every model has loaded its versions or failed to."""
        return all(self._managers[name].first_look_done(0) for name in self._configs)

    def reload(self, configs: Iterable[ModelConfig]) -> None:
        """Replace the configuration, and wait until new models are available.

        Raises:
            StatusError: the configuration is refused, in the server's words, and nothing has changed; or a
                new model did not become available, and everything else has changed.
        """
        with self._changing:
            new = self._change(list(configs))
            while not self._stopping.wait(_TICK_SECONDS):
                if all(self._managers[name].first_look_done(0) for name in new):
                    break
            missing = [name for name in new if not self._managers[name].available()]
            if missing:
                raise StatusError(
                    grpc.StatusCode.UNKNOWN,
                    f"{len(missing)} model(s) did not become available: "
                    f"{{{''.join(self._reasons(name) for name in missing)}}}",
                )

    def available(self, name: str) -> list[int]:
        """The versions of a model that are being served, newest first."""
        manager = self._managers.get(name)
        return manager.available() if manager else []

    def stop_waiting(self) -> None:
        """End calls of :meth:`reload` that wait for a model, and refuse new ones."""
        self._stopping.set()

    def stop(self) -> None:
        """Unload everything and end all threads. All requests must have finished."""
        self.stop_waiting()
        with self._changing:
            for manager in self._managers.values():
                manager.stop()

    def _change(self, configs: list[ModelConfig]) -> list[str]:
        """Check and use a configuration; returns the names of its new models."""
        if self._stopping.is_set():
            raise unavailable("The server is stopping")
        self._check(configs)
        labels: dict[str, Mapping[str, int]] = {config.name: dict(config.labels) for config in configs}
        new = [config.name for config in configs if config.name not in self._configs]
        managers = dict(self._managers)
        for config in configs:
            if config.name in self._configs:
                managers[config.name].configure(config)
            else:
                if config.name in managers:  # it was removed, and comes back
                    managers[config.name].stop()
                load = functools.partial(self._load, config.name)
                managers[config.name] = VersionManager(
                    config, self._options, load, self._say, waited=self._waited
                )
        with self._lock:
            self._labels = labels
            self._managers = managers
        for name in new:
            managers[name].start()
        kept = {config.name for config in configs}
        for name, config in self._configs.items():
            if name not in kept:
                managers[name].configure(replace(config, policy=_NO_VERSION))
        self._configs = {config.name: config for config in configs}
        return new

    def _check(self, configs: list[ModelConfig]) -> None:
        names: set[str] = set()
        for config in configs:
            if config.name in names:
                raise invalid_argument(f"Illegal to list model {config.name} multiple times in config list")
            names.add(config.name)
        for config in configs:
            if not config.base_path.is_absolute():
                raise invalid_argument(
                    f"Expected model {config.name} to have an absolute path or URI; got "
                    f"base_path()={config.base_path}"
                )
        for config in configs:
            self._check_platform(config)
        for config in configs:
            for label, version in config.labels.items():
                self._check_label(config.name, label, version)

    def _check_platform(self, config: ModelConfig) -> None:
        if not config.platform:
            raise invalid_argument(
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f"ModelServerConfig::model_platform, model name is {config.name}"
            )
        before = self._configs.get(config.name)
        if before is not None and before.platform != config.platform:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {config.name} platform was "
                f"{before.platform} and new platform requested is {config.platform}"
            )
        if config.platform != PLATFORM:
            raise invalid_argument(f"Model {config.name} requests unsupported platform {config.platform}")

    def _check_label(self, name: str, label: str, version: int) -> None:
        """A label may only move to a version that is available; a new one may point to one that comes later.

        `tensorflow_model_server` does the same with --allow_version_labels_for_unavailable_models.
        """
        now = self._labels.get(name, {}).get(label)
        if now is not None and now != version and version not in self.available(name):
            raise failed_precondition(
                f"Request to assign label to version {version} of model {name}, which is not currently "
                "available for inference"
            )

    def _reasons(self, name: str) -> str:
        return (
            "".join(
                f"{{{{name: {name} version: {number}}} due to error: {error.code.name}: {error.message}}}, "
                for number, error in self._managers[name].problems()
            )
            or f"{{name: {name}}}, "
        )
