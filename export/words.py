"""Converts values of tokens to values of words, with the words' positions in the texts, in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.text.code_points import CodePoints

TEXTS = ("text", "text_pair")


def is_text(tokens: Mapping[str, Any]) -> Any:
    """The tokens that represent a part of a text, bool [B, T]: not padding, and not [CLS] and the like.

    A special token that is written in a text is part of the text.
    """
    offsets = tokens["offsets"]
    return (offsets[:, :, 1] > offsets[:, :, 0]) & (tokens["attention_mask"] > 0)


def of_tokens(
    sequences: Sequence[Mapping[str, Any]],
    texts: Mapping[str, Any],
    scores: Sequence[tf.Tensor],
    width: int,
) -> dict[str, tf.Tensor]:
    """The words of the texts, those of ``text`` first.

    A word is what the tokenizer looks up: a run of letters and digits, or a single sign, emoji or Chinese
    character. What readers see as one character is never split.

    Args:
        sequences: for each sequence of a row (two if the texts of a pair are encoded separately) its
            ``token_type_ids``, ``attention_mask``, ``word_starts``, int32 [B, T], and ``offsets`` [B, T, 2].
        texts: ``text`` and perhaps ``text_pair``, string [B].
        scores: float32 [B, T], for each sequence.
        width: W, the maximum number of words per row.
    Returns:
        ``words`` string [B, W]; ``starts`` and ``ends`` int32 [B, W], code points of the word's own text;
        ``text_numbers`` int32 [B, W], 0 for ``text`` and 1 for ``text_pair``; ``scores`` float32 [B, W], the
        sum over the word's tokens; ``count`` int32 [B]. After a row's last word, values are empty and 0.
    """
    rows = tf.shape(texts["text"])[0]
    count = tf.zeros([rows], tf.int32)
    words: dict[str, Any] = {}
    for number, name in enumerate(name for name in TEXTS if name in texts):
        joint = len(sequences) < len(texts)
        tokens, values = (sequences[0], scores[0]) if joint else (sequences[number], scores[number])
        own = is_text(tokens)
        if joint:  # both texts in one sequence, or the only one
            own &= tf.equal(tokens["token_type_ids"], number)
        points, offsets = CodePoints(texts[name]), tokens["offsets"]
        begins = own & (tokens["word_starts"] > 0) & points.begin_a_character(offsets)
        # Anything before the first start belongs to the first word.
        order = tf.maximum(tf.cumsum(tf.cast(begins, tf.int32), axis=1) - 1, 0) + count[:, None]
        word = tf.where(own, order + width * tf.range(rows)[:, None], -1)

        def of_words(reduce: Any, values: Any, word: Any = word) -> Any:
            return tf.reshape(reduce(values, word, rows * width), [rows, width])

        filled = of_words(tf.math.unsorted_segment_max, tf.cast(own, tf.int32)) > 0
        starts = of_words(tf.math.unsorted_segment_min, offsets[:, :, 0])
        ends = of_words(tf.math.unsorted_segment_max, offsets[:, :, 1])
        starts, ends = (tf.where(filled, places, 0) for places in (starts, ends))
        starts, ends = points.first(starts), points.whole(ends)
        part = {
            "words": points.cut(starts, ends),
            "starts": starts,
            "ends": ends,
            "text_numbers": tf.where(filled, number, 0),
            "scores": of_words(tf.math.unsorted_segment_sum, values),
        }
        words = {
            key: tf.ensure_shape(
                tf.where(filled, values, words.get(key, tf.zeros_like(values))), [None, width]
            )
            for key, values in part.items()
        }
        count += tf.reduce_sum(tf.cast(filled, tf.int32), axis=1)
    return {**words, "count": count}
