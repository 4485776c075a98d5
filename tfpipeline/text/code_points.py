"""Places in texts: what stands between two of them, and what they are in other units; core operations only."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from tfpipeline.text.ragged import row_numbers
from tfpipeline.text.unicode_tables import mark_edges

Unit = Literal["code_points", "utf8", "utf16"]


class CodePoints:
    """Where the code points of texts are.

    Bytes that are not UTF-8 count as Python's ``bytes.decode("utf-8", "replace")`` counts them; cut out, they are the
    bytes they were.

    Args:
        texts: string [B].
    """

    def __init__(self, texts: Any) -> None:
        self._texts = texts
        splits, points, starts = tf.raw_ops.UnicodeDecodeWithOffsets(
            input=texts, input_encoding="UTF-8", errors="replace", replacement_char=0xFFFD, Tsplits=tf.int64
        )
        splits = tf.cast(splits, tf.int32)  # with splits of that type the operation aborts (TensorFlow 2.21)
        # One place more than code points a text: where it ends.
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
        """What stands between places.

        Args:
            starts, ends: int32 [B, ...], code points; nothing stands between places that are not in the text.
        Returns:
            string [B, ...].
        """
        first, last = self._at(self._bytes, starts), self._at(self._bytes, ends)
        # The operation's own broadcasting copies no text; a text of a megabyte, once for each place, would be gigabytes.
        shape = tf.shape(starts)
        flat = tf.stack([shape[0], tf.reduce_prod(shape[1:])])
        found = tf.raw_ops.Substr(
            input=self._texts[:, tf.newaxis],
            pos=tf.reshape(first, flat),
            len=tf.reshape(tf.maximum(last - first, 0), flat),
            unit="BYTE",
        )
        return tf.reshape(found, shape)

    def convert(self, places: Any, unit: Unit) -> Any:
        """Places in another unit.

        Args:
            places: int32 [B, ...], code points; negative ones mean that there is none, and stay as they are.
            unit: of the result.
        Returns:
            int32 [B, ...].
        """
        if unit == "code_points":
            return places
        found = self._at(self._bytes if unit == "utf8" else self._units, places)
        return tf.where(places < 0, places, found)

    def whole(self, places: Any) -> Any:
        """Places moved behind the combining marks that follow: what ends there ends with its accents.

        Args:
            places: int32 [B, ...], code points; 0 and negative ones stay as they are.
        Returns:
            int32 [B, ...].
        """
        marks = tf.searchsorted(tf.constant(mark_edges()), self._points, side="right") % 2 > 0
        # Of all places the ends of texts are none, so no search leaves its text.
        plain = tf.where(tf.scatter_nd(self._where, tf.cast(marks, tf.int32), self._size) < 1)[:, 0]
        first = _columns(self._first, places)
        at = tf.cast(first + tf.clip_by_value(places, 0, _columns(self._counts, places)), tf.int64)
        found = tf.gather(plain, tf.reshape(tf.searchsorted(plain, tf.reshape(at, [-1])), tf.shape(at)))
        return tf.where(places > 0, tf.cast(found, tf.int32) - first, places)

    def pieces(self, offsets: Any) -> Any:
        """Which piece of its text each token is of; a new one begins where words were left out (``text.long: head_tail``).

        No part of a text that is answered may reach over them: the model has not read them, and they may be a whole book.

        Args:
            offsets: int32 [B, T, 2], code points, where the tokens stand.
        Returns:
            int32 [B, T], from 0 on and rising.
        """
        between = self.cut(offsets[:, :-1, 1], offsets[:, 1:, 0])
        words = tf.strings.regex_full_match(between, r"\C*[\pL\pN]\C*")
        return tf.cumsum(tf.pad(tf.cast(words, tf.int32), [[0, 0], [1, 0]]), axis=1)

    def _at(self, values: Any, places: Any) -> Any:
        """A text's own value at places: [B, ...]."""
        places = tf.clip_by_value(places, 0, _columns(self._counts, places))
        return tf.gather(values, _columns(self._first, places) + places)


def _columns(values: Any, like: Any) -> Any:
    """[B] as [B, 1, ...], of the rank of another tensor."""
    return tf.reshape(values, [-1, *[1] * (like.shape.rank - 1)])


def _scattered(size: Any, where: Any, values: Any, last: Any, ends: Any) -> Any:
    """int32 [N], of the shape ``size``: values at some places and texts' ends at the others."""
    return tf.scatter_nd(tf.concat([where, last], axis=0), tf.concat([values, ends], axis=0), size)
