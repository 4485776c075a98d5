"""A checkpoint in memory, the common result of all formats."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tfpipeline.checkpoints.sentence_transformers import SentenceSettings
from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.models import neutral
from tfpipeline.models.config import EncoderConfig
from tfpipeline.text import TokenizerOptions
from tfpipeline.text.vocabulary import load_vocabulary, special_ids, token_ids

if TYPE_CHECKING:
    from tfpipeline.models import Encoder

_Config = TypeVar("_Config", bound=EncoderConfig)
# The multiple that a vocabulary may be padded to: frameworks round it up for fast matrix products.
PADDED_TO, _MOST_PADDING = 8, 128
# The fields, besides weights, in which two checkpoints of the same model agree.
_IDENTITY = ("config", "vocabulary", "tokenizer", "labels", "problem_type", "sentence")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The weights of an encoder and its heads, with everything needed to use them.

    Attributes:
        source: where it was read from.
        format: the format's name.
        config: the architecture.
        vocabulary: the tokens in the order of their ids.
        tokenizer: how text becomes tokens.
        tensors: neutral name -> the encoder's weights; read from the file on access.
        heads: neutral name -> the weights of its heads (``models.neutral.HEADS``); also read on access.
        labels: the names of a classifier's labels, in the order of its outputs; empty without a classifier.
        problem_type: what a sequence classifier's outputs mean, in transformers' words
            (``single_label_classification``, ``multi_label_classification``, ``regression``); None if the
            files do not say.
        sentence: how a text becomes one vector, if the files say so.
        left_out: tensors of the file that are not used -> why.
        notes: conversion decisions and their reasons.
        own_tokenizer: whether vocabulary and tokenizer are what the files in ``source`` say, in transformers'
            layouts.
        display_name: the source as the user named it, if that is not a folder: an archive, a hub id.
    """

    source: Path
    format: str
    config: EncoderConfig
    vocabulary: tuple[str, ...]
    tokenizer: TokenizerOptions
    tensors: Mapping[str, np.ndarray]
    heads: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    labels: tuple[str, ...] = ()
    problem_type: str | None = None
    sentence: SentenceSettings | None = None
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    own_tokenizer: bool = False
    display_name: str = ""
    keep: object = None  # what the lazy tensors need to live, such as a temporary folder

    def __str__(self) -> str:
        """A one-line description."""
        config = self.config
        heads = f", heads {' and '.join(self.head_names)}" if self.head_names else ""
        labels = f" ({', '.join(self.labels)})" if self.labels else ""
        return (
            f"{self.display_name or self.source} ({self.format}): {len(self.tensors)} tensors, "
            f"{config.num_hidden_layers} layers, hidden size {config.hidden_size}, "
            f"{config.num_attention_heads} heads, {len(self.vocabulary)} tokens, "
            f"{'uncased' if self.tokenizer.lowercase else 'cased'}{heads}{labels}"
        )

    @property
    def head_names(self) -> tuple[str, ...]:
        """The heads that exist, of ``models.neutral.HEADS``."""
        return tuple(
            head for head in neutral.HEADS if any(neutral.head_of(name) == head for name in self.heads)
        )

    def encoder(self, config: EncoderConfig | None = None) -> Encoder:
        """The Keras encoder with these weights.

        Args:
            config: the same architecture with other dropout rates; by default the checkpoint's own.
        """
        encoder = (config or self.config).encoder(uninitialized=True)
        encoder.assign(self.tensors)
        return encoder

    def tensor(self, name: str) -> np.ndarray:
        """The tensor with a neutral name, of the encoder or a head."""
        return self.tensors[name] if neutral.head_of(name) is None else self.heads[name]

    def equals(self, other: Checkpoint) -> bool:
        """Whether both hold the same model, bit for bit."""
        return (
            all(getattr(self, name) == getattr(other, name) for name in _IDENTITY)
            and _equal(self.tensors, other.tensors)
            and _equal(self.heads, other.heads)
        )


def say_notes(checkpoint: Checkpoint) -> None:
    """Print the decisions made for a checkpoint; called by everything that uses one."""
    for note in checkpoint.notes:
        say(f"note: {checkpoint.display_name or checkpoint.source}: {note}")


def _equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True) for name in one
    )


def check_vocabulary(
    vocabulary: Sequence[str], options: TokenizerOptions, config: EncoderConfig, where: Path
) -> list[str]:
    """Compare a vocabulary with a model; returns notes.

    Raises:
        UserError: it has more tokens than the model, or fewer than padding explains, or lacks a special
            token.
    """
    try:
        special_ids(token_ids(vocabulary), options)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    count, rows = len(vocabulary), config.vocab_size
    if count == rows:
        return []
    if count < rows and rows % PADDED_TO == 0 and rows - count < _MOST_PADDING:
        return [f"the embeddings have {rows} rows for {count} tokens: padded to a multiple of {PADDED_TO}"]
    raise UserError(_other_size(count, rows, where))


def _other_size(count: int, rows: int, where: Path) -> str:
    """The error for a vocabulary that does not match the model; finds out which file has the tokens."""
    folder, fast = where.parent, where.with_name("tokenizer.json")
    sentence = f"{where if where.exists() or not fast.exists() else fast} has {count} tokens"
    advice = "use the vocabulary the checkpoint came with"
    own = len(load_vocabulary(where)) if where.exists() else count
    if own < count:
        sentence = f"{where} has {own} tokens, and the other tokenizer files in {folder} add {count - own}"
    if own == rows < count:
        advice = "take out the added ones, or use the weights of the model that was extended for them"
    return f"{sentence}, but the model's vocab_size is {rows}; {advice}"


def check_labels(names: Any, count: int, where: Path) -> tuple[str, ...]:
    """A classifier's labels; if ``names`` is None, ``LABEL_0`` and so on, as in transformers.

    Raises:
        UserError: the names are not a list of different names, or not as many as the classifier's outputs.
    """
    if not count:
        return ()
    if names is None:
        return tuple(f"LABEL_{index}" for index in range(count))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: the labels are {names!r}; they must be a list of names")
    if len(names) != count:
        raise UserError(
            f"{where} names {len(names)} labels, but the classifier has {count} outputs; "
            "use its own configuration"
        )
    if len(set(names)) < len(names):
        raise UserError(f"{where} gives two labels the same name; rename one")
    return tuple(names)


def as_float32(array: np.ndarray, name: str, where: Path) -> np.ndarray:
    """A weight as float32, the type of all tensors in this package.

    Args:
        array: as stored, of any float dtype, including bfloat16 (which NumPy knows from ml_dtypes).
        name: its name in the file.
        where: the file.
    Raises:
        UserError: it does not hold floats.
    """
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise UserError(f"{where}: {name} holds {array.dtype}, not floats; the file is not a BERT model's")
    return array.astype(np.float32, copy=False)


def config_from(kind: type[_Config], values: Mapping[str, Any], where: Path) -> _Config:
    """Make a configuration from a format's fields.

    Args:
        kind: the configuration class of the architecture.
        values: the fields.
        where: the file, for the error.
    Raises:
        UserError: a value is invalid.
    """
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
