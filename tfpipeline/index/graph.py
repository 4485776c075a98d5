"""Search as a TensorFlow graph of core operations: the same answers as ``exact`` and ``inverted_lists``.

B queries, N rows of D numbers, C candidates per query, K = ``most``, the largest k.

The rows are scored in float32. The best C are then scored again as :meth:`Vectors.scores` does and sorted, so
that the order does not depend on rounding. C exceeds K by a margin. If more rows than the margin are as good
as the K-th, up to rounding, those with the smallest numbers become candidates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfpipeline.index.inverted_lists import Lists
from tfpipeline.index.vectors import ROUNDING, Vectors

_CHUNK = 16384  # rows that are scored at a time: they are decoded to float32 in a buffer of this size
_LEAST_MARGIN = 28
_NOTHING = -np.inf


class SearchGraph(tf.Module):
    """Finds the best rows of an index.

    Args:
        vectors: the rows; a memory-mapped array is not copied.
        most: K, the largest number of rows that a query may ask for.
        lists: for an index with inverted lists.
        probes: the number of lists to read; by default the index's.
    """

    def __init__(
        self, vectors: Vectors, most: int, lists: Lists | None = None, probes: int | None = None
    ) -> None:
        super().__init__(name="search")
        self.rows, self.most = len(vectors), most
        self.candidates = most + max(_LEAST_MARGIN, most // 4)
        self._bfloat16 = vectors.kind == "bfloat16"
        # A variable has at least one row: a matrix product of none has no kernel everywhere.
        rows = vectors.stored if len(vectors) else np.zeros((1, vectors.dimension), vectors.stored.dtype)
        self._rows = _variable(rows, "rows")
        self._scales = None
        if vectors.scales is not None:
            self._scales = _variable(vectors.scales if len(vectors) else np.ones(1, np.float32), "scales")
        self._longest = _longest(vectors)
        self._lists = None if not len(vectors) else lists
        if self._lists is not None:
            self._centroids = _variable(self._lists.centroids, "centroids")
            self._ends = _variable(self._lists.ends.astype(np.int32), "ends")
            self._order = _variable(self._lists.order.astype(np.int32), "order")
            self._probes = min(probes or self._lists.probes, len(self._lists.centroids))

    def __call__(self, queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Search.

        Args:
            queries: float32 [B, D].
        Returns:
            The numbers of the best rows, int32 [B, K]; their scores, float32 [B, K]; and how many of the K
            there are, int32 [B]. Places without a row have number 0 and score 0.
        """
        queries = tf.ensure_shape(queries, [None, self._rows.shape[1]])
        find = self._scan if self._lists is None else self._probe
        places, products = find(queries)  # [B, C]
        there = tf.greater(products, _NOTHING)
        numbers = places if self._lists is None else _gather(self._order, places)
        # Places without a row go last: their numbers are the largest, and their scores -inf.
        by_number = tf.argsort(tf.where(there, numbers, self.rows), axis=1, stable=True)
        numbers, places, there = (
            tf.gather(tensor, by_number, batch_dims=1) for tensor in (numbers, places, there)
        )
        scores = tf.where(there, self._scores(queries, places), _NOTHING)
        best, chosen = tf.math.top_k(scores, self.most)  # of equal scores, the first is taken first
        exists = tf.greater(best, _NOTHING)
        numbers = tf.where(exists, tf.gather(numbers, chosen, batch_dims=1), 0)
        counts = tf.reduce_sum(tf.cast(exists, tf.int32), axis=1)
        shape = [None, self.most]
        return tf.ensure_shape(numbers, shape), tf.ensure_shape(tf.where(exists, best, 0.0), shape), counts

    def _decoded(self, stored: tf.Tensor) -> tf.Tensor:
        """Stored numbers as float32, without the scales."""
        if self._bfloat16:
            stored = tf.bitcast(stored, tf.bfloat16)
        return tf.cast(stored, tf.float32)

    def _scores(self, queries: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """The exact scores, float32 [B, C], of the rows at some places, int32 [B, C]."""
        rows = tf.cast(self._decoded(_gather(self._rows, places)), tf.float64)
        products = tf.linalg.matvec(rows, tf.cast(queries, tf.float64))
        if self._scales is not None:
            products *= tf.cast(_gather(self._scales, places), tf.float64)
        return tf.cast(products, tf.float32)

    def _rounding(self, queries: tf.Tensor) -> tf.Tensor:
        """The difference up to which two products may be equal, [B, 1]."""
        return tf.norm(queries, axis=1, keepdims=True) * np.float32(2 * ROUNDING * self._longest)

    def _scan(self, queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The C best rows of all, by float32 products: places int32 [B, C], products float32 [B, C]."""
        places, products = self._best_of_all(queries, lambda products: products)
        rounding = self._rounding(queries)
        last = tf.minimum(self.most, self.rows) - 1
        kth = products[:, last : last + 1]
        if self.rows <= self.candidates:
            return places, products
        # The margin is full of rows that are as good as the K-th: those with the smallest numbers are taken.
        crowded = tf.reduce_any(products[:, -1:] >= kth - rounding)
        return tf.cond(
            crowded,
            lambda: self._best_of_all(queries, lambda some: _level(some, kth, rounding)),
            lambda: (places, products),
        )

    def _best_of_all(
        self, queries: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.shape(queries)[0]
        shape = [None, self.candidates]

        def body(start: tf.Tensor, places: tf.Tensor, products: tf.Tensor) -> tuple[tf.Tensor, ...]:
            stop = tf.minimum(start + _CHUNK, self.rows)
            chunk = tf.matmul(queries, self._decoded(self._rows[start:stop]), transpose_b=True)
            if self._scales is not None:
                chunk *= self._scales[start:stop]
            own = tf.broadcast_to(tf.range(start, stop), tf.shape(chunk))
            if self.rows > _CHUNK:
                chunk, chosen = tf.math.top_k(change(chunk), tf.minimum(self.candidates, stop - start))
                own = chosen + start
            else:
                chunk = change(chunk)
            # The rows found before have smaller numbers, and of equal products the first is taken first.
            both = tf.concat([products, chunk], axis=1)
            products, chosen = tf.math.top_k(both, self.candidates)
            places = tf.gather(tf.concat([places, own], axis=1), chosen, batch_dims=1)
            return stop, tf.ensure_shape(places, shape), tf.ensure_shape(products, shape)

        nothing = (
            tf.zeros([batch, self.candidates], tf.int32),
            tf.fill([batch, self.candidates], np.float32(_NOTHING)),
        )
        _, places, products = tf.while_loop(
            lambda start, *_: start < self.rows,
            body,
            (tf.constant(0), *(tf.ensure_shape(tensor, shape) for tensor in nothing)),
            parallel_iterations=1,
        )
        return places, products

    def _probe(self, queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The C best rows of the nearest lists, as :meth:`_scan` returns them."""
        nearest = tf.math.top_k(tf.matmul(queries, self._centroids, transpose_b=True), self._probes).indices
        starts, stops = _gather(self._ends, nearest), _gather(self._ends, nearest + 1)

        def one(given: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
            query, rounding, start, stop = given
            places = tf.ragged.range(start, stop).flat_values
            rows = self._decoded(_gather(self._rows, places))
            products = tf.linalg.matvec(rows, query)
            if self._scales is not None:
                products *= _gather(self._scales, places)
            missing = [[0, tf.maximum(self.candidates - tf.shape(places)[0], 0)]]
            places = tf.pad(places, missing)
            products = tf.pad(products, missing, constant_values=_NOTHING)
            best, chosen = tf.math.top_k(products, self.candidates)
            kth = best[self.most - 1]
            crowded = tf.greater(best[-1], _NOTHING) & (best[-1] >= kth - rounding[0])

            def leveled() -> tuple[tf.Tensor, tf.Tensor]:
                # A list's rows are ordered by number, but not those of several lists.
                by_number = tf.argsort(_gather(self._order, places), stable=True)
                level = tf.gather(_level(products, kth, rounding), by_number)
                best, chosen = tf.math.top_k(level, self.candidates)
                return tf.gather(tf.gather(places, by_number), chosen), best

            return tf.cond(crowded, leveled, lambda: (tf.gather(places, chosen), best))

        return tf.map_fn(
            one,
            (queries, self._rounding(queries), starts, stops),
            fn_output_signature=(
                tf.TensorSpec([self.candidates], tf.int32),
                tf.TensorSpec([self.candidates], tf.float32),
            ),
            parallel_iterations=4,
        )


def _gather(variable: tf.Variable, places: tf.Tensor) -> tf.Tensor:
    """Some rows of a variable.

    Not ``tf.gather`` of the variable itself: its operation, ResourceGather, makes every later read of the
    variable copy all of it (``EnsureSparseVariableAccess`` in TensorFlow's training_op_helpers.h).
    """
    return tf.gather(variable.read_value(), places)


def _level(products: tf.Tensor, kth: tf.Tensor, rounding: tf.Tensor) -> tf.Tensor:
    """Products, where those that may equal the K-th best are the same number."""
    return tf.where(tf.abs(products - kth) <= rounding, kth, products)


def _variable(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(values, trainable=False, name=name)


def _longest(vectors: Vectors) -> float:
    """The length of the longest row."""
    longest = 0.0
    for start in range(0, len(vectors), _CHUNK):
        rows = vectors.read(slice(start, start + _CHUNK))
        longest = max(longest, float(np.sqrt(np.einsum("nd,nd->n", rows, rows).max())))
    return longest
