"""The architecture of a BERT encoder. Imports no framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfpipeline.errors import UserError, did_you_mean

# Never the ambiguous "gelu": google-research/bert computes the tanh form under that name, transformers the
# exact one.
ACTIVATIONS = ("gelu_erf", "gelu_tanh", "relu", "silu", "tanh")

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """All that decides what a BERT encoder computes, besides its weights.

    Nothing that changes a number has a default: a checkpoint format that lacks a field states its own
    constant. Names are those of google-research/bert's ``BertConfig`` and of transformers.

    Raises:
        UserError: a value can't be; names the field.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_act: str
    layer_norm_eps: float
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    pooler: bool = True

    def __post_init__(self) -> None:
        for name in _SIZES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size is {self.hidden_size}, which num_attention_heads ({self.num_attention_heads}) "
                "does not divide; one of them is wrong"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise UserError(
                f'hidden_act is "{self.hidden_act}"{did_you_mean(str(self.hidden_act), ACTIVATIONS)}'
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise UserError(f"{name} is {value!r}; it must be at least 0 and below 1")
        for name in ("layer_norm_eps", "initializer_range"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
                raise UserError(f"{name} is {value!r}; it must be above 0 and below 1")
        if not isinstance(self.pooler, bool):
            raise UserError(f"pooler is {self.pooler!r}; it must be true or false")

    @property
    def head_size(self) -> int:
        """D: the size of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def to_dict(self) -> dict[str, Any]:
        """All fields, for a JSON file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BertConfig:
        """What :meth:`to_dict` gave.

        Raises:
            UserError: a field is missing or unknown.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise UserError(f'unknown field "{name}" in a model configuration{did_you_mean(name, known)}')
        for field in dataclasses.fields(cls):
            if field.default is dataclasses.MISSING and field.name not in values:
                raise UserError(f'a model configuration has no "{field.name}"; add it')
        return cls(**values)
