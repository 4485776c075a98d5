"""Layouts of a model for serving that keep the keys and values of tokens, or read tokens behind them.

R tokens in total, H hidden size, N heads, D = H / N. A block reads any layout alike; see
:class:`tfpipeline.models.real_tokens.RealTokens` for the interface.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfpipeline.models import padded_tokens
from tfpipeline.models.architectures import KeysAndValues
from tfpipeline.models.padded_tokens import PaddedTokens
from tfpipeline.models.real_tokens import RealTokens


class KeptTokens:
    """Another layout, whose keys and values are kept.

    Args:
        tokens: the other layout.
        heads: N.
        found: receives the keys and values [B, N, T, D], 0 where there is no token.
    """

    def __init__(self, tokens: PaddedTokens | RealTokens, heads: int, found: list[KeysAndValues]) -> None:
        self._tokens, self._heads, self._found = tokens, heads, found
        self.layer_norm = tokens.layer_norm

    def attend(self, qkv: tf.Tensor, query_bias: tf.Tensor | None = None) -> tf.Tensor:
        """As the other layout's."""
        hidden = qkv.shape[-1] // 3
        padded = self._tokens.padded(qkv[:, hidden:])  # [B, T, 2 * H]
        rows, width, _ = tf.unstack(tf.shape(padded))
        each = tf.reshape(padded, [rows, width, 2, self._heads, hidden // self._heads])
        self._found.append(KeysAndValues(*tf.unstack(tf.transpose(each, [2, 0, 3, 1, 4]), 2)))
        return self._tokens.attend(qkv, query_bias)


class NewTokens:
    """Q tokens of each of B rows, which attend to tokens before them.

    Args:
        ids: int32 [B, Q]; only the shape is read.
        heads: N.
        attend: query, key and value, [B, N, Q, D] each -> what the tokens attend to, [B, N, Q, D].
    """

    def __init__(self, ids: tf.Tensor, heads: int, attend: Callable[..., tf.Tensor]) -> None:
        self._shape, self._heads, self._attend = tf.shape(ids), heads, attend
        self._single = ids.shape[1] == 1

    def attend(self, qkv: tf.Tensor, query_bias: tf.Tensor | None = None) -> tf.Tensor:
        """Multi-head attention of the new tokens.

        Args:
            qkv: [B * Q, 3 * H], query (already divided by the square root of D), key and value.
            query_bias: [N, 1, D], added to the query.
        Returns:
            [B * Q, H].
        """
        size = qkv.shape[-1] // (3 * self._heads)
        if self._single:  # nothing to transpose
            each = tf.reshape(qkv, [-1, 3, self._heads, 1, size])
            query, key, value = tf.unstack(each, 3, axis=1)
        else:
            each = tf.reshape(qkv, [*tf.unstack(self._shape), 3, self._heads, size])
            query, key, value = tf.unstack(tf.transpose(each, [2, 0, 3, 1, 4]), 3)
        query = query if query_bias is None else query + query_bias
        attended = self._attend(query, key, value)  # [B, N, Q, D]
        if not self._single:
            attended = tf.transpose(attended, [0, 2, 1, 3])
        return tf.reshape(attended, [-1, size * self._heads])

    def layer_norm(self, x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float) -> tf.Tensor:
        """See :func:`tfpipeline.models.padded_tokens.layer_norm`: there are few new tokens."""
        return padded_tokens.layer_norm(x, scale, bias, epsilon)
