"""Words of normalised text to token ids: the longest match first, for all words of a batch at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfpipeline.text.vocabulary import LONGEST_WORD

_ID_MASK = (1 << 32) - 1


class PrefixTable(tf.Module):
    """Finds the longest token at many positions at once.

    A hash table from every prefix of a token to the longest token within that prefix. A prefix of a prefix is
    in the table too, so the longest one that fits is found by binary search over its length.

    Args:
        prefixes: from `vocabulary.prefix_tables`.
        name: of the table.
    """

    def __init__(self, prefixes: Mapping[bytes, int], name: str) -> None:
        super().__init__(name=name)
        # A table cannot be empty; no text is the empty string.
        prefixes = prefixes or {b"": 0}
        self._steps = max(map(len, prefixes)).bit_length()
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(prefixes)), tf.constant(list(prefixes.values()), tf.int64)
            ),
            default_value=-1,
        )

    def lookup(self, words: Any) -> Any:
        """The longest token within each word.

        Args:
            words: string [W].
        Returns:
            int64 [W]: length in bytes << 32 | id; 0 or -1 if there is none.
        """
        return self._table.lookup(words)

    def longest(self, text: Any, places: Any) -> tuple[Any, Any]:
        """The longest token that begins at each position of a text.

        Args:
            text: string [], with at least twice as many blanks after the last word as the longest token has
                bytes; no token contains a character that ends a word.
            places: int32 [M], byte offsets in `text`.
        Returns:
            lengths int32 [M], 0 if no token fits, and ids int32 [M].
        """
        length = tf.zeros_like(places)
        best = tf.zeros_like(places, tf.int64)
        for step in reversed(range(self._steps)):
            longer = length + (1 << step)
            values = self._table.lookup(tf.raw_ops.Substr(input=text, pos=places, len=longer, unit="BYTE"))
            length = tf.where(values >= 0, longer, length)
            best = tf.maximum(best, values)  # the length is in the high bits
        return token_length(best), token_id(best)

    @property
    def reach(self) -> int:
        """The number of bytes past a position that `longest` may read."""
        return 1 << self._steps


def token_length(value: Any) -> Any:
    """int32 [..], the length in bytes, from a table's int64 value."""
    return tf.cast(tf.bitwise.right_shift(value, tf.constant(32, tf.int64)), tf.int32)


def token_id(value: Any) -> Any:
    """int32 [..], the id, from a table's int64 value."""
    return tf.cast(tf.bitwise.bitwise_and(value, tf.constant(_ID_MASK, tf.int64)), tf.int32)


