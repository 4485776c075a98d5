"""The tokenizer: texts to ragged ids, and to padded batches with special tokens."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from tfpipeline.text.graphs import HOST, graph, strings
from tfpipeline.text.markers import Markers, regex_literal
from tfpipeline.text.normalizer import (
    BLANK,
    COMPLEX,
    LETTER,
    Normalizer,
    ascii_classes,
)
from tfpipeline.text.options import TokenizerOptions
from tfpipeline.text.origins import places_of, updated
from tfpipeline.text.packing import SpecialIds, Tokens, first_and_windows, longest_first
from tfpipeline.text.template import Template
from tfpipeline.text.truncation import Truncation
from tfpipeline.text.unicode_tables import isolated_points, space_points
from tfpipeline.text.vocabulary import prefix_tables, special_ids, token_ids
from tfpipeline.text.wordpiece import LongestMatch, PrefixTable

_TEXTS = tf.TensorSpec([None], tf.string)
_LENGTH = tf.TensorSpec([], tf.int32)
_SHARE = tf.TensorSpec([], tf.float64)
_COUNTS = ("cut", "cut_pair", "unknown")


@dataclasses.dataclass(frozen=True)
class _Vocabulary:
    """The vocabulary in an object, because TensorFlow would track each string of a tuple."""

    tokens: tuple[str, ...]


class WordPieceTokenizer(tf.Module):
    """BERT's tokenizer as a graph of core TensorFlow operations. It gives the ids of transformers' fast
    tokenizer.

    Works eagerly, inside a ``tf.function`` and inside a SavedModel. Never call it inside ``Dataset.map``: its
    many small operations cost ten times as much there. Tokenize once, in large batches.

    How it works: plain ASCII texts are joined and split by byte operations alone; the others (with other
    characters, control characters or special tokens) first go through the :class:`Normalizer`. Every word is
    then looked up as a whole, and only words that are not tokens are searched for the longest match.

    Args:
        vocabulary: tokens in the order of their ids; if a token occurs twice, the last one counts.
        options: how text is normalised and which tokens are special.
    Raises:
        UserError: a special token is not in the vocabulary.
    """

    def __init__(self, vocabulary: Sequence[str], options: Optional[TokenizerOptions] = None) -> None:
        super().__init__(name="wordpiece")
        options = options or TokenizerOptions()
        self.options = options
        self.vocabulary_size = len(vocabulary)
        self._vocabulary = _Vocabulary(tuple(vocabulary))
        ids = token_ids(vocabulary)
        special = special_ids(ids, options)
        self._special = SpecialIds(
            single=self._ids_of(special, pair=False),
            pair=self._ids_of(special, pair=True),
            pad=special[options.pad_token],
            unknown=special[options.unk_token],
        )

        with tf.device(HOST):
            self._build(ids, special)

    def __repr__(self) -> str:
        case = "uncased" if self.options.lowercase else "cased"
        return f"{type(self).__name__}({self.vocabulary_size} tokens, {case})"

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens in the order of their ids."""
        return self._vocabulary.tokens

    @property
    def template(self) -> Template:
        """The special tokens around the texts of a row."""
        return self.options.template

    def _ids_of(self, special: dict[str, int], pair: bool) -> tuple[tuple[int, ...], ...]:
        """The ids before the first text of a row, and those after each text."""
        groups = self.template.groups(pair)
        return tuple(tuple(special[getattr(self.options, role)] for role in group) for group in groups)

    def _build(self, ids: dict[str, int], special: dict[str, int]) -> None:
        """Make the tables."""
        options = self.options
        markers = Markers([token.content for token in options.found_tokens])
        self._normalizer = Normalizer(options, markers)
        raw, normalized = ascii_classes(self._normalizer)
        plain = "".join(regex_literal(chr(byte)) for byte in range(256) if raw[byte] != COMPLEX)
        self._plain = f"[{plain}]*"
        # A text with the first byte of a token needs a closer look.
        raw[list(self._normalizer.first_bytes)] = COMPLEX
        self._raw_classes, self._normalized_classes = tf.constant(raw), tf.constant(normalized)

        isolated = isolated_points(options)
        impossible = isolated.union(space_points(), markers.span)

        def reachable(token: str) -> bool:
            return impossible.isdisjoint(map(ord, token)) or (len(token) == 1 and ord(token) in isolated)

        outside = set(options.outside_vocabulary)
        pieces = {token: number for token, number in ids.items() if token not in outside}
        starts, continuations = prefix_tables(pieces, reachable)
        for token, marker in markers.tokens.items():
            key = marker.encode("utf-8")
            starts[key] = len(key) << 32 | special[token]
        self._match = LongestMatch(
            PrefixTable(starts, "starts"),
            PrefixTable(continuations, "continuations"),
            self._special.unknown,
        )

    def tokenize(self, texts: Any) -> tf.RaggedTensor:
        """Token ids of each text, without special tokens around it.

        Args:
            texts: string [B], UTF-8; invalid bytes become U+FFFD, which BERT drops.
        Returns:
            RaggedTensor int32 [B, None], row splits int64.
        """
        values, splits = self._tokenize(strings(texts, "texts"))
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)

    def __call__(
        self,
        texts: Any,
        text_pair: Any = None,
        max_length: Any = 128,
        *,
        truncation: Optional[Truncation] = None,
        count: bool = False,
        offsets: bool = False,
    ) -> dict[str, Any]:
        """Make padded batches for the encoder.

        By default, the beginning of a text that is too long is kept, and of a pair the longer text is
        truncated first (transformers: ``truncation=True``, ``padding=True``).

        Args:
            texts: string [B].
            text_pair: string [B], the second text of each example, or None.
            max_length: int or int32 [], maximum number of tokens per example, special tokens included.
            truncation: how long texts are handled; its ``max_length`` then replaces the argument, and the
                tokenizer's ``template`` replaces its own. With windows, an example has as many tokens as its
                windows hold. If a pair does not fit into one window, the first text keeps at most
                ``truncation.first_text`` tokens, and the second is read in windows.
            count: whether to count truncated and unknown tokens.
            offsets: whether to return the offsets of each token.
        Returns:
            ``input_ids``, ``token_type_ids``, ``attention_mask``: int32 [B, T], T the longest example's
            tokens. ``token_type_ids`` number the texts, see :class:`~tfpipeline.text.template.Template`. With
            ``count`` also ``cut`` and ``unknown``, int32 [B]: the number of tokens left out of each example,
            and how many of the others are the unknown token; with ``truncation.text_limits`` also
            ``cut_pair``, how many were left out of the second text. With ``offsets`` also ``offsets``, int32
            [B, T, 2], the first code point of its text that a token represents and one past the last (0, 0
            for special tokens and padding), and ``word_starts``, int32 [B, T], 1 where a token begins a word
            or the rest of one. Both equal those of transformers' fast tokenizer; bytes that are not UTF-8
            count as in Python's ``decode(errors="replace")``.
        Raises:
            ValueError: max_length leaves no room for the special tokens (not checked if it is a tensor), or
                windows could not advance.
            TypeError: max_length is not an integer.
            UserError: a single text instead of several, or an element that is not a text.
        """
        texts = strings(texts, "texts")
        text_pair = None if text_pair is None else strings(text_pair, "text_pair")
        if truncation is not None:
            max_length = truncation.max_length
        special = self.template.count(text_pair is not None)
        if not tf.is_tensor(max_length) and operator.index(max_length) < special:
            roles = dict.fromkeys(role for group in self.template.groups(True) for role in group)
            names = " and ".join(getattr(self.options, role) for role in roles)
            raise ValueError(f"max_length is {max_length}; {names} alone take {special}")
        share = 0.0 if truncation is None else truncation.tail_share
        if truncation is not None and truncation.text_limits is not None:
            encoded = self._encode_limited(texts, text_pair, truncation, offsets=offsets)
        elif truncation is not None and truncation.windows:
            encoded = self._encode_windows(texts, text_pair, truncation, offsets=offsets)
        elif text_pair is None:
            encoded = self._encode(texts, max_length, share, offsets=offsets)
        else:
            encoded = self._encode_pair(texts, text_pair, max_length, share, offsets=offsets)
        limited = truncation is not None and truncation.text_limits is not None
        counts = {"cut", "unknown", *(["cut_pair"] if limited else [])} if count else set()
        return {name: tensor for name, tensor in encoded.items() if name in counts or name not in _COUNTS}

    def _encode_windows(
        self, texts: Any, text_pair: Any, truncation: Truncation, *, offsets: bool
    ) -> dict[str, Any]:
        truncation = dataclasses.replace(truncation, template=self.template)
        truncation.check(pair=text_pair is not None)
        if text_pair is None:
            return self._encode(texts, truncation.longest(pair=False), 0.0, offsets=offsets)
        return self._encode_long_pair(
            texts,
            text_pair,
            truncation.max_length,
            truncation.overlap,
            truncation.max_windows,
            truncation.first_text,
            offsets=offsets,
        )

    def _encode_limited(
        self, texts: Any, text_pair: Any, truncation: Truncation, *, offsets: bool
    ) -> dict[str, Any]:
        limits, share = truncation.text_limits, truncation.tail_share
        assert limits is not None
        if text_pair is None:
            most = min(limits[0] + self.template.count(pair=False), truncation.max_length)
            return self._encode(texts, most, share, offsets=offsets)
        return self._encode_source_and_target(texts, text_pair, *limits, share, offsets=offsets)

    @graph(_TEXTS)
    def _tokenize(self, texts: Any, *, offsets: bool) -> tuple[Any, Any]:
        """Flat ids int32 [tokens] and row splits int64 [B + 1]."""
        tokens = self._tokens(texts, offsets)
        return tokens.ids, tokens.splits

    def _tokens(self, texts: Any, offsets: bool) -> Tokens:
        text, ends, classes = self._join(texts, self._raw_classes)
        # The origin of each byte of the joined text; two lists of its length.
        origins = places_of(texts, text) if offsets else ()

        def normalize() -> tuple[Any, ...]:
            is_plain = tf.strings.regex_full_match(texts, self._plain)
            has_token = tf.strings.regex_full_match(texts, self._normalizer.looked_for)
            rows = tf.where(has_token | tf.logical_not(is_plain))
            some = tf.gather_nd(texts, rows)
            from_: tuple[Any, ...] = ()
            if offsets:
                normalized, *from_some = self._normalizer.with_origins(some)
            else:
                normalized = self._normalizer(some)
            whole = tf.tensor_scatter_nd_update(texts, rows, normalized)
            joined = self._join(whole, self._normalized_classes)
            if offsets:
                from_ = updated(places_of(whole, joined[0]), from_some, rows[:, 0], whole)
            return (*joined, *from_)

        text, ends, classes, *origins = tf.cond(
            tf.equal(tf.reduce_max(classes), COMPLEX), normalize, lambda: (text, ends, classes, *origins)
        )
        begin, end = _words(classes)
        places, ids = self._match(text, begin, end)
        splits = tf.concat([[0], tf.searchsorted(places, ends, out_type=tf.int64)], axis=0)
        if not offsets:
            return Tokens(ids, splits, {})
        word = tf.searchsorted(begin, places, side="right") - 1
        # A token ends where the next token of its word begins, or where the word ends.
        following = tf.concat([places[1:], tf.shape(classes)], axis=0)
        last = tf.minimum(following, tf.gather(end, word)) - 1
        places_in_text = tf.stack([tf.gather(origins[0], places), tf.gather(origins[1], last)], axis=-1)
        word_starts = tf.cast(tf.equal(tf.gather(begin, word), places), tf.int32)
        return Tokens(ids, splits, {"offsets": places_in_text, "word_starts": word_starts})

    def _join(self, texts: Any, classes: Any) -> tuple[Any, Any, Any]:
        """Join all texts, with a blank before and between them and enough blanks after them.

        Returns:
            string []; int32 [B], the byte offset where each text ends; uint8 [bytes], the class of each byte.
        """
        text = tf.raw_ops.ReduceJoin(inputs=texts, reduction_indices=[0], separator=" ")
        if self.options.lowercase:
            text = tf.strings.lower(text)  # ASCII only; all other characters are already lower case
        text = tf.strings.join([" ", text, " " * self._match.padding])
        ends = tf.cumsum(tf.strings.length(texts) + 1)
        codes = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
        return text, ends, tf.gather(classes, codes)

    @graph(_TEXTS, _LENGTH, _SHARE)
    def _encode(self, texts: Any, max_length: Any, tail: Any, *, offsets: bool) -> dict[str, Any]:
        tokens = self._tokens(texts, offsets)
        kept = tf.minimum(tokens.lengths, max_length - self.template.count(pair=False))
        return self._special.pack([(tokens, kept)], tail)

    @graph(_TEXTS, _TEXTS, _LENGTH, _SHARE)
    def _encode_pair(
        self, texts: Any, text_pair: Any, max_length: Any, tail: Any, *, offsets: bool
    ) -> dict[str, Any]:
        first, second = self._tokens(texts, offsets), self._tokens(text_pair, offsets)
        room = max_length - self.template.count(pair=True)
        first_kept, second_kept = longest_first(first.lengths, second.lengths, room)
        return self._special.pack([(first, first_kept), (second, second_kept)], tail, tail)

    @graph(_TEXTS, _TEXTS, _LENGTH, _LENGTH, _SHARE)
    def _encode_source_and_target(
        self, texts: Any, text_pair: Any, most: Any, most_of_pair: Any, tail: Any, *, offsets: bool
    ) -> dict[str, Any]:
        first, second = self._tokens(texts, offsets), self._tokens(text_pair, offsets)
        kept = tf.minimum(first.lengths, most), tf.minimum(second.lengths, most_of_pair)
        return self._special.pack(list(zip((first, second), kept)), tail)

    @graph(_TEXTS, _TEXTS, _LENGTH, _LENGTH, _LENGTH, _LENGTH)
    def _encode_long_pair(
        self,
        texts: Any,
        text_pair: Any,
        max_length: Any,
        overlap: Any,
        max_windows: Any,
        first_text: Any,
        *,
        offsets: bool,
    ) -> dict[str, Any]:
        first, second = self._tokens(texts, offsets), self._tokens(text_pair, offsets)
        first_kept, second_kept = first_and_windows(
            first.lengths,
            second.lengths,
            max_length,
            overlap,
            max_windows,
            first_text,
            in_front=self.template.in_front(pair=True),
            after=len(self.template.after),
        )
        return self._special.pack([(first, first_kept), (second, second_kept)])


def _words(classes: Any) -> tuple[Any, Any]:
    """The byte offsets where words begin and end, int32 [W] each.

    Args:
        classes: uint8 [bytes], blank at both ends.
    """
    letter = tf.equal(classes, LETTER)
    joined = letter[:-1] & letter[1:]  # no word ends between this byte and the next
    middle = tf.not_equal(classes[1:-1], BLANK)
    begin = tf.where(middle & tf.logical_not(joined[:-1]))[:, 0]
    end = tf.where(middle & tf.logical_not(joined[1:]))[:, 0]
    return tf.cast(begin, tf.int32) + 1, tf.cast(end, tf.int32) + 2
