"""Replaces tokens that a model must predict, and finds their positions, in the graph.

B rows, T positions, P the most predicted tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfpipeline.models.row_noise import RowNoise

MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens: replaced by [MASK], by a random token; the rest is kept
_KIND, _TOKEN = 2, 3  # draws; those before are for the choice


def first_positions(chosen: tf.Tensor, most: Any) -> tf.Tensor:
    """The positions of the chosen tokens of each row in order, int32 [B, P], padded with -1.

    Args:
        chosen: bool [B, T].
        most: P; more tokens than that are left out. An int or int32 [], at most T.
    """
    known = chosen.shape[1]
    width: Any = tf.shape(chosen)[1] if known is None else known
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