class LongestMatch(tf.Module):
    """Splits words into tokens, greedily, as WordPiece does.

    Source: Wu et al. 2016, arXiv:1609.08144, and BERT's own ``tokenization.py``: a word of more than 100
    characters, or one with a remainder that no token begins, becomes the unknown token.

    Args:
        starts: table of the tokens that begin a word.
        continuations: table of those that continue one, without ``##``.
        unknown: id of the unknown token.
    """

    def __init__(self, starts: PrefixTable, continuations: PrefixTable, unknown: int) -> None:
        super().__init__(name="longest_match")
        self.starts = starts
        self.continuations = continuations
        self._unknown = unknown

    @property
    def padding(self) -> int:
        """How many blanks must follow the last word."""
        return max(self.starts.reach, self.continuations.reach)

    def __call__(self, text: Any, begin: Any, end: Any) -> tuple[Any, Any]:
        """Split words that follow one another.

        Args:
            text: string [], followed by `padding` blanks.
            begin, end: int32 [W], byte offsets of each word, rising.
        Returns:
            places int32 [T] (byte offset of each token, rising) and ids int32 [T].
        """
        words = tf.raw_ops.Substr(input=text, pos=begin, len=end - begin, unit="BYTE")
        tokens = self.starts.lookup(words)
        whole = tf.equal(token_length(tokens), end - begin)
        ids = tf.where(whole, token_id(tokens), self._unknown)
        return tf.cond(
            tf.reduce_all(whole),
            lambda: (begin, ids),
            lambda: self._split(text, words, begin, end, ids, whole),
        )

    def _split(self, text: Any, words: Any, begin: Any, end: Any, ids: Any, whole: Any) -> tuple[Any, Any]:
        """Split the words that are not tokens, and merge the pieces with the words that are."""
        rest = tf.where(tf.logical_not(whole))[:, 0]
        # A single character cannot be split; Chinese has many that are unknown.
        characters = tf.strings.length(tf.gather(words, rest), unit="UTF8_CHAR")
        rest = tf.gather(rest, tf.where((characters > 1) & (characters <= LONGEST_WORD))[:, 0])
        places, pieces = self._pieces(text, tf.gather(begin, rest), tf.gather(end, rest))
        # A byte offset holds at most one token, so a row of all offsets merges the two lists in order.
        merged = tf.scatter_nd(begin[:, tf.newaxis], ids + 1, end[-1:])
        merged = tf.tensor_scatter_nd_update(merged, places[:, tf.newaxis], pieces + 1)
        where = tf.where(merged > 0)[:, 0]
        return tf.cast(where, tf.int32), tf.gather(merged, where) - 1

    def _pieces(self, text: Any, begin: Any, end: Any) -> tuple[Any, Any]:
        """Places and ids of the pieces of those words that can be split: int32 [T], int32 [T]."""
        # All bytes of all words, one after the other: [M]; `first` is where each word begins there.
        splits, places = tf.raw_ops.RaggedRange(starts=begin, limits=end, deltas=1, Tsplits=tf.int32)
        first, last = splits[:-1], splits[1:]
        count = splits[-1]
        # The longest token at every position, needed or not: fewer and larger steps than word by word.
        lengths, ids = tf.cond(
            tf.strings.length(text) > tf.strings.length(text, unit="UTF8_CHAR"),
            lambda: self._at_characters(text, places),
            lambda: self.continuations.longest(text, places),
        )
        start_lengths, start_ids = self.starts.longest(text, begin)
        lengths = tf.tensor_scatter_nd_update(lengths, first[:, tf.newaxis], start_lengths)
        ids = tf.tensor_scatter_nd_update(ids, first[:, tf.newaxis], start_ids)

        number = tf.range(1, tf.shape(begin)[0] + 1)

        # Follow the tokens of each word from its first position. `owner` is the number of the word that has a
        # token at a position, or 0. A finished word waits after the last position.
        def step(at: Any, owner: Any) -> tuple[Any, Any]:
            owner = tf.tensor_scatter_nd_update(owner, at[:, tf.newaxis], number)
            length = tf.gather(lengths_and_stop, at)
            onward = at + length
            return tf.where((onward < last) & (length > 0), onward, count), owner

        lengths_and_stop = tf.concat([lengths, [0]], axis=0)
        _, owner = tf.while_loop(
            lambda at, _: tf.reduce_any(at < count),
            step,
            (first, tf.zeros([count + 1], tf.int32)),
            shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
            parallel_iterations=1,
        )
        taken = tf.where(owner[:-1] > 0)[:, 0]
        owner = tf.gather(owner, taken) - 1
        # If no token fits at a position, its whole word is unknown.
        fits = tf.gather(lengths, taken) > 0
        spoilt = tf.math.unsorted_segment_min(tf.cast(fits, tf.int32), owner, tf.shape(begin)[0])
        taken = tf.gather(taken, tf.where(tf.gather(spoilt, owner) > 0)[:, 0])
        return tf.gather(places, taken), tf.gather(ids, taken)

    def _at_characters(self, text: Any, places: Any) -> tuple[Any, Any]:
        """Like `continuations.longest`, but searches only where a character begins, because no token begins
        within one.
        """
        codes = tf.gather(tf.io.decode_raw(text, tf.uint8), places)
        begins = tf.where(tf.not_equal(tf.bitwise.bitwise_and(codes, 0xC0), 0x80))
        lengths, ids = self.continuations.longest(text, tf.gather_nd(places, begins))
        shape = tf.shape(places, out_type=tf.int64)
        return tf.scatter_nd(begins, lengths, shape), tf.scatter_nd(begins, ids, shape)
