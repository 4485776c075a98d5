"""Finds special and added tokens in texts and replaces each by a code point reserved for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.text.unicode_tables import removed_points, word_ranges
from tfpipeline.text.vocabulary import prefixes
from tfpipeline.text.wordpiece import PrefixTable

# The longest pattern that RE2 runs at full speed on any text. A longer one would exhaust its memory.
MOST_PATTERN = 10_000
_PRIVATE_USE = 0xF0000  # a plane of code points that the reference drops from any text


class Markers:
    """The code points that represent special and added tokens in normalised text; nothing else can use them.

    They are taken from a private-use plane. The reference drops these code points from any text, and those in
    a text are dropped before the markers are inserted.

    Attributes:
        neutral: always dropped; replaces a marker's code point that occurs in a text.
        separator: surrounds a token that has been found, until the token is replaced.
        tokens: the marker of each token, in the order of the arguments.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        used = {ord(c) for token in tokens for c in token}
        count = 2 + len(tokens)
        first = _PRIVATE_USE
        while any(first <= point < first + count for point in used):
            first += 1
        if not set(range(first, first + count)).issubset(removed_points()):
            raise AssertionError("the private-use plane is no longer dropped by the reference")
        self.neutral, self.separator = chr(first), chr(first + 1)
        self.span = range(first, first + count)
        self.points = range(first + 2, first + count)
        self.tokens = dict(zip(tokens, map(chr, self.points)))

    @property
    def pattern(self) -> str:
        """An RE2 pattern that matches any of these code points."""
        return f"[{regex_literal(chr(self.span[0]))}-{regex_literal(chr(self.span[-1]))}]"


def regex_literal(text: str) -> str:
    """An RE2 pattern that matches exactly this text."""
    return "".join(c if c.isalnum() and c.isascii() else f"\\x{{{ord(c):x}}}" for c in text)


def longest_of(texts: Iterable[str]) -> str:
    """An RE2 pattern that matches the longest of these texts at a position.

    The pattern is a tree of prefixes whose branches begin with different characters, so RE2 follows one
    branch at a time. A plain list of thousands of alternatives would exhaust its memory.
    """
    root: dict[str, Any] = {}
    for text in texts:
        node = root
        for character in text:
            node = node.setdefault(character, {})
        node[""] = {}  # a text ends here

    def pattern(node: dict[str, Any]) -> str:
        literal = ""
        while len(node) == 1 and "" not in node:  # no choice: no group, so that long texts do not nest
            ((character, node),) = node.items()
            literal += regex_literal(character)
        branches = [regex_literal(key) + pattern(below) for key, below in node.items() if key]
        if not branches:
            return literal
        return f"{literal}(?:{'|'.join(branches)}){'?' if '' in node else ''}"

    return pattern(root)


class Finder(tf.Module):
    """Replaces tokens in texts by their markers; the leftmost, and of those the longest, first.

    Args:
        tokens_by_text: text to search for -> the token, which has a marker.
        single_words: the texts to search for that only match where no letter, digit, mark or underscore
            touches them.
        markers: the markers of the tokens.
    """

    def __init__(
        self, tokens_by_text: Mapping[str, str], single_words: Iterable[str], markers: Markers
    ) -> None:
        super().__init__(name="finder")
        self._separator = markers.separator
        keys = list(tokens_by_text)
        pattern = longest_of(tokens_by_text)
        self._pattern = f"({pattern})" if len(pattern) <= MOST_PATTERN else None
        self._table = None
        if self._pattern is None:
            self._table = PrefixTable(prefixes({key.encode("utf-8"): 0 for key in keys}), "found")
        self._numbers = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(keys), tf.range(1, len(keys) + 1, dtype=tf.int64)
            ),
            default_value=0,
        )
        # Number 0 is no token.
        self._markers = tf.constant(["", *(markers.tokens[tokens_by_text[key]] for key in keys)])
        alone = set(single_words)
        self._single = tf.constant([False, *(key in alone for key in keys)]) if alone else None

    def __call__(self, texts: Any) -> Any:
        """Replace the tokens.

        Args:
            texts: string [R], without separators.
        Returns:
            string [R].
        """
        if self._table is not None:
            rows, columns, pieces = _split_by_table(texts, self._table, self._separator)
            return tf.strings.unsorted_segment_join(self._marked(columns, pieces), rows, tf.size(texts))
        separator = self._separator
        separated = tf.strings.regex_replace(texts, self._pattern, f"{separator}\\1{separator}")
        changed = tf.where(tf.not_equal(separated, texts))

        def mark() -> Any:
            some = tf.gather_nd(separated, changed)
            places, pieces, _ = tf.raw_ops.StringSplitV2(input=some, sep=separator, maxsplit=-1)
            pieces = self._marked(places[:, 1], pieces)
            marked = tf.strings.unsorted_segment_join(pieces, places[:, 0], tf.size(some))
            return tf.tensor_scatter_nd_update(texts, changed, marked)

        return tf.cond(tf.size(changed) > 0, mark, lambda: texts)

    def _marked(self, columns: Any, pieces: Any) -> Any:
        """The pieces of texts with tokens replaced.

        Args:
            columns: int64 [pieces], the index of each piece within its text: text, token, text, token ...
                text.
            pieces: string [pieces], which may be empty, text after text.
        """
        is_token = tf.equal(columns % 2, 1)
        none = tf.constant(0, tf.int64)
        number = tf.where(is_token, self._numbers.lookup(pieces), none)
        if self._single is not None:
            touched = self._touched(columns, pieces) & tf.gather(self._single, number)
            number = tf.where(touched, none, number)
        return tf.where(number > 0, tf.gather(self._markers, number), pieces)

    def _touched(self, columns: Any, pieces: Any) -> Any:
        """bool [pieces], whether a word character comes directly before or after a piece.

        Empty pieces are skipped: adjacent tokens count as text.
        """
        word = "".join(
            f"{regex_literal(chr(first))}-{regex_literal(chr(end - 1))}" for first, end in word_ranges()
        )
        # Replaced at most once, so that only the characters at the edge count. Bytes that are not UTF-8 are
        # not word characters.
        ends = tf.not_equal(tf.strings.regex_replace(pieces, f"[{word}]\\z", "", False), pieces)
        begins = tf.not_equal(tf.strings.regex_replace(pieces, f"\\A[{word}]", "", False), pieces)
        empty = tf.equal(tf.strings.length(pieces), 0)
        pad, no = [[2, 2]], False

        def at(values: Any, shift: int) -> Any:
            """The values shifted by a number of pieces."""
            return tf.pad(values, pad, constant_values=no)[2 + shift : tf.size(values) + 2 + shift]

        starts_row = tf.equal(columns, 0)
        before = tf.where(at(empty, -1), at(ends, -2) & ~at(starts_row, -1), at(ends, -1))
        behind = tf.where(at(empty, 1), at(begins, 2) & ~at(starts_row, 2), at(begins, 1))
        return before | behind


