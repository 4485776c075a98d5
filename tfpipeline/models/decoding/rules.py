"""What decoding is told: the rules of a model, and the choices of each source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

import tensorflow as tf

Choice = Union[bool, int, float, tf.Tensor]


@dataclass(frozen=True)
class Rules:
    """What is the same for all sources. Letters: W beams or drawn texts, N texts returned, L tokens.

    Attributes:
        end: the token that ends a text, [SEP].
        vocabulary: the number of tokens; logits may have further places, which are never chosen.
        most_tokens: L, the most tokens of a text.
        width: W, the most beams or drawn texts of a source.
        returned: N, the number of texts for each source, at most W.
        never: tokens that are never chosen.
        forced: the first tokens of every text; they cost nothing.
        banned: sequences of two or more tokens that no text contains.
        exempt: tokens that may be part of a repeated n-gram.
        early_stopping: whether a search of several beams ends once it has as many complete texts as beams.
    """

    end: int
    vocabulary: int
    most_tokens: int
    width: int = 1
    returned: int = 1
    never: tuple[int, ...] = ()
    forced: tuple[int, ...] = ()
    banned: tuple[tuple[int, ...], ...] = ()
    exempt: tuple[int, ...] = ()
    early_stopping: bool = True


@dataclass(frozen=True)
class Choices:
    """What each source chooses: a number for all of them, or a tensor [B].

    A number makes a graph without the operations that it does not need.

    Attributes:
        num_beams: int32, 1 to W; 1 is greedy. Of no meaning with ``do_sample``.
        do_sample: whether tokens are drawn at random.
        temperature, top_p: float32, above 0.
        top_k: int32; 0 for all.
        length_penalty: float32; a score is divided by the length to this power.
        min_new_tokens, max_new_tokens: int32; ``max_new_tokens`` is 1 to L.
        no_repeat_ngram_size: int32; 0 for none.
        repetition_penalty: float32, above 0; 1 for none.
        seed: int32, 0 or more.
    """

    num_beams: Choice = 1
    do_sample: Choice = False
    temperature: Choice = 1.0
    top_k: Choice = 0
    top_p: Choice = 1.0
    length_penalty: Choice = 1.0
    min_new_tokens: Choice = 0
    max_new_tokens: Choice = 1
    no_repeat_ngram_size: Choice = 0
    repetition_penalty: Choice = 1.0
    seed: Choice = 0

    def __getitem__(self, name: str) -> Choice:
        value: Choice = getattr(self, name)
        return value

    def per_row(self, name: str, rows: tf.Tensor, dtype: tf.DType | None = None) -> tf.Tensor:
        """A choice of some sources, [B'].

        Args:
            name: of the choice.
            rows: int32 [B'], the sources.
            dtype: of the result; by default the choice's own.
        """
        value = self[name]
        if tf.is_tensor(value):
            chosen = tf.gather(value, rows)
        else:
            chosen = tf.fill([tf.shape(rows)[0]], tf.constant(value))
        return chosen if dtype is None else tf.cast(chosen, dtype)

    def always(self, name: str, value: float) -> bool:
        """Whether it is known, when the graph is made, that all sources choose this value."""
        own = self[name]
        return not tf.is_tensor(own) and own == value


CHOICES: Mapping[str, Any] = {
    "seed": tf.int32,
    "do_sample": tf.int32,
    "temperature": tf.float32,
    "top_k": tf.int32,
    "top_p": tf.float32,
    "num_beams": tf.int32,
    "min_new_tokens": tf.int32,
    "max_new_tokens": tf.int32,
    "length_penalty": tf.float32,
    "no_repeat_ngram_size": tf.int32,
    "repetition_penalty": tf.float32,
}
