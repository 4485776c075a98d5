"""Brings a running server from one set of models, versions and labels to the next, in safe steps.

A label may only move to a version that is AVAILABLE, and servers change labels before versions. So a version
is loaded first, while the label still points to the old one; then the label moves and the old version goes.
A version that cannot be loaded changes nothing: what served before keeps serving.

Used with both servers: the embedded one is given the configurations, `tensorflow_model_server` reads them
from its polled file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Callable, Optional

from tfpipeline.errors import UserError
from tfpipeline.serving.server.model_config import ModelConfig, Specific
from tfpipeline.serving.server.model_dir import has_saved_model, version_directories
from tfpipeline.serving.server.options import ServerOptions
from tfpipeline.serving.server.sources import check_model, checked_models, find_models, with_labels

Configs = tuple[ModelConfig, ...]


def step(
    wanted: ModelConfig, now: Optional[ModelConfig], available: Collection[int], there: Collection[int]
) -> tuple[ModelConfig, bool]:
    """The next configuration of one model on the way to the wanted one.

    Args:
        wanted: the aim.
        now: the configuration that the server has; None for a new model, whose labels may point to versions
            that are still loading.
        available: the versions that are AVAILABLE.
        there: the versions on the disk; none if the server itself looks for them.
    Returns:
        The configuration to use now, and whether it is the last step.
    """
    if not wanted.labels and not there:
        return wanted, True  # the server's own policy does the rest
    target = set(wanted.policy.select(there))
    before = now.labels if now is not None else {}
    labels = {}
    for label, version in wanted.labels.items():
        if version in available or (now is None and version in target):
            labels[label] = version
        elif before.get(label) in available:
            labels[label] = before[label]
    done = target <= set(available)
    versions = target | set(labels.values()) | (set() if done else set(available) & set(there))
    config = replace(wanted, policy=Specific(tuple(sorted(versions))), labels=labels)
    return config, done and labels == wanted.labels


class Rollout:
    """Follows the directories, labels and configuration file that a server was started with.

    Args:
        options: what to serve.
        say: called with one sentence when a label has moved, or something cannot be followed.
        whole_only: leave out versions that are still being copied, as `tensorflow_model_server` gives up on
            them. It does not even start if the newest version of a model is one.
        once: there is only a first configuration, so the server itself must find later versions.
    """

    def __init__(
        self, options: ServerOptions, say: Callable[[str], None], *, whole_only: bool, once: bool = False
    ) -> None:
        self._options = options
        self._say = say
        self._whole_only = whole_only
        self._once = once
        self._found: Configs = ()
        self._seen: Sequence[tuple[ModelConfig, Collection[int]]] = ()
        self._now: dict[str, ModelConfig] = {}
        self._waiting: dict[str, list[Path]] = {}  # versions without a graph file, by model
        self._last: Configs = ()
        self._pending = False
        self._problem = ""

    def first(self) -> Configs:
        """The configuration to start with.

        Raises:
            UserError: a model cannot be served as it is given.
        """
        self._found = checked_models(self._options)
        configs = self._step(self._look(self._found), lambda name: ())
        self._accept(configs)
        return configs

    def next(self, available: Callable[[str], Collection[int]]) -> Optional[Configs]:
        """The next configuration, or None if nothing is to be changed.

        A server's configuration may also be changed by its clients (HandleReloadConfigRequest). That holds
        until something changes on the disk.

        Args:
            available: the model's name -> its AVAILABLE versions.
        """
        try:
            found = find_models(self._options)
            for model in found:
                if model not in self._found:
                    check_model(model)
            seen = self._look(found)
        except UserError as error:
            self._tell(f"{error}; the models are served as before")
            return None
        self._problem = ""
        if seen == self._seen and not self._pending:
            return None
        self._found = found
        configs = self._step(seen, available)
        return None if configs == self._last else configs

    def applied(self, configs: Configs) -> None:
        """The server has accepted this configuration."""
        for config in configs:
            before = self._now[config.name].labels if config.name in self._now else {}
            for label, version in config.labels.items():
                if before.get(label) != version:
                    self._say(f'label "{label}" of {config.name} points to version {version}')
            for label in sorted(set(before) - set(config.labels)):
                self._say(f'label "{label}" of {config.name} is gone')
        self._accept(configs)

    def refused(self, reason: str) -> None:
        """The server has refused the configuration; it is offered again at the next call of :meth:`next`."""
        self._pending = True
        self._tell(f"the new configuration was refused ({reason}); the models are served as before")

    def _accept(self, configs: Configs) -> None:
        self._last = configs
        self._now = {config.name: config for config in configs}

    def _look(self, found: Configs) -> list[tuple[ModelConfig, Collection[int]]]:
        seen: list[tuple[ModelConfig, Collection[int]]] = []
        waiting = {}
        for model in found:
            labelled = with_labels(model)
            new = model.name not in self._now or model.name in self._waiting
            if not labelled.labels and (self._once or not new):
                seen.append((labelled, ()))  # the server itself looks at the directory
                continue
            directories = self._directories(labelled)
            whole = [n for n, path in directories.items() if not self._whole_only or has_saved_model(path)]
            missing = [directories[n] for n in labelled.policy.select(directories) if n not in whole]
            followed = labelled.labels or (missing and labelled.policy.select(whole))
            seen.append((labelled, sorted(whole) if followed else ()))
            if followed and missing:
                waiting[model.name] = missing
        for name, paths in waiting.items():
            for path in paths:
                if path not in self._waiting.get(name, ()):
                    self._say(f"{path} has no saved_model.pb yet; it is served once it is complete")
        self._waiting = waiting
        return seen

    def _directories(self, model: ModelConfig) -> Mapping[int, Path]:
        try:
            return version_directories(model.base_path)
        except OSError as error:
            raise UserError(f"cannot read {model.base_path} ({error.strerror})") from error

    def _step(
        self,
        seen: Sequence[tuple[ModelConfig, Collection[int]]],
        available: Callable[[str], Collection[int]],
    ) -> Configs:
        steps = [
            step(model, self._now.get(model.name), available(model.name), there) for model, there in seen
        ]
        self._seen = seen
        self._pending = not all(done for _, done in steps)
        return tuple(config for config, _ in steps)

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._say(problem)
