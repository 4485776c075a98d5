"""Chooses the tokens to mask and replaces them, in the graph.

B rows, T positions, P the most masked tokens of a row. A row's masks depend only on its tokens and its own
random numbers, not on its batch or its padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.models.row_noise import RowNoise

MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens: replaced by [MASK], by a random token; the rest is kept
# A word may exceed the share of its row by this number of tokens; a longer one is then not masked.
SLACK = 3
_ORDER, _EDGE, _KIND, _TOKEN = range(4)  # draws
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
    most = smaller(width, most_masked(width, share))
    from_end = tf.where(chosen, width - tf.range(width), 0)
    largest = tf.math.top_k(from_end, most).values
    return tf.where(largest > 0, width - largest, -1)


def replace(
    ids: tf.Tensor, chosen: tf.Tensor, mask_id: int, candidates: Sequence[int], noise: RowNoise
) -> tf.Tensor:
    """Replace chosen tokens: 80 % by [MASK], 10 % by a random token; 10 % stay (arXiv:1810.04805, A.1).

    Args:
        ids: int32 [B, T].
        chosen: bool [B, T].
        mask_id: the id of [MASK].
        candidates: the ids that random tokens are drawn from.
        noise: the random numbers.
    """
    width = tf.shape(ids)[1]
    kind = noise.uniform(width, _KIND)
    drawn = tf.gather(tf.constant(list(candidates), tf.int32), noise.integers(width, len(candidates), _TOKEN))
    replaced = tf.where(kind < MASKED, mask_id, tf.where(kind < MASKED + RANDOM, drawn, ids))
    return tf.where(chosen, replaced, ids)
