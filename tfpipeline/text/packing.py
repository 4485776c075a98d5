"""Makes rows for the encoder, in the graph: texts are truncated, surrounded by special tokens and padded."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from tfpipeline.text.truncation import holds


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The tokens of B texts, one text after the other.

    Attributes:
        ids: int32 [tokens].
        splits: int64 [B + 1], where each text begins.
        columns: further int32 [tokens, ...], by name.
    """

    ids: Any
    splits: Any
    columns: dict[str, Any]

    @property
    def lengths(self) -> Any:
        """int32 [B], the number of tokens of each text."""
        return tf.cast(self.splits[1:] - self.splits[:-1], tf.int32)


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """The ids of a tokenizer's special tokens, in an object because TensorFlow would track each element of a
    tuple.

    Attributes:
        single, pair: for a row of one text and of two: the ids before the first text, and those after each
            text.
        pad, unknown: the ids of padding and of unknown tokens.
    """

    single: tuple[tuple[int, ...], ...]
    pair: tuple[tuple[int, ...], ...]
    pad: int
    unknown: int

    def pack(self, parts: list[tuple[Tokens, Any]], *tails: Any) -> dict[str, Any]:
        """Surround texts with special tokens and pad rows to the longest.

        Args:
            parts: each text of an example, and the number of its tokens that are kept, int32 [B].
            tails: for each text the share of its kept tokens that is taken from its end, float64 [], or None
                for none; texts without one keep their beginning.
        Returns:
            ``input_ids``, ``token_type_ids``, ``attention_mask`` and the further columns, int32 [B, T, ...];
            ``cut``, ``cut_pair`` (of the second text, 0 without one) and ``unknown``, int32 [B].
        """
        before, *behind = self.pair if len(parts) == 2 else self.single
        special = len(before) + sum(map(len, behind))
        totals = tf.add_n([kept for _, kept in parts]) + special
        # Without any examples, reduce_max would be the smallest integer.
        longest = tf.reduce_max(tf.concat([totals, [special]], axis=0))
        columns = tf.range(longest)[tf.newaxis]  # [1, T]
        real = columns < totals[:, tf.newaxis]  # [B, T]
        ids = tf.fill([tf.shape(totals)[0], longest], self.pad)
        for position, token in enumerate(before):
            ids = tf.where(tf.equal(columns, position), token, ids)
        types = tf.zeros_like(ids)
        cut = cut_pair = tf.zeros_like(totals)
        further = {
            name: tf.zeros(tf.concat([tf.shape(ids), column.shape[1:]], axis=0), tf.int32)
            for name, column in parts[0][0].columns.items()
        }
        start: Any = len(before)  # of the text, an int or int32 [B, 1]
        tails = (*tails, *[None] * (len(parts) - len(tails)))
        for text, ((tokens, kept), separators, tail) in enumerate(zip(parts, behind, tails)):
            within = columns - start  # [B, T], the first one [1, T]
            size = kept[:, tf.newaxis]
            source = tf.cast(tokens.splits[:-1], tf.int32)[:, tf.newaxis] + within
            left_out = tokens.lengths - kept
            if tail is not None:
                head = kept - _rounded_share(kept, tail)
                source += tf.where(within < head[:, tf.newaxis], 0, left_out[:, tf.newaxis])
            begun = within >= 0
            inside = begun & (within < size)
            source = tf.where(inside, source, 0)
            values = tf.concat([tokens.ids, [self.pad]], axis=0)  # there may be none
            ids = tf.where(inside, tf.gather(values, source), ids)
            for position, token in enumerate(separators):
                ids = tf.where(tf.equal(within, size + position if position else size), token, ids)
            for name, column in tokens.columns.items():
                picked = tf.gather(tf.pad(column, [[0, 1], *[[0, 0]] * (column.shape.rank - 1)]), source)
                here = tf.reshape(inside, tf.concat([tf.shape(ids), [1] * (column.shape.rank - 1)], axis=0))
                further[name] = tf.where(here, picked, further[name])
            if tail is not None and further:
                # After a gap, the rest of a word counts as a word.
                seam = inside & tf.equal(within, head[:, tf.newaxis]) & (left_out[:, tf.newaxis] > 0)
                further["word_starts"] = tf.where(seam, 1, further["word_starts"])
            if text:
                types = tf.where(begun & real, text, types)
            cut += left_out
            cut_pair = left_out if text else cut_pair
            start = size + (start + len(separators))
        mask = tf.cast(real, tf.int32)
        unknown = tf.reduce_sum(mask * tf.cast(tf.equal(ids, self.unknown), tf.int32), axis=-1)
        encoded = {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
        return {**encoded, "cut": cut, "cut_pair": cut_pair, "unknown": unknown, **further}


def longest_first(first: Any, second: Any, room: Any) -> tuple[Any, Any]:
    """How many tokens of each text of a pair are kept: the longer text is truncated first.

    If both are truncated, an odd position goes to the longer text, or to the second if they are equal
    (``tokenizers``: ``TruncationStrategy::LongestFirst``).

    Args:
        first, second: int32 [B], their numbers of tokens.
        room: int32 [], the maximum number of tokens of both together.
    Returns:
        int32 [B], int32 [B].
    """
    shorter, longer = tf.minimum(first, second), tf.maximum(first, second)
    rest = tf.maximum(shorter, room - shorter)
    both = shorter + rest > room
    short_kept = tf.where(both, room // 2, shorter)
    long_kept = tf.where(both, room // 2 + room % 2, tf.minimum(longer, rest))
    fits = first + second <= room
    swap = first > second
    kept_first = tf.where(swap, long_kept, short_kept)
    kept_second = tf.where(swap, short_kept, long_kept)
    return tf.where(fits, first, tf.minimum(first, kept_first)), tf.where(
        fits, second, tf.minimum(second, kept_second)
    )


def first_and_windows(
    first: Any,
    second: Any,
    max_length: Any,
    overlap: Any,
    max_windows: Any,
    first_text: Any,
    *,
    in_front: int,
    after: int,
) -> tuple[Any, Any]:
    """How many tokens of each text of a pair are kept when the second text is read in windows.

    If the second text leaves more room in a window than ``first_text``, the first text gets all of it, and
    the row fits into one window.

    Args:
        first, second: int32 [B], their tokens.
        max_length, overlap, max_windows, first_text: int32 [], see :class:`Truncation`.
        in_front, after: numbers of special tokens before and after the second text.
    Returns:
        int32 [B], int32 [B].
    """
    room = max_length - (in_front + after)
    first_kept = tf.minimum(first, tf.maximum(first_text, room - second))
    prefix = first_kept + in_front
    read = holds(prefix, max_length, overlap, after, max_windows) - prefix - after
    return first_kept, tf.minimum(second, tf.maximum(room - first_kept, read))


def _rounded_share(kept: Any, share: Any) -> Any:
    """int32 [B]; computed in float64, so that it equals Python's ``round``."""
    return tf.cast(tf.round(tf.cast(kept, tf.float64) * share), tf.int32)