def _split_by_table(texts: Any, table: PrefixTable, separator: str) -> tuple[Any, Any, Any]:
    """Split texts around the matches: the leftmost first, and of those the longest.

    Args:
        texts: string [R].
        table: the texts to search for.
        separator: a character that occurs in neither.
    Returns:
        int64 [pieces], the text of each piece; int64 [pieces], its index within that text (text, match, text
        ... text); and string [pieces].
    """
    joined = tf.raw_ops.ReduceJoin(inputs=texts, reduction_indices=[0], separator=separator)
    joined = tf.strings.join([joined, separator * (table.reach + 1)])
    codes = tf.io.decode_raw(joined, tf.uint8)
    places = tf.where(tf.not_equal(tf.bitwise.bitwise_and(codes, 0xC0), 0x80))[:, 0]
    lengths, _ = table.longest(joined, tf.cast(places, tf.int32))
    hits = tf.boolean_mask(places, lengths > 0)
    sizes = tf.cast(tf.boolean_mask(lengths, lengths > 0), tf.int64)
    # One more, after all texts.
    beyond = tf.size(codes, out_type=tf.int64)
    hits, sizes = tf.concat([hits, [beyond]], axis=0), tf.concat([sizes, [0]], axis=0)
    bytes_each = tf.cast(tf.strings.length(texts), tf.int64)
    ends = tf.cumsum(bytes_each + len(separator.encode("utf-8"))) - len(separator.encode("utf-8"))
    starts = ends - bytes_each

    def step(at: Any, taken: Any) -> tuple[Any, Any]:
        """Find the next match of each text."""
        following = tf.searchsorted(hits, at, out_type=tf.int64)
        there = tf.gather(hits, following) < ends
        taken = tf.tensor_scatter_nd_max(taken, following[:, tf.newaxis], tf.cast(there, tf.int32))
        return tf.where(there, tf.gather(hits + sizes, following), beyond), taken

    _, taken = tf.while_loop(
        lambda at, _: tf.reduce_any(at < beyond),
        step,
        (starts, tf.zeros_like(hits, tf.int32)),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
        parallel_iterations=1,
    )
    begin, size = (tf.boolean_mask(values, taken > 0) for values in (hits, sizes))
    cuts = tf.reshape(tf.stack([begin, begin + size], axis=1), [-1])
    owner = tf.searchsorted(starts, tf.repeat(begin, 2), side="right", out_type=tf.int64) - 1
    ragged = tf.RaggedTensor.from_value_rowids(
        cuts, owner, nrows=tf.size(texts, out_type=tf.int64), validate=False
    )
    first = tf.concat([starts[:, tf.newaxis], ragged], axis=1)
    last = tf.concat([ragged, ends[:, tf.newaxis]], axis=1)
    pieces = tf.raw_ops.Substr(
        input=joined, pos=first.flat_values, len=last.flat_values - first.flat_values, unit="BYTE"
    )
    rows = first.value_rowids()
    return rows, tf.range(tf.size(rows, out_type=tf.int64)) - tf.gather(first.row_starts(), rows), pieces
