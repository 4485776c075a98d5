"""The configuration of encoders of any architecture. Imports no framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Optional, TypeVar

from tfpipeline.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from tfpipeline.models.architectures import Encoder

# Not the ambiguous "gelu": under that name, google-research/bert computes the tanh approximation, and
# transformers the exact function.
ACTIVATIONS = ("gelu_erf", "gelu_tanh", "relu", "silu", "tanh")

_HERE = "tfpipeline.models.architectures."
_Config = TypeVar("_Config", bound="EncoderConfig")


class EncoderConfig:
    """The base class of configurations, which are frozen dataclasses with at least these fields.

    No field that affects results has a default. A checkpoint format that lacks a field states its own
    constant.

    Attributes:
        architecture: its name for :func:`tfpipeline.models.architectures.find`; by default that of the
            module.
        norm_first: whether blocks normalise their inputs instead of their outputs (pre-normalisation, Xiong
            et al. 2020, arXiv:2002.04745); the output of the last block is then normalised too.
        causal: whether a position attends only to itself and to earlier positions.
        generates: whether the encoder takes the input ``causal_mask`` and has the methods
            ``keys_and_values`` and ``extend``, without which it cannot write texts; see
            :class:`tfpipeline.models.architectures.Encoder`.
        reads_word_weights: whether the encoder takes the input ``word_weights``, without which predictions
            cannot be explained; see :mod:`tfpipeline.models.inputs`.
        vocab_size: V, rows of the word embeddings.
        hidden_size: H.
        num_hidden_layers: L.
        num_attention_heads: N; ``head_size`` D = H / N.
        intermediate_size: I, the size of the inner layer of a block's feed-forward part.
        max_position_embeddings: P, maximum number of tokens of a sequence.
        type_vocab_size: Y, number of token types; 1 if they are not distinguished.
        hidden_act: one of :data:`ACTIVATIONS`.
        layer_norm_eps: LayerNorm's epsilon.
        hidden_dropout_prob: share of hidden states dropped in training.
        attention_probs_dropout_prob: share of attention weights dropped in training.
        initializer_range: standard deviation of initial weights.
    """

    architecture: ClassVar[str]
    norm_first: ClassVar[bool] = False
    causal: ClassVar[bool] = False
    reads_word_weights: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    changes_rows: ClassVar[bool] = False

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_act: str
    layer_norm_eps: float
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    initializer_range: float

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "architecture" not in vars(cls):  # a class derived from another one is another architecture
            here = cls.__module__.startswith(_HERE)
            cls.architecture = (
                cls.__module__.removeprefix(_HERE).partition(".")[0] if here else cls.__module__
            )

    @property
    def head_size(self) -> int:
        """D: the size of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the encoder's outputs: ``sequence_output``, and perhaps ``pooled_output``."""
        raise NotImplementedError

    def tensors(self) -> Mapping[str, str]:
        """The neutral names of the encoder's tensors, ``{i}`` for the layer, with their axes: ``"H N D"``."""
        raise NotImplementedError

    def axis_sizes(self) -> dict[str, int]:
        """The size of each axis of :meth:`tensors`, by its letter."""
        raise NotImplementedError

    def encoder(
        self, *, uninitialized: bool = False, seed: int = 0, name: str = "encoder", **options: Any
    ) -> Encoder:
        """A new encoder: a Keras layer with random weights.

        Args:
            uninitialized: leave the weights unset, for an immediate ``assign``.
            seed: the seed of the dropout masks of calls without ``noise``.
            name, options: Keras's.
        """
        raise NotImplementedError

    def smallest(self: _Config) -> _Config:
        """The smallest model of this kind with the same vocabulary and positions."""
        raise NotImplementedError

    def with_dropout(self: _Config, rate: float) -> _Config:
        """The same configuration with this dropout rate everywhere."""
        return self.replace(hidden_dropout_prob=rate, attention_probs_dropout_prob=rate)

    def replace(self: _Config, **fields: Any) -> _Config:
        """The same configuration with some fields replaced.

        Raises:
            UserError: the values are invalid.
        """
        return dataclasses.replace(self, **fields)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """The architecture and all fields, for a JSON file."""
        return {"architecture": self.architecture, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[_Config], values: Mapping[str, Any]) -> _Config:
        """The inverse of :meth:`to_dict`; ``architecture`` may be left out.

        Raises:
            UserError: a field is missing, unknown or invalid, or the architecture differs.
        """
        fields: dict[str, dataclasses.Field[Any]] = {
            field.name: field
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        }
        values = dict(values)
        architecture = values.pop("architecture", cls.architecture)
        if architecture != cls.architecture:
            raise UserError(f'the model configuration is for "{architecture}", not "{cls.architecture}"')
        for name in values:
            if name not in fields:
                raise UserError(
                    f'unknown field "{name}" in a model configuration{did_you_mean(name, list(fields))}'
                )
        for name, field in fields.items():
            if field.default is dataclasses.MISSING and name not in values:
                raise UserError(f'a model configuration has no "{name}"; add it')
        return cls(**values)


def require_sizes(config: EncoderConfig, *names: str) -> None:
    """Raise a UserError unless these fields are whole numbers of at least 1."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} is {value!r}; it must be a whole number of at least 1")


def require_shares(config: EncoderConfig, *names: str, zero: bool) -> None:
    """Raise a UserError unless these fields are numbers below 1 and above 0, or at least 0 with ``zero``."""
    for name in names:
        value: Optional[Any] = getattr(config, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not (0 <= value < 1 if zero else 0 < value < 1):  # type: ignore[operator]
            least = "at least 0" if zero else "above 0"
            raise UserError(f"{name} is {value!r}; it must be {least} and below 1")


def require_activation(config: EncoderConfig) -> None:
    """Raise a UserError unless ``hidden_act`` is one of :data:`ACTIVATIONS`."""
    if config.hidden_act not in ACTIVATIONS:
        raise UserError(
            f'hidden_act is "{config.hidden_act}"{did_you_mean(str(config.hidden_act), ACTIVATIONS)}'
        )
