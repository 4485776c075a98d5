"""The names of a model's inputs, and of a tokenizer's further outputs. Imports no framework.

Everything between texts and a model (the token cache, the training step, predictions, signatures) takes the
names from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
"""The encoder's inputs, each int32 [B, T]."""

OFFSETS = ("offsets", "word_starts")
"""The positions of tokens in their texts: int32 [B, T, 2] and [B, T]. Tasks with ``offsets`` read them."""

WORD_WEIGHTS = "word_weights"
"""The weight of each token's word embedding, float32 [B, T]: 1 keeps it, 0 removes it, as if the token had a
position and a type but no word. Used to explain predictions. An encoder that accepts it says so in
``reads_word_weights`` of its configuration."""

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


SECOND = "text_pair/"
"""The prefix of the names of the second text's inputs and outputs, if both texts are encoded separately."""


def encoder_inputs(batch: Mapping[str, T]) -> dict[str, T]:
    """Select the encoder's inputs from a batch, which may also hold targets, weights, offsets and texts.

    This is the only place that decides a model's arguments. If texts are encoded separately, the inputs of
    the second text are ``text_pair/NAME``.
    """
    names = (*INPUTS, *(SECOND + name for name in INPUTS if SECOND + name in batch))
    return {name: batch[name] for name in names}


def of_second_text(tensors: Mapping[str, T]) -> dict[str, T]:
    """The second text's tensors under their own names; empty if there is no second sequence."""
    return {name.removeprefix(SECOND): value for name, value in tensors.items() if name.startswith(SECOND)}


def sequences(tensors: Mapping[str, T]) -> list[dict[str, T]]:
    """The tensors of each sequence of a batch, one or two, under the names of the first."""
    first = {name: value for name, value in tensors.items() if not name.startswith(SECOND)}
    second = of_second_text(tensors)
    return [first, second] if second else [first]


def as_second_text(tensors: Mapping[str, T]) -> dict[str, T]:
    """The inverse of :func:`of_second_text`."""
    return {SECOND + name: value for name, value in tensors.items()}
