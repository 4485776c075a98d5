"""BERT's normalisation as a graph of core operations: for the texts that plain byte operations do not serve."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.text.options import TokenizerOptions
from tfpipeline.text.ragged import row_numbers
from tfpipeline.text.unicode_tables import (
    ITSELF,
    PAGE,
    REMOVED,
    NormalizationTable,
    normalization_table,
    removed_points,
)

# Classes of bytes. COMPLEX ones need the normaliser; it leaves none.
LETTER, ISOLATED, BLANK, COMPLEX = range(4)

_PAGE_BITS = (PAGE - 1).bit_length()
_PRIVATE_USE = 0xF0000  # a plane of code points that the reference drops from any text


class Markers:
    """Code points that stand for special tokens in normalised text, where nothing else can use them.

    They are taken from a private-use plane: the reference drops these from any text, and what a text
    holds of them is dropped before the markers are set.

    Attributes:
        neutral: always dropped; takes the place of a marker that a text holds itself.
        begin, end: stand around a special token that has been found.
        tokens: marker of each special token, in the order given.
    """

    def __init__(self, special_tokens: tuple[str, ...]) -> None:
        used = {ord(c) for token in special_tokens for c in token}
        count = 3 + len(special_tokens)
        first = _PRIVATE_USE
        while any(first <= point < first + count for point in used):
            first += 1
        if not set(range(first, first + count)).issubset(removed_points()):
            raise AssertionError("the private-use plane is no longer dropped by the reference")
        self.neutral, self.begin, self.end = (chr(first + i) for i in range(3))
        self.span = range(first, first + count)
        self.points = range(first + 3, first + count)
        self.tokens = dict(zip(special_tokens, map(chr, self.points)))


def regex_literal(text: str) -> str:
    """An RE2 pattern that matches exactly this text."""
    return "".join(c if c.isalnum() and c.isascii() else f"\\x{{{ord(c):x}}}" for c in text)


class Normalizer(tf.Module):
    """Normalises texts as the reference does and sets spaces around every special token.

    Args:
        options: case, accents, Chinese characters, special tokens.
        markers: what stands for the special tokens.
    """

    def __init__(self, options: TokenizerOptions, markers: Markers) -> None:
        super().__init__(name="normalizer")
        self.table: NormalizationTable = normalization_table(options, markers.points)
        self._markers = markers
        self._pages = tf.constant(self.table.pages)
        self._rows = tf.constant(self.table.rows)
        self._outputs = tf.constant(self.table.outputs)
        # Code points of a text that each marker stands for: 1 before and behind those of special tokens.
        lengths = [1, *map(len, markers.tokens), 1]
        self._marker_widths, self._known = tf.constant(lengths, tf.int32), len(lengths) - 2
        self._has_marks = self.table.first_mark < len(self.table.outputs)
        if self._has_marks:
            self._order = tf.constant(self.table.order)
            self._starter = tf.constant(self.table.starter)
            self._mark = tf.constant(self.table.mark)

    def __call__(self, texts: Any) -> Any:
        """Normalise.

        Bytes that are not UTF-8 become U+FFFD, as with Python's ``bytes.decode("utf-8", "replace")``, which
        the reference drops.

        Args:
            texts: string [R].
        Returns:
            string [R], UTF-8: words with one or more spaces between them. Punctuation of ASCII is not set
            apart where the text had it already; each special token is its marker between spaces.
        """
        return self._normalize(texts)[0]

    def with_origins(self, texts: Any) -> tuple[Any, Any, Any]:
        """Normalise, and say of each byte where it comes from.

        Returns:
            string [R], as from a call; int32 [bytes] and int32 [bytes]: the first code point of its text, as it came,
            that each byte of the result stands for, and one past the last. A special token's marker stands for all of it.
        """
        texts, points, rows, splits, source, kept = self._normalize(texts)
        width = self.table.outputs.shape[1]
        if self._has_marks:
            source = tf.cond(
                tf.reduce_any(rows >= self.table.first_mark),
                lambda: tf.gather(self._origins(rows, splits), source),
                lambda: source // width,
            )
        else:
            source = source // width
        marker = tf.clip_by_value(points - self._markers.points[0], -1, self._known)
        widths = tf.gather(self._marker_widths, marker + 1)
        # Code points of one text are counted from its own beginning.
        ends = tf.cumsum(widths)
        starts = ends - widths
        first = tf.gather(tf.concat([starts, [0]], axis=0), splits[:-1])
        first = tf.gather(first, row_numbers(splits))
        bytes_each = 1 + tf.reduce_sum(
            tf.cast(kept[:, tf.newaxis] >= [0x80, 0x800, 0x10000], tf.int32), axis=-1
        )
        from_start, from_end = (
            tf.repeat(tf.gather(places - first, source), bytes_each) for places in (starts, ends)
        )
        return texts, from_start, from_end

    def _origins(self, rows: Any, splits: Any) -> Any:
        """The code point that each output is said to come from when marks are put in canonical order, int64 [P * K].

        Marks change places, those that are stripped as well; what is cleaned away is gone before. The reference goes
        through the result, and says of each mark that it comes from the next code point there was; of a mark that was
        part of a decomposition, from the last one.
        """
        width = self.table.outputs.shape[1]
        marks = tf.gather(self._order, rows)
        keys = tf.concat([tf.gather(self._mark, rows)[:, tf.newaxis], marks[:, 1:]], axis=1)
        keys = self._runs(rows, splits)[:, tf.newaxis] * 256 + tf.cast(keys, tf.int64)
        there = tf.not_equal(rows, REMOVED)
        moves = tf.concat([there[:, tf.newaxis], marks[:, 1:] > 0], axis=1)
        found = tf.where(tf.reshape(moves, [-1]))[:, 0]
        found = tf.gather(found, tf.argsort(tf.gather(tf.reshape(keys, [-1]), found), stable=True))
        is_point = tf.equal(found % width, 0)
        number = tf.cumsum(tf.cast(is_point, tf.int64)) - 1
        origin = tf.gather(tf.where(there)[:, 0], tf.maximum(number, 0))
        moved = tf.where(is_point)[:, 0]
        own = tf.tensor_scatter_nd_update(
            tf.range(tf.size(rows, out_type=tf.int64)),
            tf.gather(found, moved)[:, tf.newaxis] // width,
            tf.gather(origin, moved),
        )
        every = tf.repeat(own, width)
        return tf.tensor_scatter_nd_update(every, found[:, tf.newaxis], origin)

    def _normalize(self, texts: Any) -> tuple[Any, Any, Any, Any, Any, Any]:
        """The normalised texts, string [R].

        And what tells where they come from: int32 [P], the code points of all texts, each special token one; int32 [P],
        their rows of the table; int64 [R + 1], where each text begins among them; int64 [N], which of
        their outputs (K a code point) stand in the results; int32 [N], the code points of the results.
        """
        texts = self._mark_special_tokens(texts)
        splits, points = tf.raw_ops.UnicodeDecode(
            input=texts, input_encoding="UTF-8", errors="replace", replacement_char=0xFFFD, Tsplits=tf.int64
        )
        page = tf.gather(self._pages, tf.bitwise.right_shift(points, _PAGE_BITS))
        rows = tf.gather(self._rows, page * PAGE + tf.bitwise.bitwise_and(points, PAGE - 1))
        outputs = tf.gather(self._outputs, rows)  # [points, K]
        outputs = tf.where(tf.equal(outputs, ITSELF), points[:, tf.newaxis], outputs)
        width = self.table.outputs.shape[1]
        places = tf.range(
            tf.size(outputs, out_type=tf.int64)
        )  # of each output; which point it is of, by division
        flat = tf.reshape(outputs, [-1])
        if self._has_marks:

            def in_order() -> tuple[Any, Any]:
                order = self._canonical_order(rows, splits)
                return order, tf.gather(flat, order)

            places, flat = tf.cond(
                tf.reduce_any(rows >= self.table.first_mark), in_order, lambda: (places, flat)
            )
        found = tf.where(tf.not_equal(flat, 0))[:, 0]
        kept = tf.gather(flat, found)
        normalized = tf.raw_ops.UnicodeEncode(
            input_values=kept,
            input_splits=tf.searchsorted(found, splits * width, out_type=tf.int64),
            output_encoding="UTF-8",
            errors="replace",
            replacement_char=0xFFFD,
        )
        return normalized, points, rows, splits, tf.gather(places, found), kept

    def _mark_special_tokens(self, texts: Any) -> Any:
        """Replace each special token by its marker; the leftmost, and of those the longest, first."""
        marks = self._markers
        own = f"[{regex_literal(chr(marks.span[0]))}-{regex_literal(chr(marks.span[-1]))}]"
        texts = tf.strings.regex_replace(texts, own, marks.neutral)
        # RE2 takes the first alternative that matches, so longer tokens come first.
        tokens = sorted(marks.tokens, key=len, reverse=True)
        pattern = "|".join(map(regex_literal, tokens))
        found = tf.strings.regex_replace(texts, f"({pattern})", f"{marks.begin}\\1{marks.end}")

        def mark() -> Any:
            marked = found
            for token in tokens:
                around = regex_literal(f"{marks.begin}{token}{marks.end}")
                marked = tf.strings.regex_replace(marked, around, marks.tokens[token])
            return marked

        return tf.cond(tf.reduce_any(tf.not_equal(found, texts)), mark, lambda: texts)

    def _canonical_order(self, rows: Any, splits: Any) -> Any:
        """Where combining marks that survived stripping go: sorted by their class, between two starters.

        Unicode, section 3.11, "Canonical Ordering Algorithm".

        Args:
            rows: int32 [points], rows of the table.
            splits: int64 [R + 1], where each text begins; marks do not leave their text.
        Returns:
            int64 [points * K], which output stands at each place.
        """
        keys = self._runs(rows, splits)[:, tf.newaxis] * 256 + tf.cast(tf.gather(self._order, rows), tf.int64)
        return tf.cast(tf.argsort(tf.reshape(keys, [-1]), stable=True), tf.int64)

    def _runs(self, rows: Any, splits: Any) -> Any:
        """The number of the starter, or the text's beginning, that each code point follows: int64 [points]."""
        count = tf.shape(rows, out_type=tf.int64)[0]
        edges = tf.scatter_nd(splits[:, tf.newaxis], tf.ones_like(splits), [count + 1])[:-1]
        return tf.cumsum(tf.cast(tf.gather(self._starter, rows), tf.int64) + edges)


def ascii_classes(normalizer: Normalizer, special_tokens: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The class of every byte, for texts as they come and for normalised texts.

    Args:
        normalizer: holds what becomes of each code point.
        special_tokens: the first byte of each makes a text that needs the normaliser.
    Returns:
        Two uint8 [256] of LETTER, ISOLATED, BLANK and (raw texts only) COMPLEX.
    """
    raw = np.full(256, COMPLEX, np.uint8)
    normalized = np.full(256, LETTER, np.uint8)
    for byte in range(0x80):
        output = normalizer.table.normalize(byte)
        if len(output) == 1:
            raw[byte] = BLANK if output == [0x20] else LETTER
        elif output:
            raw[byte] = ISOLATED
        if raw[byte] != COMPLEX:
            normalized[byte] = raw[byte]
    for token in special_tokens:
        raw[token.encode("utf-8")[0]] = COMPLEX
    return raw, normalized
