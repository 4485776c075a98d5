"""The names of what a model reads, and of what a tokenizer says besides. Imports no framework.

Everything between texts and a model (the token cache, the training step, predictions, signatures) takes the
names from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

INPUTS = ("input_ids", "token_type_ids", "attention_mask")
"""The encoder's inputs, each int32 [B, T]."""

OFFSETS = ("offsets", "word_starts")
"""Where the tokens stand in their texts: int32 [B, T, 2] and [B, T]. Tasks with ``offsets`` read them."""

WORD_WEIGHTS = "word_weights"
"""How much of each token's word embedding is read, float32 [B, T]: 1 all of it, 0 none, as if the token had
a position and a type but no word. Given to explain predictions; an encoder says in ``reads_word_weights`` of
its configuration that it takes it."""

T = TypeVar("T")


SECOND = "text_pair/"
"""What the names of the second text's inputs and outputs begin with, where both texts are encoded
separately."""


def encoder_inputs(batch: Mapping[str, T]) -> dict[str, T]:
    """The encoder's inputs among what is known of a batch (targets, weights, offsets, texts).

    This is the one place that decides what a model is called with. Of texts that are encoded separately, the
    second one's are there as ``text_pair/NAME``.
    """
    names = (*INPUTS, *(SECOND + name for name in INPUTS if SECOND + name in batch))
    return {name: batch[name] for name in names}


def of_second_text(tensors: Mapping[str, T]) -> dict[str, T]:
    """The second text's tensors under their own names; empty where there is no second sequence."""
    return {name.removeprefix(SECOND): value for name, value in tensors.items() if name.startswith(SECOND)}


def sequences(tensors: Mapping[str, T]) -> list[dict[str, T]]:
    """What is known of each sequence of a batch, under the names of the first one: of one, or of two."""
    first = {name: value for name, value in tensors.items() if not name.startswith(SECOND)}
    second = of_second_text(tensors)
    return [first, second] if second else [first]


def as_second_text(tensors: Mapping[str, T]) -> dict[str, T]:
    """The inverse of :func:`of_second_text`."""
    return {SECOND + name: value for name, value in tensors.items()}
