"""Chooses the tokens to mask, in the graph.

B rows, T positions, P the most masked tokens of a row. A row's masks depend only on its tokens and its own
random numbers, not on its batch or its padding.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpipeline.models.row_noise import RowNoise
from tfpipeline.tasks._masking import first_positions
from tfpipeline.tasks._masking import replace as replace  # draws 2 and 3

# A word may exceed the share of its row by this number of tokens; a longer one is then not masked.
SLACK = 3
_ORDER, _EDGE = range(2)  # draws
_LAST = 2.0  # sorts behind all draws
_PARTS = 4096


def most_masked(tokens: Any, share: float) -> Any:
    """The most tokens that are masked in a row: ``share`` of its tokens, rounded up, and ``SLACK``.

    Args:
        tokens: the tokens of the row, special ones included; an int, or an integer tensor.
        share: ``mask_share``, to 1/4096: integers give the same number in Python and in the graph.
    """
    return (tokens * max(1, round(share * _PARTS)) + _PARTS - 1) // _PARTS + SLACK


def choose(words: tf.Tensor, maskable: tf.Tensor, lengths: tf.Tensor, share: float, noise: RowNoise) -> Any:
    """Choose whole words, with ``share`` of the tokens in expectation.

    The words of a row are put into random order, and the first ones are chosen up to the row's number of
    tokens, ``share`` times its maskable ones, rounded, but at least 1. The word that passes this number is
    chosen with the probability that keeps the expected number of tokens. The first word is always chosen. A
    word that would pass the row's bound (:func:`most_masked`) is not.

    Args:
        words: int32 [B, T], the number of each token's word in its row, from 1; 0 for none.
        maskable: bool [B, T].
        lengths: int32 [B], the tokens of each row, special ones included.
        share: 0 to 1.
        noise: the random numbers.
    Returns:
        bool [B, T].
    """
    rows, width = tf.unstack(tf.shape(words))
    words = tf.where(maskable & (words < width), words, 0)
    there = tf.cast(words > 0, tf.int32)
    flat = tf.reshape(tf.range(rows)[:, None] * width + words, [-1])
    sizes = tf.reshape(
        tf.math.unsorted_segment_sum(tf.reshape(there, [-1]), flat, rows * width), [rows, width]
    )
    total = tf.reduce_sum(there, axis=1)
    wanted = tf.maximum(tf.round(share * tf.cast(total, tf.float32)), 1.0)[:, None]
    bound = most_masked(lengths, share)[:, None]
    sizes = tf.where(sizes <= bound, sizes, 0)
    keys = tf.where(sizes > 0, noise.uniform(width, _ORDER), _LAST)
    order = tf.argsort(keys, axis=1, stable=True)
    sizes = tf.gather(sizes, order, batch_dims=1)
    before = tf.cumsum(sizes, axis=1, exclusive=True)
    edge = tf.gather(noise.uniform(width, _EDGE), order, batch_dims=1)
    taken = tf.cast(before, tf.float32) + edge * tf.cast(sizes, tf.float32) < wanted
    taken = (taken | (before == 0)) & (before + sizes <= bound) & (sizes > 0)
    rank = tf.argsort(order, axis=1)  # of each word
    return tf.gather(taken, tf.gather(rank, words, batch_dims=1), batch_dims=1) & (words > 0)


def positions_of(chosen: tf.Tensor, share: float) -> tf.Tensor:
    """The positions of the chosen tokens of each row in order, int32 [B, P], padded with -1.

    Args:
        chosen: bool [B, T], from :func:`choose`.
        share: the same as there.
    """
    known = chosen.shape[1]
    width: Any = tf.shape(chosen)[1] if known is None else known
    smaller: Any = min if known is not None else tf.minimum
    return first_positions(chosen, smaller(width, most_masked(width, share)))
