"""Token ids to natural text, in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.text import spacing
from tfpipeline.text.options import TokenizerOptions
from tfpipeline.text.vocabulary import CONTINUATION


class Detokenizer:
    """Makes texts of tokens: joins the pieces of words (``##``), and removes the blanks that natural text
    does not have; see :mod:`tfpipeline.text.spacing`.

    Letters keep the case of the vocabulary. [UNK] and other special tokens are shown as the vocabulary has
    them. It has no variables: the vocabulary is a constant of the graph.

    Args:
        vocabulary: the tokens in the order of their ids.
        options: the tokenizer's.
    """

    def __init__(self, vocabulary: Sequence[str], options: TokenizerOptions) -> None:
        self._pieces = [_piece(token) for token in vocabulary]
        self._rules = spacing.rules(chinese=options.tokenize_chinese_chars)

    def __call__(self, tokens: Any, lengths: Any) -> Any:
        """Texts, string [...].

        Args:
            tokens: int32 [..., L], ids of the vocabulary.
            lengths: int32 [...], how many of the tokens are the text's.
        """
        with tf.device("/CPU:0"):  # where strings are
            pieces = tf.gather(tf.constant(self._pieces, tf.string), tokens)
            there = tf.sequence_mask(lengths, tf.shape(tokens)[-1])
            texts = tf.strings.strip(tf.strings.reduce_join(tf.where(there, pieces, ""), axis=-1))
            for pattern, replacement in self._rules:
                texts = tf.strings.regex_replace(texts, pattern, replacement)
        return texts


def _piece(token: str) -> str:
    """A token as a part of a text: with a blank before it, unless it continues a word."""
    continues = token.startswith(CONTINUATION) and len(token) > len(CONTINUATION)
    return token[len(CONTINUATION) :] if continues else f" {token}"


def detokenize(tokens: Sequence[str], *, chinese: bool = True) -> str:
    """A text from tokens, as :class:`Detokenizer` makes it.

    Args:
        tokens: tokens of a vocabulary.
        chinese: whether the tokenizer makes a word of each Chinese character.
    """
    return spacing.natural("".join(map(_piece, tokens)).strip(" "), chinese=chinese)
