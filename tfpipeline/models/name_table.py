"""The number of a name, in the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class NameTable:
    """Finds names among N known ones, by binary search of their hashes: B * log(N) steps for B names.

    Args:
        names: the known names, each once.
    """

    def __init__(self, names: Sequence[str]) -> None:
        with tf.init_scope():  # eagerly, also while a function is traced
            hashes = _hashes(tf.constant(list(names))).numpy()
        order = np.argsort(hashes, kind="stable")
        self._names = np.array([name.encode() for name in names], object)[order]
        self._hashes, self._order = hashes[order], order.astype(np.int32)
        if len(np.unique(hashes)) < len(names):
            raise ValueError("two names are equal, or have one hash")

    def __call__(self, names: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Look names up.

        Args:
            names: string [B].
        Returns:
            Their numbers, int32 [B], and whether they are known, bool [B]; an unknown one has any number.
        """
        at = tf.searchsorted(tf.constant(self._hashes), _hashes(names))
        at = tf.minimum(at, len(self._names) - 1)
        known = tf.equal(tf.gather(tf.constant(self._names), at), names)
        return tf.gather(tf.constant(self._order), at), known


def _hashes(names: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(names, 2**63 - 1)
