"""The models of a server: names, directories, version policies, labels; TensorFlow Serving's text format.

    model_config_list {
      config {
        name: "sentiment"
        base_path: "/models/sentiment"
        model_platform: "tensorflow"
        model_version_policy { specific { versions: 3 versions: 7 } }
        version_labels { key: "stable" value: 3 }
      }
    }

Sources in tensorflow/serving: config/model_server_config.proto,
config/file_system_storage_path_source.proto, config/logging_config.proto.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from google.protobuf import text_format

from tfpipeline.errors import UserError
from tfpipeline.serving.server.declared_messages import (
    DOUBLE,
    INT32,
    INT64,
    STRING,
    UINT32,
    declare,
    read_text,
)

PLATFORM = "tensorflow"
_POLICY = "FileSystemStoragePathSourceConfig.ServableVersionPolicy"


@dataclass(frozen=True)
class Latest:
    """The newest versions.

    Args:
        count: how many.
        also: further versions, however old: those that labels point to. The text format has no word for
            them; :func:`as_specific` makes a policy that has one.
    """

    count: int = 1
    also: tuple[int, ...] = ()

    def select(self, there: Iterable[int]) -> list[int]:
        """The versions to serve of those that are there, newest first."""
        ordered = sorted(set(there), reverse=True)
        return [n for place, n in enumerate(ordered) if place < self.count or n in self.also]


@dataclass(frozen=True)
class Specific:
    """Certain versions."""

    versions: tuple[int, ...]

    def select(self, there: Iterable[int]) -> list[int]:
        """The versions to serve of those that are there, newest first."""
        return sorted(set(there) & set(self.versions), reverse=True)


@dataclass(frozen=True)
class All:
    """Every version."""

    def select(self, there: Iterable[int]) -> list[int]:
        """The versions to serve of those that are there, newest first."""
        return sorted(set(there), reverse=True)


Policy = Union[Latest, Specific, All]


@dataclass(frozen=True)
class ModelConfig:
    """One model of a server.

    Args:
        name: what clients call it.
        base_path: the directory of its versions.
        policy: which of them are served.
        labels: label -> version.
        platform: "tensorflow"; servers refuse others.
        logging: the serialised `LoggingConfig`, kept as it was read.
    """

    name: str
    base_path: Path
    policy: Policy = Latest()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    platform: str = PLATFORM
    logging: bytes = b""


def parse(text: str, where: str) -> tuple[ModelConfig, ...]:
    """Read a `ModelServerConfig` in text form.

    Args:
        text: the contents of the file.
        where: the file, for errors.
    Raises:
        UserError: it is not such a text; the line is named.
    """
    message = _messages()["ModelServerConfig"]()
    what, advice = "a configuration of TensorFlow Serving", "docs/serving.md has an example"
    read_text(text, message, where, what, advice)
    if not message.HasField("model_config_list"):
        raise UserError(
            f"{where} has no model_config_list; write model_config_list {{ config {{ ... }} }}, as in "
            "docs/serving.md"
        )
    return from_message(message)


def from_message(message: Any) -> tuple[ModelConfig, ...]:
    """The models of a `ModelServerConfig`, the official message or one that :func:`parse` has read."""
    return tuple(
        ModelConfig(
            name=config.name,
            base_path=Path(config.base_path),
            policy=_policy(config.model_version_policy),
            labels=dict(config.version_labels),
            platform=config.model_platform,
            logging=config.logging_config.SerializeToString() if config.HasField("logging_config") else b"",
        )
        for config in message.model_config_list.config
    )


def to_text(configs: Iterable[ModelConfig]) -> str:
    """A `ModelServerConfig` in text form; :func:`parse` reads it back.

    Raises:
        ValueError: a policy is `Latest` with `also`; see :func:`as_specific`.
    """
    message = _messages()["ModelServerConfig"]()
    message.model_config_list.SetInParent()
    for config in configs:
        added = message.model_config_list.config.add(
            name=config.name, base_path=str(config.base_path), model_platform=config.platform
        )
        policy = config.policy
        if isinstance(policy, Specific):
            added.model_version_policy.specific.versions.extend(policy.versions)
            added.model_version_policy.specific.SetInParent()
        elif isinstance(policy, All):
            added.model_version_policy.all.SetInParent()
        elif policy.also:
            raise ValueError(f"the text format has no word for {policy}")
        else:
            added.model_version_policy.latest.num_versions = policy.count
        for label, version in sorted(config.labels.items()):
            added.version_labels[label] = version
        if config.logging:
            added.logging_config.MergeFromString(config.logging)
    text: str = text_format.MessageToString(message)
    return text


def as_specific(config: ModelConfig, there: Iterable[int]) -> ModelConfig:
    """The same model with the versions that its policy selects today, by number."""
    return dataclasses.replace(config, policy=Specific(tuple(sorted(config.policy.select(there)))))


def _policy(message: Any) -> Policy:
    choice = message.WhichOneof("policy_choice")
    if choice == "specific":
        return Specific(tuple(message.specific.versions))
    if choice == "all":
        return All()
    return Latest(max(1, message.latest.num_versions))


@functools.lru_cache(maxsize=1)
def _messages() -> dict[str, Any]:
    latest, every, specific = (f"{_POLICY}.{name}" for name in ("Latest", "All", "Specific"))
    return declare(
        "tensorflow.serving",
        {
            "FileSystemStoragePathSourceConfig": {},
            _POLICY: {"latest": (100, latest), "all": (101, every), "specific": (102, specific)},
            latest: {"num_versions": (1, UINT32)},
            every: {},
            specific: {"versions": (1, [INT64])},
            "LogCollectorConfig": {"type": (1, STRING), "filename_prefix": (2, STRING)},
            "SamplingConfig": {"sampling_rate": (1, DOUBLE), "attributes": (2, INT32)},
            "LoggingConfig": {
                "log_collector_config": (1, "LogCollectorConfig"),
                "sampling_config": (2, "SamplingConfig"),
            },
            "ModelConfig": {
                "name": (1, STRING),
                "base_path": (2, STRING),
                "model_platform": (4, STRING),
                "logging_config": (6, "LoggingConfig"),
                "model_version_policy": (7, _POLICY),
                "version_labels": (8, ["ModelConfig.VersionLabelsEntry"]),
            },
            "ModelConfig.VersionLabelsEntry": {"key": (1, STRING), "value": (2, INT64)},
            "ModelConfigList": {"config": (1, ["ModelConfig"])},
            "ModelServerConfig": {"model_config_list": (1, "ModelConfigList")},
        },
        oneofs={_POLICY: "policy_choice"},
    )
