"""BERT's normalisation as a graph of core operations: for the texts that plain byte operations do not serve."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.text.options import TokenizerOptions
from tfpipeline.text.unicode_tables import (
    ITSELF,
    PAGE,
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
        self._has_marks = self.table.first_mark < len(self.table.outputs)
        if self._has_marks:
            self._order = tf.constant(self.table.order)
            self._starter = tf.constant(self.table.starter)

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
        texts = self._mark_special_tokens(texts)
        splits, points = tf.raw_ops.UnicodeDecode(
            input=texts, input_encoding="UTF-8", errors="replace", replacement_char=0xFFFD, Tsplits=tf.int64
        )
        page = tf.gather(self._pages, tf.bitwise.right_shift(points, _PAGE_BITS))
        rows = tf.gather(self._rows, page * PAGE + tf.bitwise.bitwise_and(points, PAGE - 1))
        outputs = tf.gather(self._outputs, rows)  # [points, K]
        outputs = tf.where(tf.equal(outputs, ITSELF), points[:, tf.newaxis], outputs)
        if self._has_marks:
            outputs = tf.cond(
                tf.reduce_any(rows >= self.table.first_mark),
                lambda: self._canonical_order(outputs, rows, splits),
                lambda: outputs,
            )
        # Where each output stands tells which code point it came from: enough for offsets, were they wanted.
        width = self.table.outputs.shape[1]
        flat = tf.reshape(outputs, [-1])
        kept = tf.where(tf.not_equal(flat, 0))[:, 0]
        return tf.raw_ops.UnicodeEncode(
            input_values=tf.gather(flat, kept),
            input_splits=tf.searchsorted(kept, splits * width, out_type=tf.int64),
            output_encoding="UTF-8",
            errors="replace",
            replacement_char=0xFFFD,
        )

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

    def _canonical_order(self, outputs: Any, rows: Any, splits: Any) -> Any:
        """Sort combining marks that survived stripping by their class, between two starters.

        Unicode, section 3.11, "Canonical Ordering Algorithm".

        Args:
            outputs: int32 [points, K].
            rows: int32 [points], rows of the table.
            splits: int64 [R + 1], where each text begins; marks do not leave their text.
        """
        count = tf.shape(rows, out_type=tf.int64)[0]
        edges = tf.scatter_nd(splits[:, tf.newaxis], tf.ones_like(splits), [count + 1])[:-1]
        runs = tf.cumsum(tf.cast(tf.gather(self._starter, rows), tf.int64) + edges)
        keys = runs[:, tf.newaxis] * 256 + tf.cast(tf.gather(self._order, rows), tf.int64)
        order = tf.argsort(tf.reshape(keys, [-1]), stable=True)
        return tf.reshape(tf.gather(tf.reshape(outputs, [-1]), order), tf.shape(outputs))


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
