"""Random numbers for the rows of a batch that do not depend on the rest of the batch.

Like ``kernels.py`` this module uses core TensorFlow. Dropout draws numbers for a whole batch at once, as it
needs a thousand times more of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

_PHILOX = 1
_NUMBERS_PER_BLOCK = 4  # a Philox block is 128 bits
_BLOCKS_PER_ROW = 1 << 20  # so a draw has at most four million numbers per row


@dataclass(frozen=True)
class RowNoise:
    """Random numbers that are a pure function of (seed, step, row, draw) and of their position in the row.

    So they do not depend on the number of replicas or shards, on padding, or on whether a run was resumed.

    Attributes:
        seed: an int below 2**46.
        step: steps done before this one, an int or an integer scalar tensor.
        rows: int64 [B], the number of each row: its index in the global batch, or in the data set.
    """

    seed: int
    step: Any
    rows: tf.Tensor

    def uniform(self, size: Any, draw: int) -> tf.Tensor:
        """Numbers in [0, 1), float32 [B, size].

        Args:
            size: numbers per row, an int or an int32 scalar tensor. A larger size adds numbers and keeps the
                others.
            draw: 0 to 65535; the numbers of different draws are independent.
        """
        # 24 bits: the precision of float32.
        return tf.cast(self._bits(size, draw) // 256, tf.float32) * 2.0**-24

    def integers(self, size: Any, limit: int, draw: int) -> tf.Tensor:
        """Integers from 0 to ``limit`` - 1, equally likely (within 2**-32 of ``limit``), int32 [B, size].

        Args:
            size, draw: as for :meth:`uniform`.
            limit: at most 2**31.
        """
        return tf.cast(self._bits(size, draw) * limit // 2**32, tf.int32)

    def _bits(self, size: Any, draw: int) -> tf.Tensor:
        """32 random bits each, int64 [B, size]. Source: Philox, Salmon et al. 2011, doi
        10.1145/2063384.2063405.
        """
        # All bits are inverted: dropout's keys are never negative, so no dropout site shares a draw's stream.
        key = tf.constant([~(self.seed * 65536 + draw)], tf.int64)
        blocks = (size + _NUMBERS_PER_BLOCK - 1) // _NUMBERS_PER_BLOCK
        step = tf.cast(self.step, tf.int64)

        def of_row(row: tf.Tensor) -> tf.Tensor:
            numbers = tf.raw_ops.StatelessRandomUniformFullIntV2(
                shape=tf.reshape(blocks * _NUMBERS_PER_BLOCK, [1]),
                key=tf.bitcast(key, tf.uint64),
                counter=tf.bitcast(tf.stack([row * _BLOCKS_PER_ROW, step]), tf.uint64),
                alg=_PHILOX,
                dtype=tf.uint32,
            )
            return tf.cast(numbers[:size], tf.int64)

        known = size if isinstance(size, int) else None
        return tf.map_fn(of_row, self.rows, fn_output_signature=tf.TensorSpec([known], tf.int64))
