"""Tokens with their padding: the layout in which a model for serving computes a small request.

B rows, T positions, R = B * T tokens, H hidden size, N heads, D = H / N. The interface is that of
:class:`tfpipeline.models.real_tokens.RealTokens`, which finds the real tokens of a large request first.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfpipeline.models.real_tokens import MASKED, NO_TOKEN, attention


class PaddedTokens:
    """All positions of a batch, and attention within its rows.

    Args:
        mask: int32 [B, T], 1 for real tokens.
        heads: N.
        causal: whether a token attends only to itself and to earlier tokens.
        causal_mask: int32 [B, T], 1 for tokens that earlier tokens do not attend to; None for all 0.
        adapters: int32 [B], the adapter of each row; None for a model without.

    Attributes:
        columns: int32 [R], the position of each token in its row.
        rows: int32 [R], the number of each token's row.
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
        self._rows, self._width, self._heads = shape[0], shape[1], heads
        column = tf.range(self._width)
        self.columns = tf.tile(column, [self._rows])
        self.rows = tf.repeat(tf.range(self._rows), self._width)
        # The first position counts as real, as in RealTokens.
        self._kept = tf.logical_or(mask > 0, column == 0)
        bias = tf.where(mask > 0, 0.0, tf.where(column == 0, MASKED, NO_TOKEN))[:, None, None, :]
        if causal or causal_mask is not None:
            hidden = column[None, :] > column[:, None]  # [T, T]: from, to
            if not causal and causal_mask is not None:
                hidden = tf.logical_and(hidden, causal_mask[:, None, None, :] > 0)
            bias = tf.minimum(bias, tf.where(hidden, MASKED, 0.0))
        self._bias = bias  # float32 [B, 1, 1, T] or, if some tokens are causal, [B, 1, T, T]

    def of(self, batch: tf.Tensor) -> tf.Tensor:
        """The values of a batch [B, T], [R]."""
        return tf.reshape(batch, [-1])

    def padded(self, x: tf.Tensor) -> tf.Tensor:
        """Values of tokens, [R, H], as [B, T, H], 0 where the mask is 0."""
        batch = tf.reshape(x, tf.stack([self._rows, self._width, x.shape[-1]]))
        return tf.where(self._kept[:, :, None], batch, tf.zeros([], x.dtype))

    def first(self, x: tf.Tensor) -> tf.Tensor:
        """The values at each row's first position, [B, H]."""
        return tf.gather(x, tf.range(self._rows) * self._width)

    def attend(self, qkv: tf.Tensor, query_bias: tf.Tensor | None = None) -> tf.Tensor:
        """Multi-head attention within each row.

        Args:
            qkv: [R, 3 * H], query (already divided by the square root of D), key and value.
            query_bias: [N, 1, D], added to the query.
        Returns:
            [R, H].
        """
        size = qkv.shape[-1] // (3 * self._heads)
        each = tf.reshape(qkv, tf.stack([self._rows, self._width, 3, self._heads, size]))
        attended = attention(tf.transpose(each, [2, 0, 3, 1, 4]), self._bias, query_bias)  # [B, N, T, D]
        return tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [-1, size * self._heads])

    def by_rows(
        self, x: tf.Tensor, function: Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]
    ) -> list[tf.Tensor]:
        """See :meth:`tfpipeline.models.real_tokens.RealTokens.by_rows`."""
        made = function(tf.reshape(x, tf.stack([self._rows, self._width, x.shape[-1]])), self.adapters)
        return [tf.reshape(each, [-1, each.shape[-1]]) for each in made]

    def layer_norm(self, x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float) -> tf.Tensor:
        """See :func:`layer_norm`."""
        return layer_norm(x, scale, bias, epsilon)


def layer_norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float) -> tf.Tensor:
    """:func:`tfpipeline.models.kernels.layer_norm` of [R, H], in a form that TensorFlow does not fuse.

    TensorFlow looks for ``reduce_mean``. The fused form takes 0.15 ms to set up at each call, which costs
    more than it saves on a few rows.
    """
    share = tf.constant(1 / x.shape[-1], x.dtype)
    centred = x - tf.reduce_sum(x, -1, keepdims=True) * share
    variance = tf.reduce_sum(centred * centred, -1, keepdims=True) * share
    return centred * tf.math.rsqrt(variance + epsilon) * scale + bias
