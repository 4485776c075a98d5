"""Finds the tokens that begin words, for tasks that predict words. Each function exists for one row and in
the graph.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


def begins_a_character(text: str, offsets: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Whether each token of a text begins outside the character in which the previous token ends, bool [T].

    To a tokenizer that keeps accents, what follows a symbol or a Chinese character is another word, even
    combining marks. In the graph: ``CodePoints.begin_a_character``.
    """
    from tfpipeline.text.graphemes import character_starts

    begins = np.ones(len(real), bool)
    starts = np.flatnonzero(character_starts(text))
    at = np.flatnonzero(real[1:] & real[:-1]) + 1
    first = starts[np.searchsorted(starts, offsets[at, 0], side="right") - 1]
    begins[at] = first >= offsets[at - 1, 1]
    return begins


def behind_space(text: str, offsets: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Whether each token of a text is the first, or follows white space or dropped characters, bool [T]."""
    blanks = spaces()
    begins = np.ones(len(real), bool)
    for at in np.flatnonzero(real[1:] & real[:-1]) + 1:
        between = text[offsets[at - 1, 1] : offsets[at, 0]]
        begins[at] = not blanks.isdisjoint(between) or any(map(str.isalnum, between))
    return begins


def behind_space_in_graph(texts: Any, offsets: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """The same for several texts, bool [B, T]."""
    import tensorflow as tf

    ends = tf.pad(offsets[:, :-1, 1], [[0, 0], [1, 0]])
    between = texts.cut(ends, offsets[:, :, 0])
    blanks = "".join(f"\\x{{{ord(space):x}}}" for space in sorted(spaces()))
    first = tf.logical_not(tf.pad(real[:, :-1], [[0, 0], [1, 0]]))
    return first | tf.strings.regex_full_match(between, f"\\C*[{blanks}\\pL\\pN]\\C*")


@functools.lru_cache(maxsize=1)
def spaces() -> frozenset[str]:
    """The characters that BERT treats as white space."""
    from tfpipeline.text.unicode_tables import space_points

    return frozenset(map(chr, space_points()))
