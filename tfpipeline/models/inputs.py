"""The names of a model's inputs, and of a tokenizer's further outputs. Imports no framework.

Everything between texts and a model (the token cache, the training step, predictions, signatures) takes the
names from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tfpipeline.data.text_names import TEXT, TEXT_PAIR, divided, key, of_text, texts_of

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
"""The encoder's inputs, each int32 [B, T]."""

OFFSETS = ("offsets", "word_starts")
"""The positions of tokens in their texts: int32 [B, T, 2] and [B, T]. Tasks with ``offsets`` read them."""

WORD_WEIGHTS = "word_weights"
"""The weight of each token's word embedding, float32 [B, T]: 1 keeps it, 0 removes it, as if the token had a
position and a type but no word. Used to explain predictions. An encoder that accepts it says so in
``reads_word_weights`` of its configuration."""

CAUSAL_MASK = "causal_mask"
"""Which tokens are seen only from their own position and later ones, int32 [B, T]: 1 for those, 0 for tokens
that are seen from everywhere. 0 for a source and 1 for the target behind it makes a prefix language model. An
encoder that accepts it says so in ``generates`` of its configuration."""

PREDICTED_POSITIONS = "predicted_positions"
"""The positions that a head predicts, int32 [B, P], -1 for unused ones. Read by heads that predict some
tokens only, if the batch has it (see :mod:`tfpipeline.models.masked_lm_head`); encoders ignore it."""

PREDICTED_IDS = "predicted_ids"
"""The tokens at the predicted positions, int32 [B, P], of any value for unused ones. A head that reads them
gives their log-probabilities (see :mod:`tfpipeline.models.generation_head`); encoders ignore them."""

ADAPTERS = "adapters"
"""The number of each row's adapter, int32 [B], in a model of many adapters (see
:mod:`tfpipeline.models.row_changes`)."""

_OPTIONAL = (CAUSAL_MASK, PREDICTED_POSITIONS, PREDICTED_IDS, ADAPTERS)

T = TypeVar("T")


@dataclass(frozen=True)
class InputLimits:
    """What a model can read.

    Attributes:
        vocabulary: token ids are from 0 up to, but not including, this number.
        types: token types are from 0 up to, but not including, this number.
        width: the maximum number of tokens of a row, including special tokens and padding.
    """

    vocabulary: int
    types: int
    width: int


def encoder_inputs(batch: Mapping[str, T]) -> dict[str, T]:
    """Select a model's inputs from a batch, which may also hold targets, weights, offsets and texts.

    This is the only place that decides a model's arguments. If the texts of a row are encoded separately, the
    inputs of every text but the first are called ``TEXT/NAME``, such as ``text_pair/input_ids``.
    """
    others = (key(text, name) for text in texts_of(batch)[1:] for name in INPUTS)
    names = (*INPUTS, *(name for name in (*others, *_OPTIONAL) if name in batch))
    return {name: batch[name] for name in names}


def by_text(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """The tensors of each sequence of a batch, by the name of its text, under their own names."""
    return divided(tensors, texts_of(tensors))


def sequences(tensors: Mapping[str, T]) -> list[dict[str, T]]:
    """The tensors of each sequence of a batch, that of ``text`` first, under their own names."""
    return list(by_text(tensors).values())


def of_second_text(tensors: Mapping[str, T]) -> dict[str, T]:
    """The second text's tensors under their own names; empty if it has none."""
    return divided(tensors, (TEXT, TEXT_PAIR))[TEXT_PAIR]


def as_second_text(tensors: Mapping[str, T]) -> dict[str, T]:
    """The inverse of :func:`of_second_text`."""
    return of_text(TEXT_PAIR, tensors)
