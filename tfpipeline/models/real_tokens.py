"""Real tokens without padding: the layout in which a model for serving computes.

B rows, T positions, R real tokens in total, H hidden size, N heads, D = H / N.

A request holds texts of many lengths. Everything but attention handles each token alone, so it needs no rows
and reads [R, H]. Attention needs rows. Rows of similar lengths form a group, and each group is padded to its
own longest row. (Padding-free BERT: Zeng et al. 2022, arXiv:2208.08124.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

# The longest row of a group has at most this share of the tokens of the longest row overall. A batch of equal
# lengths is one group. An empty group costs a few microseconds per layer.
_SHARES = (0.25, 0.5, 1.0)
# Added to the scores. exp() of both is 0 if the row has a real token. In a row without one, its masked tokens
# share the attention, and slots without a token still get none.
MASKED, NO_TOKEN = -1e9, -2e9


@dataclass(frozen=True)
class _Group:
    """Rows that attention handles together: b rows, w slots each.

    Attributes:
        heads: int32 [3, b, N, w], the indices into [R * 3 * N, D] of each slot's query, key and value per
            head.
        bias: float32 [b, 1, 1, w] or, if some tokens are causal, [b, 1, w, w]: added to the scores.
        rows: int32 [b], the rows' numbers in the batch.
        tokens: int32 [b, w], the index of each slot's token.
    """

    heads: tf.Tensor
    bias: tf.Tensor
    rows: tf.Tensor
    tokens: tf.Tensor


class RealTokens:
    """The positions of a batch's real tokens, and the layout in which attention reads them.

    The first position of a row counts as real even if the mask is 0, so that each row has the vector that
    poolers need. Other tokens attend to it only if its mask is 1.

    Args:
        mask: int32 [B, T], 1 for real tokens, which may be anywhere in a row.
        heads: N.
        causal: whether a token attends only to itself and to earlier tokens.
        causal_mask: int32 [B, T], 1 for tokens that earlier tokens do not attend to; None for all 0.
        adapters: int32 [B], the adapter of each row; None for a model without.

    Attributes:
        places: int32 [R], the index of each token in the batch, flattened to [B * T].
        columns: int32 [R], the position of each token in its row.
        rows: int32 [R], the number of each token's row in the batch.
        adapters: the argument.
    """

    def __init__(
        self,
        mask: tf.Tensor,
        heads: int,
        *,
        causal: bool = False,
        causal_mask: tf.Tensor | None = None,
        adapters: tf.Tensor | None = None,
    ) -> None:
        self.adapters = adapters
        shape = tf.shape(mask)
        self._shape, self._heads = shape, heads
        rows, width = shape[0], shape[1]
        kept = tf.concat([tf.ones_like(mask[:, :1]), mask[:, 1:]], 1)
        lengths = tf.reduce_sum(kept, 1)
        longest = tf.cast(tf.reduce_max(lengths), tf.float32)
        group = tf.add_n(
            [tf.cast(tf.cast(lengths, tf.float32) > longest * share, tf.int32) for share in _SHARES[:-1]]
        )
        order = tf.argsort(group, stable=True)
        lengths = tf.gather(lengths, order)
        positions = tf.cast(tf.where(tf.gather(kept, order) > 0), tf.int32)  # [R, 2]: row as ordered, column
        row, self.columns = positions[:, 0], positions[:, 1]
        self.rows = tf.gather(order, row)
        self.places = self.rows * width + self.columns
        attended = tf.gather(tf.reshape(mask, [-1]), self.places)
        forward = None if causal_mask is None else tf.gather(tf.reshape(causal_mask, [-1]), self.places) > 0
        starts = tf.cumsum(lengths, exclusive=True)  # [B]
        rank = tf.range(tf.shape(row)[0]) - tf.gather(starts, row)  # [R], a token's index in its row

        self._groups = []
        first_row = first_slot = tf.constant(0)
        slot_of_row, slots_of_row = [], []
        last = tf.shape(row)[0] - 1
        counts = tf.math.bincount(group, minlength=len(_SHARES), maxlength=len(_SHARES))
        for index in range(len(_SHARES)):
            count = counts[index]
            size = lengths[first_row : first_row + count]
            wide = tf.maximum(tf.reduce_max(size), 0)
            slot = tf.range(wide)
            token = tf.minimum(starts[first_row : first_row + count, None] + slot, last)  # [b, w]
            bias = tf.where(tf.gather(attended, token) > 0, 0.0, MASKED)
            bias = tf.where(slot < size[:, None], bias, NO_TOKEN)[:, None, None, :]
            if causal or forward is not None:
                hidden = slot[None, :] > slot[:, None]  # [w, w]: from, to
                if not causal:
                    hidden = tf.logical_and(hidden, tf.gather(forward, token)[:, None, None, :])
                bias = tf.minimum(bias, tf.where(hidden, MASKED, 0.0))
            part = tf.range(3)[:, None, None, None] * heads + tf.range(heads)[None, None, :, None]
            numbers = order[first_row : first_row + count]
            self._groups.append(_Group(token[None, :, None, :] * (3 * heads) + part, bias, numbers, token))
            slot_of_row.append(first_slot + tf.range(count) * wide * heads)
            slots_of_row.append(tf.fill([count], wide))
            first_row, first_slot = first_row + count, first_slot + count * wide * heads
        # The slots of a row's head n begin n * w after its first slot.
        begin, step = tf.concat(slot_of_row, 0), tf.concat(slots_of_row, 0)
        self._slot = tf.gather(begin, row) // heads + rank  # [R], among the slots of all groups
        self._back = (
            tf.gather(begin, row)[:, None]
            + tf.gather(step, row)[:, None] * tf.range(heads)[None, :]
            + rank[:, None]
        )
        # For each position of the batch, the index of its token, or R.
        self._token_at = tf.tensor_scatter_nd_update(
            tf.fill([rows * width], last + 1), self.places[:, None], tf.range(last + 1)
        )

    def of(self, batch: tf.Tensor) -> tf.Tensor:
        """The values of a batch [B, T] at the real tokens, [R]."""
        return tf.gather(tf.reshape(batch, [-1]), self.places)

    def padded(self, x: tf.Tensor) -> tf.Tensor:
        """Values of real tokens, [R, H], at the tokens' positions in the batch: [B, T, H], 0 elsewhere."""
        with_zero = tf.concat([x, tf.zeros([1, x.shape[-1]], x.dtype)], 0)
        return tf.reshape(tf.gather(with_zero, self._token_at), [self._shape[0], self._shape[1], x.shape[-1]])

    def first(self, x: tf.Tensor) -> tf.Tensor:
        """The values at each row's first position, [B, H]."""
        at = tf.range(self._shape[0]) * self._shape[1]
        return tf.gather(x, tf.gather(self._token_at, at))

    def attend(self, qkv: tf.Tensor, query_bias: tf.Tensor | None = None) -> tf.Tensor:
        """Multi-head attention within each row.

        Args:
            qkv: [R, 3 * H], query (already divided by the square root of D), key and value.
            query_bias: [N, 1, D], added to the query.
        Returns:
            [R, H].
        """
        size = qkv.shape[-1] // (3 * self._heads)
        each = tf.reshape(qkv, [-1, size])
        attended = [
            tf.reshape(attention(tf.gather(each, group.heads), group.bias, query_bias), [-1, size])
            for group in self._groups
        ]
        back = tf.gather(tf.concat(attended, 0), self._back)  # [R, N, D]
        return tf.reshape(back, [-1, size * self._heads])

    def by_rows(
        self, x: tf.Tensor, function: Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]
    ) -> list[tf.Tensor]:
        """Apply a function that handles the rows of different adapters differently.

        Args:
            x: [R, n].
            function: called with tokens [b, w, n] and the adapters of their rows, int32 [b]; returns tensors
                [b, w, m].
        Returns:
            For each of these tensors [R, m].
        """
        made = [
            function(tf.gather(x, group.tokens), tf.gather(self.adapters, group.rows))
            for group in self._groups
        ]
        flat = [tf.concat([tf.reshape(one, [-1, one.shape[-1]]) for one in each], 0) for each in zip(*made)]
        return [tf.gather(each, self._slot) for each in flat]

    def layer_norm(self, x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float) -> tf.Tensor:
        """:func:`tfpipeline.models.kernels.layer_norm` of [R, H], in the form that TensorFlow fuses.

        The statistics of a row are those that batch normalisation computes for a channel.
        """
        rows = tf.shape(x)[0]
        none = tf.zeros([0], x.dtype)
        normal, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(x, tf.stack([1, rows, x.shape[-1], 1])),
            scale=tf.fill([rows], tf.constant(1.0, x.dtype)),
            offset=tf.fill([rows], tf.constant(0.0, x.dtype)),
            mean=none,
            variance=none,
            epsilon=epsilon,
            data_format="NCHW",
            is_training=True,
        )
        return bias + tf.reshape(normal, tf.shape(x)) * scale


def attention(qkv: tf.Tensor, bias: tf.Tensor, query_bias: tf.Tensor | None) -> tf.Tensor:
    """``softmax(query @ key.T + bias) @ value``; softmax in float32.

    Args:
        qkv: [3, b, N, w, D], query, key and value of rows with w slots.
        bias: float32, added to the scores [b, N, w, w].
        query_bias: [N, 1, D], added to the query.
    Returns:
        [b, N, w, D].
    """
    query, key, value = tf.unstack(qkv, 3)
    query = query if query_bias is None else query + query_bias
    scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32) + bias
    return tf.matmul(tf.cast(tf.nn.softmax(scores), value.dtype), value)
