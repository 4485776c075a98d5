"""Shares equal tokenizers.

A tokenizer's tables and graphs take seconds to build, and depend only on its vocabulary and options. A
process that trains, evaluates and exports a model opens the run several times.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import tensorflow as tf

from tfpipeline.text.options import TokenizerOptions
from tfpipeline.text.tokenizer import WordPieceTokenizer

_KEPT = 4  # a vocabulary of 30,000 tokens and its tables are about 10 MB


def shared_tokenizer(vocabulary: Sequence[str], options: TokenizerOptions) -> WordPieceTokenizer:
    """The tokenizer of this vocabulary and these options, built on first use.

    Args:
        vocabulary: tokens in the order of their ids.
        options: how text is normalised and which tokens are special.
    Raises:
        UserError: as raised by :class:`WordPieceTokenizer`.
    """
    return _build(tuple(vocabulary), options)


@functools.lru_cache(maxsize=_KEPT)
def _build(vocabulary: tuple[str, ...], options: TokenizerOptions) -> WordPieceTokenizer:
    with tf.init_scope():  # its tables outlive the graph that is being traced
        return WordPieceTokenizer(vocabulary, options)
