"""Which tokens of a row are predicted, and at which positions, in the graph.

B rows, T positions, P the most predicted tokens of a row. A row depends only on its own tokens and random
numbers, not on its batch or its padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.models.row_noise import RowNoise
from tfpipeline.tasks._masking import first_positions, replace

_ORDER = 0  # a draw; _masking uses others
_LAST = 2.0  # sorts behind all draws


def following(ids: tf.Tensor, target: tf.Tensor, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Each token of the target, predicted at the position before it.

    Args:
        ids: int32 [B, T].
        target: bool [B, T], the tokens of the target, [SEP] at its end included; none at position 0.
        most: the most tokens of a target.
    Returns:
        The positions, int32 [B, P], -1 for unused ones; and the tokens that are predicted there, int32 [B,
        P].
    """
    positions = first_positions(target, _least(target, most))
    there = positions >= 0
    wanted = tf.gather(ids, tf.maximum(positions, 0), batch_dims=1)
    return tf.where(there, positions - 1, -1), tf.where(there, wanted, -1)


def masked(
    ids: tf.Tensor,
    target: tf.Tensor,
    most: int,
    *,
    share: float,
    mask_id: int,
    candidates: Sequence[int],
    noise: RowNoise,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Some tokens of the target, replaced and predicted where they are.

    Of n tokens, ``share * n``, rounded, but at least 1, are chosen at random.

    Args:
        ids, target, most: see :func:`following`.
        share: above 0, at most 1.
        mask_id, candidates: see :func:`tfpipeline.tasks._masking.replace`.
        noise: the random numbers.
    Returns:
        The ids with tokens replaced, int32 [B, T]; positions and tokens as of :func:`following`.
    Source: Dong et al. 2019, arXiv:1905.03197, section 2.6; microsoft/unilm, ``seq2seq_loader.py``.
    """
    count = tf.reduce_sum(tf.cast(target, tf.int32), axis=1)
    number = tf.cast(tf.round(share * tf.cast(count, tf.float32)), tf.int32)
    number = tf.minimum(tf.maximum(number, 1), count)
    keys = tf.where(target, noise.uniform(tf.shape(ids)[1], _ORDER), _LAST)
    rank = tf.argsort(tf.argsort(keys, axis=1, stable=True), axis=1)
    chosen = target & (rank < number[:, None])
    positions = first_positions(chosen, _least(target, most))
    wanted = tf.gather(ids, tf.maximum(positions, 0), batch_dims=1)
    return replace(ids, chosen, mask_id, candidates, noise), positions, tf.where(positions >= 0, wanted, -1)


def _least(target: tf.Tensor, most: int) -> Any:
    """``most``, but at most T: an int if T is known."""
    width = target.shape[1]
    return tf.minimum(tf.shape(target)[1], most) if width is None else min(width, most)
