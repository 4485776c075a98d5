"""BERT's normalisation as a graph of core operations, for texts that are not plain ASCII."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.errors import UserError
from tfpipeline.text.markers import MOST_PATTERN, Finder, Markers, longest_of, regex_literal
from tfpipeline.text.options import TokenizerOptions
from tfpipeline.text.ragged import row_numbers
from tfpipeline.text.unicode_tables import (
    ITSELF,
    PAGE,
    REMOVED,
    NormalizationTable,
    normalization_table,
    splitting_table,
)

# Classes of bytes. COMPLEX bytes need the normaliser; none are left in normalised text.
LETTER, ISOLATED, BLANK, COMPLEX = range(4)

_PAGE_BITS = (PAGE - 1).bit_length()


@dataclasses.dataclass(frozen=True)
class _Normalized:
    """The output of a stage.

    Attributes:
        points: int32 [P], the code points of all input texts; a token that was found is one code point.
        rows: int32 [P], their rows of the table.
        splits: int64 [R + 1], where each text begins in ``points``.
        source: int64 [N], the indices of the outputs (K per code point) that are in the results.
        kept: int32 [N], the code points of the results.
        kept_splits: int64 [R + 1], where each text begins in ``kept``.
    """

    points: Any
    rows: Any
    splits: Any
    source: Any
    kept: Any
    kept_splits: Any

    @property
    def texts(self) -> Any:
        """string [R], UTF-8."""
        return tf.raw_ops.UnicodeEncode(
            input_values=self.kept,
            input_splits=self.kept_splits,
            output_encoding="UTF-8",
            errors="replace",
            replacement_char=0xFFFD,
        )


class Normalizer(tf.Module):
    """Normalises texts as the reference does and sets spaces around every special or added token.

    If tokens must be found in normalised text, there are two stages: the reference's normal form, in which
    the tokens are found, and then the spaces around punctuation.

    Args:
        options: case, accents, Chinese characters, special and added tokens.
        markers: the code points that represent the tokens.
    """

    def __init__(self, options: TokenizerOptions, markers: Markers) -> None:
        super().__init__(name="normalizer")
        raw = [token for token in options.found_tokens if not token.normalized]
        normalized = [token for token in options.found_tokens if token.normalized]
        self._first = _Stage(normalization_table(options, markers.points, split=not normalized), markers)
        self._first.find(
            {token.content: token.content for token in raw},
            [token.content for token in raw if token.single_word],
        )
        self._neutral = markers.pattern, markers.neutral
        self._second: _Stage | None = None
        looked_for = [token.content for token in raw]
        if normalized:
            self._second = _Stage(splitting_table(markers.points), markers)
            forms = {token.content: self._first.normal_form(token.content) for token in normalized}
            empty = [content for content, form in forms.items() if not form]
            if empty:
                raise UserError(
                    f'nothing is left of the added token "{empty[0]}" when it is normalised; take it out, or '
                    "set its "
                    '"normalized" to false'
                )
            contents = {form: content for content, form in forms.items()}
            twice = [content for content, form in forms.items() if contents[form] != content]
            if twice:
                raise UserError(
                    f'the added tokens "{twice[0]}" and "{contents[forms[twice[0]]]}" become the same when '
                    "they are "
                    "normalised, and transformers' fast tokenizer takes either, at random; take one out, or "
                    "set the "
                    '"normalized" of one to false'
                )
            self._second.find(
                contents,
                [forms[token.content] for token in normalized if token.single_word],
            )
            looked_for += [form for form in forms.values() if form.isascii()]
        self._looked_for = tuple(looked_for)
        self._lowercase = options.lowercase

    def __call__(self, texts: Any) -> Any:
        """Normalise.

        Bytes that are not UTF-8 become U+FFFD, as with Python's ``bytes.decode("utf-8", "replace")``, which
        the reference drops.

        Args:
            texts: string [R].
        Returns:
            string [R], UTF-8: words with one or more spaces between them. Punctuation of ASCII is not set
            apart where the text had it already. Each token that was found is replaced by its marker between
            spaces.
        """
        return self._stages(texts)[-1].texts

    def with_origins(self, texts: Any) -> tuple[Any, Any, Any]:
        """Normalise, and return the origin of each byte.

        Returns:
            string [R], as from a call; int32 [bytes] and int32 [bytes]: for each byte of the result, the
            first code point of the original text that it represents, and one past the last. A token's marker
            represents the whole token.
        """
        first, *rest = self._stages(texts)
        start, end = self._first.origins(first)
        last = first
        for second in rest:
            assert self._second is not None
            inner_start, inner_end = self._second.origins(second)
            # Positions within a text of the first stage -> positions among all texts.
            before = tf.cast(tf.gather(first.kept_splits, row_numbers(second.kept_splits)), tf.int32)
            start = tf.gather(start, before + inner_start)
            end = tf.gather(end, before + inner_end - 1)
            last = second
        bytes_each = 1 + tf.reduce_sum(
            tf.cast(last.kept[:, tf.newaxis] >= [0x80, 0x800, 0x10000], tf.int32), axis=-1
        )
        return last.texts, tf.repeat(start, bytes_each), tf.repeat(end, bytes_each)

    def _stages(self, texts: Any) -> list[_Normalized]:
        first = self._first(tf.strings.regex_replace(texts, *self._neutral))
        return [first] if self._second is None else [first, self._second(first.texts)]

    def of_byte(self, byte: int) -> list[int]:
        """The normal form of an ASCII character."""
        points = self._first.table.normalize(byte)
        if self._second is None:
            return points
        return [point for one in points for point in self._second.table.normalize(one)]

    @property
    def looked_for(self) -> str:
        """An RE2 pattern that matches every whole ASCII text with a token to find, and perhaps others."""
        case = "(?i)" if self._lowercase else ""
        pattern = longest_of(self._looked_for)
        if len(pattern) > MOST_PATTERN:  # a short pattern can only tell where a token may begin
            pattern = f"(?:{'|'.join(map(regex_literal, sorted({token[0] for token in self._looked_for})))})"
        pattern = pattern.replace("\\x{20}", "[ \\t\\n\\r]")
        return f"(?s){case}.*{pattern}.*"

    @property
    def first_bytes(self) -> frozenset[int]:
        """The bytes that a token to find may begin with."""
        first = {token[0] for token in self._looked_for}
        cased = {case for one in first for case in (one.lower(), one.upper())} if self._lowercase else set()
        blank = set("\t\n\r") if " " in first else set()
        return frozenset(text.encode("utf-8")[0] for text in first | cased | blank if text)


class _Stage(tf.Module):
    """Finds tokens in texts, then replaces every code point by its entry in a table.

    Args:
        table: the replacements of all code points.
        markers: the code points that represent the tokens.
    """

    def __init__(self, table: NormalizationTable, markers: Markers) -> None:
        super().__init__(name="stage")
        self.table = table
        self._markers = markers
        self._pages = tf.constant(table.pages)
        self._rows = tf.constant(table.rows)
        self._outputs = tf.constant(table.outputs)
        self._has_marks = table.first_mark < len(table.outputs)
        if self._has_marks:
            self._order = tf.constant(table.order)
            self._starter = tf.constant(table.starter)
            self._mark = tf.constant(table.mark)

    def find(self, tokens: Mapping[str, str], single_words: Sequence[str]) -> None:
        """Set the texts to search for: text -> token."""
        self._finder = Finder(tokens, single_words, self._markers)
        # The number of code points that each marker represents: 1 before and after those of tokens, and of
        # the markers of other stages.
        lengths = {token: len(text) for text, token in tokens.items()}
        widths = [1, *(lengths.get(token, 1) for token in self._markers.tokens), 1]
        self._marker_widths, self._known = tf.constant(widths, tf.int32), len(widths) - 2

    def normal_form(self, text: str) -> str:
        """The normal form of a text without tokens."""
        splits, points = tf.raw_ops.UnicodeDecode(
            input=[text], input_encoding="UTF-8", errors="replace", Tsplits=tf.int64
        )
        normalized: bytes = self._replace(splits, points).texts[0].numpy()
        return normalized.decode("utf-8")

    def __call__(self, texts: Any) -> _Normalized:
        """Find tokens, then replace code points."""
        splits, points = tf.raw_ops.UnicodeDecode(
            input=self._finder(texts),
            input_encoding="UTF-8",
            errors="replace",
            replacement_char=0xFFFD,
            Tsplits=tf.int64,
        )
        return self._replace(splits, points)

    def _replace(self, splits: Any, points: Any) -> _Normalized:
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
        nonzero = tf.where(tf.not_equal(flat, 0))[:, 0]
        return _Normalized(
            points=points,
            rows=rows,
            splits=splits,
            source=tf.gather(places, nonzero),
            kept=tf.gather(flat, nonzero),
            kept_splits=tf.searchsorted(nonzero, splits * width, out_type=tf.int64),
        )

    def origins(self, done: _Normalized) -> tuple[Any, Any]:
        """The origin of each code point of the results: the first code point of its text, and the last + 1;
        int32 [N].
        """
        rows, splits, source = done.rows, done.splits, done.source
        width = self.table.outputs.shape[1]
        if self._has_marks:
            source = tf.cond(
                tf.reduce_any(rows >= self.table.first_mark),
                lambda: tf.gather(self._origins(rows, splits), source),
                lambda: source // width,
            )
        else:
            source = source // width
        marker = tf.clip_by_value(done.points - self._markers.points[0], -1, self._known)
        widths = tf.gather(self._marker_widths, marker + 1)
        # Code points are counted from the beginning of their own text.
        ends = tf.cumsum(widths)
        starts = ends - widths
        first = tf.gather(tf.concat([starts, [0]], axis=0), splits[:-1])
        first = tf.gather(first, row_numbers(splits))
        return tf.gather(starts - first, source), tf.gather(ends - first, source)

    def _origins(self, rows: Any, splits: Any) -> Any:
        """The code point that each output comes from when marks are put in canonical order, int64 [P * K].

        Marks change places, including those that are stripped; characters removed by cleaning are gone
        before. The reference walks through the result and assigns the next original code point to each mark;
        a mark from a decomposition gets the last one.
        """
        width = self.table.outputs.shape[1]
        marks = tf.gather(self._order, rows)
        keys = tf.concat([tf.gather(self._mark, rows)[:, tf.newaxis], marks[:, 1:]], axis=1)
        keys = self._runs(rows, splits)[:, tf.newaxis] * 256 + tf.cast(keys, tf.int64)
        there = tf.not_equal(rows, REMOVED)
        moves = tf.concat([there[:, tf.newaxis], marks[:, 1:] > 0], axis=1)
        moving = tf.where(tf.reshape(moves, [-1]))[:, 0]
        moving = tf.gather(moving, tf.argsort(tf.gather(tf.reshape(keys, [-1]), moving), stable=True))
        is_point = tf.equal(moving % width, 0)
        number = tf.cumsum(tf.cast(is_point, tf.int64)) - 1
        origin = tf.gather(tf.where(there)[:, 0], tf.maximum(number, 0))
        moved = tf.where(is_point)[:, 0]
        own = tf.tensor_scatter_nd_update(
            tf.range(tf.size(rows, out_type=tf.int64)),
            tf.gather(moving, moved)[:, tf.newaxis] // width,
            tf.gather(origin, moved),
        )
        every = tf.repeat(own, width)
        return tf.tensor_scatter_nd_update(every, moving[:, tf.newaxis], origin)

    def _canonical_order(self, rows: Any, splits: Any) -> Any:
        """The order of combining marks that survived stripping: sorted by class between two starters.

        Unicode, section 3.11, "Canonical Ordering Algorithm".

        Args:
            rows: int32 [points], rows of the table.
            splits: int64 [R + 1], where each text begins; marks stay in their text.
        Returns:
            int64 [points * K], the index of the output at each position.
        """
        keys = self._runs(rows, splits)[:, tf.newaxis] * 256 + tf.cast(tf.gather(self._order, rows), tf.int64)
        return tf.cast(tf.argsort(tf.reshape(keys, [-1]), stable=True), tf.int64)

    def _runs(self, rows: Any, splits: Any) -> Any:
        """The index of the starter, or of the beginning of the text, before each code point: int64
        [points].
        """
        count = tf.shape(rows, out_type=tf.int64)[0]
        edges = tf.scatter_nd(splits[:, tf.newaxis], tf.ones_like(splits), [count + 1])[:-1]
        return tf.cumsum(tf.cast(tf.gather(self._starter, rows), tf.int64) + edges)


def ascii_classes(normalizer: Normalizer) -> tuple[np.ndarray, np.ndarray]:
    """The class of every byte, for raw texts and for normalised texts.

    Returns:
        Two uint8 [256] of LETTER, ISOLATED, BLANK and (raw texts only) COMPLEX.
    """
    raw = np.full(256, COMPLEX, np.uint8)
    normalized = np.full(256, LETTER, np.uint8)
    for byte in range(0x80):
        output = normalizer.of_byte(byte)
        if len(output) == 1:
            raw[byte] = BLANK if output == [0x20] else LETTER
        elif output:
            raw[byte] = ISOLATED
        if raw[byte] != COMPLEX:
            normalized[byte] = raw[byte]
    return raw, normalized
