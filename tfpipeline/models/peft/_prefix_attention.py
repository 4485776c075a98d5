"""Attention to learnt keys and values."""

from __future__ import annotations

from typing import Any, Optional

import keras
from keras import ops

from tfpipeline.models.layers import at_least_float32
from tfpipeline.models.peft._seeds import seed_of
from tfpipeline.models.serialization import serializable


@serializable
class PrefixAttention(keras.layers.Layer):
    """``tanh(gate) * softmax(query @ key.T) @ value`` per head; ``gate`` [N] is 0 at first.

    N heads, L positions of the prefix, D head size.

    Args:
        length: L.
        stddev: standard deviation of the initial ``key`` and ``value``, [N, L, D], drawn from a normal
            distribution.
        seed: of the initial weights.
    """

    def __init__(self, length: int, *, stddev: float, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self.length, self.stddev, self.seed = length, stddev, seed

    def build(self, shape: Any) -> None:
        _, heads, _, size = shape
        for number, name in enumerate(("key", "value")):
            first = keras.initializers.RandomNormal(0.0, self.stddev, seed=seed_of(self.seed, number))
            setattr(
                self, name, self.add_weight(name=name, shape=(heads, self.length, size), initializer=first)
            )
        self.gate = self.add_weight(name="gate", shape=(heads,), initializer="zeros")
        self.built = True

    def call(self, query: Any, training: Optional[bool] = None) -> Any:
        """Attend.

        Args:
            query: [B, N, T, D], already divided by the square root of D.
        Returns:
            [B, N, T, D], to be added to the context of the ordinary attention.
        """
        key, value, gate = (ops.convert_to_tensor(each) for each in (self.key, self.value, self.gate))
        scores = at_least_float32(ops.einsum("bntd,nld->bntl", query, key))
        weights = ops.cast(ops.softmax(scores), query.dtype)
        # The gate is applied to the smallest factor.
        return ops.einsum("bntl,nld->bntd", weights, value * ops.tanh(gate)[:, None, None])

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape of the input."""
        return shape
