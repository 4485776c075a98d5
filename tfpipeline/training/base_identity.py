"""The identity of the base of an adapter: of the frozen encoder that it was trained on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpipeline.checkpoints import Checkpoint
from tfpipeline.errors import UserError
from tfpipeline.models import EncoderConfig
from tfpipeline.models.architectures import read_config

# Fields that do not change the predictions of a trained model.
_NOT_DECISIVE = ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")
_SHOWN = 12  # digits of a hash in messages


@dataclasses.dataclass(frozen=True)
class BaseIdentity:
    """The frozen encoder of an adapter.

    Attributes:
        name: the checkpoint, as the run file named it.
        sha256: of the encoder's tensors, see :func:`tensors_hash`.
        vocabulary: the SHA-256 of the tokens, one per line.
        config: the architecture, with the dropout rates of the training.
    """

    name: str
    sha256: str
    vocabulary: str
    config: EncoderConfig

    def __str__(self) -> str:
        """A description for messages."""
        config = self.config
        return (
            f"{self.name} ({config.num_hidden_layers} layers, hidden size {config.hidden_size}, "
            f"sha256 {self.sha256[:_SHOWN]})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The identity as JSON values."""
        return {**dataclasses.asdict(self), "config": self.config.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> BaseIdentity:
        """The inverse of :meth:`to_dict`; ``where`` is the file, for errors."""
        return cls(**{**values, "config": read_config(values["config"], where)})

    def check(self, base: Checkpoint, adapter: str) -> None:
        """Refuse another encoder.

        Args:
            base: the checkpoint.
            adapter: the adapter's name, for the message.
        Raises:
            UserError: its weights, its architecture or its vocabulary differ.
        """
        found = identity_of(base)
        if _decisive(found.config) != _decisive(self.config) or found.sha256 != self.sha256:
            advice = "give the checkpoint it names"
            if found.name == self.name:
                advice = "its files have changed since then: give a copy of what they were"
            raise UserError(f"{adapter} was trained on {self}, not on {found}; {advice}")
        if found.vocabulary != self.vocabulary:
            raise UserError(
                f"{adapter} was trained on {self}, not on {found}: their vocabularies differ; give the "
                "checkpoint it names"
            )


def identity_of(base: Checkpoint) -> BaseIdentity:
    """The identity of a checkpoint's encoder."""
    name = base.display_name or str(base.source)
    return BaseIdentity(name, tensors_hash(base.tensors), vocabulary_hash(base.vocabulary), base.config)


def tensors_hash(tensors: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of tensors by name; of an encoder, by neutral name.

    Of each tensor, in the order of the names: the name, the shape, and the values as little-endian float32.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], "<f4")
        digest.update(f"{name} {list(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def vocabulary_hash(vocabulary: Sequence[str]) -> str:
    """The SHA-256 of tokens, one per line."""
    text = "".join(f"{token}\n" for token in vocabulary)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _decisive(config: EncoderConfig) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name not in _NOT_DECISIVE}
