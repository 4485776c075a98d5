"""Offsets in texts: slicing, and conversion to other units; core operations only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

from tfpipeline.text.graphemes import FIRST_JOINED, GraphemeClass, begins, grapheme_edges
from tfpipeline.text.ragged import row_numbers

Unit = Literal["code_points", "utf8", "utf16"]


class CodePoints:
    """Converts between code points and bytes of texts.

    Bytes that are not UTF-8 count as Python's ``bytes.decode("utf-8", "replace")`` counts them; slices keep
    the original bytes.

    Args:
        texts: string [B].
    """

    def __init__(self, texts: Any) -> None:
        self._texts = texts
        splits, points, starts = tf.raw_ops.UnicodeDecodeWithOffsets(
            input=texts, input_encoding="UTF-8", errors="replace", replacement_char=0xFFFD, Tsplits=tf.int64
        )
        splits = tf.cast(splits, tf.int32)  # with splits of that type the operation aborts (TensorFlow 2.21)
        # One offset more than code points per text: its end.
        count = tf.size(splits) - 1
        self._counts = splits[1:] - splits[:-1]
        self._first = splits[:-1] + tf.range(count)
        row = row_numbers(splits)
        self._points, self._size = points, tf.reshape(tf.size(points) + count, [1])
        where = self._where = (tf.range(tf.size(points)) + row)[:, tf.newaxis]
        last = (self._first + self._counts)[:, tf.newaxis]
        units = 1 + tf.cast(points >= 0x10000, tf.int32)
        passed = tf.cumsum(units)
        before = tf.gather(tf.concat([[0], passed], axis=0), splits)
        self._bytes = _scattered(self._size, where, tf.cast(starts, tf.int32), last, tf.strings.length(texts))
        self._units = _scattered(
            self._size, where, passed - units - tf.gather(before, row), last, before[1:] - before[:-1]
        )

    def cut(self, starts: Any, ends: Any) -> Any:
        """Slice the texts.

        Args:
            starts, ends: int32 [B, ...], code points; a slice outside the text is empty.
        Returns:
            string [B, ...].
        """
        first, last = self._at(self._bytes, starts), self._at(self._bytes, ends)
        # The operation's own broadcasting copies no text. A copy of a text of one megabyte for each offset
        # would take gigabytes.
        shape = tf.shape(starts)
        flat = tf.stack([shape[0], tf.reduce_prod(shape[1:])])
        slices = tf.raw_ops.Substr(
            input=self._texts[:, tf.newaxis],
            pos=tf.reshape(first, flat),
            len=tf.reshape(tf.maximum(last - first, 0), flat),
            unit="BYTE",
        )
        return tf.reshape(slices, shape)

    def convert(self, places: Any, unit: Unit) -> Any:
        """Convert offsets to another unit.

        Args:
            places: int32 [B, ...], code points; negative values mean "no offset" and stay unchanged.
            unit: of the result.
        Returns:
            int32 [B, ...].
        """
        if unit == "code_points":
            return places
        converted = self._at(self._bytes if unit == "utf8" else self._units, places)
        return tf.where(places < 0, places, converted)

    def first(self, places: Any) -> Any:
        """Move offsets to the beginning of the character that contains them, such as an emoji.

        :mod:`tfpipeline.text.graphemes` defines characters.

        Args:
            places: int32 [B, ...], code points; negative values stay unchanged.
        Returns:
            int32 [B, ...].
        """
        return self._moved(places, lambda begins, at: tf.searchsorted(begins, at, side="right") - 1)

    def whole(self, places: Any) -> Any:
        """Move offsets to the end of the character that contains them: a text cut there keeps its accents.

        Args:
            places: int32 [B, ...], code points; negative values stay unchanged.
        Returns:
            int32 [B, ...].
        """
        return self._moved(places, lambda begins, at: tf.searchsorted(begins, at))

    def begin_a_character(self, offsets: Any) -> Any:
        """Which tokens are no part of the character that the token before them ends in, bool [B, T].

        Args:
            offsets: int32 [B, T, 2], code points, where the tokens stand.
        """
        return self.first(offsets[:, :, 0]) >= tf.pad(offsets[:, :-1, 1], [[0, 0], [1, 0]])

    def _moved(self, places: Any, search: Callable[[Any, Any], Any]) -> Any:
        # The beginnings and ends of texts are among those of characters, so no search leaves its text.
        begins = tf.where(self._begins)[:, 0]
        first = _columns(self._first, places)
        at = tf.cast(first + tf.clip_by_value(places, 0, _columns(self._counts, places)), tf.int64)
        moved = tf.gather(begins, tf.reshape(search(begins, tf.reshape(at, [-1])), tf.shape(at)))
        return tf.where(places >= 0, tf.cast(moved, tf.int32) - first, places)

    @functools.cached_property
    def _begins(self) -> Any:
        """Whether a character begins or a text ends at each offset, including the ends of texts: bool [N]."""

        def by_the_rules() -> Any:
            edges, kinds = map(tf.constant, grapheme_edges())
            kind = tf.gather(kinds, tf.searchsorted(edges, self._points, side="right") - 1)
            break_ = int(GraphemeClass.BREAK)
            # The class at every offset; whatever is not a code point is a break.
            classes = break_ + tf.scatter_nd(self._where, kind - break_, self._size)
            return begins(tf.concat([[break_], classes], axis=0), _Tensors())

        plain = tf.reduce_all(self._points < FIRST_JOINED)
        return tf.cond(plain, lambda: tf.ones(self._size, tf.bool), by_the_rules)

    def pieces(self, offsets: Any) -> Any:
        """The piece of its text that contains each token: ``text.long: head_tail`` leaves a gap between two
        pieces.

        A predicted span may not cross the gap: the model has not read it, and it may be a whole book.

        Args:
            offsets: int32 [B, T, 2], code points, the spans of the tokens.
        Returns:
            int32 [B, T], ascending from 0.
        """
        between = self.cut(offsets[:, :-1, 1], offsets[:, 1:, 0])
        words = tf.strings.regex_full_match(between, r"\C*[\pL\pN]\C*")
        return tf.cumsum(tf.pad(tf.cast(words, tf.int32), [[0, 0], [1, 0]]), axis=1)

    def _at(self, values: Any, places: Any) -> Any:
        """The values of each text at its own offsets: [B, ...]."""
        places = tf.clip_by_value(places, 0, _columns(self._counts, places))
        return tf.gather(values, _columns(self._first, places) + places)


class _Tensors:
    """`graphemes.Arrays` of TensorFlow."""

    @staticmethod
    def gather(values: Any, at: Any) -> Any:
        return tf.gather(values, at)

    @staticmethod
    def count(which: Any) -> Any:
        return tf.cumsum(tf.cast(which, tf.int32))

    @staticmethod
    def last(which: Any) -> Any:
        places = tf.cast(tf.where(which)[:, 0], tf.int32)
        return tf.gather(places, _Tensors.count(which) - 1)


def _columns(values: Any, like: Any) -> Any:
    """[B] as [B, 1, ...], of the rank of another tensor."""
    return tf.reshape(values, [-1, *[1] * (like.shape.rank - 1)])


def _scattered(size: Any, where: Any, values: Any, last: Any, ends: Any) -> Any:
    """int32 [N], of the shape ``size``: values at some offsets, and the ends of texts at the others."""
    return tf.scatter_nd(tf.concat([where, last], axis=0), tf.concat([values, ends], axis=0), size)
