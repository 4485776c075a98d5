"""A feed-forward network with a narrow hidden layer, added to a block."""

from __future__ import annotations

from typing import Any, Optional

import keras

from tfpipeline.models.kernels import Noise
from tfpipeline.models.layers import ACTIVATION_FUNCTIONS, Dense, Dropout
from tfpipeline.models.serialization import serializable


@serializable
class Bottleneck(keras.layers.Layer):
    """``scale * dropout(activation(x @ down + b) @ up + c)``, plus ``x`` if it is residual.

    ``up`` and ``c`` are 0 at first: a new one returns ``x`` if it is residual, and 0 otherwise.

    Args:
        size: of the hidden layer.
        activation: one of :data:`tfpipeline.models.config.ACTIVATIONS`.
        residual: whether the input is added.
        scale: factor.
        stddev: standard deviation of the initial ``down``, which is drawn from BERT's truncated normal.
        dropout: rate.
        site: of the dropout.
        seed: of the initial weights.
    """

    def __init__(
        self,
        size: int,
        *,
        activation: str,
        residual: bool,
        scale: float,
        stddev: float,
        dropout: float,
        site: int,
        seed: int,
        **options: Any,
    ) -> None:
        super().__init__(autocast=False, **options)
        self.residual, self.scale = residual, scale
        self.activation = ACTIVATION_FUNCTIONS[activation]
        self.down = Dense(size, stddev, seed, name="down", dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, site, name="dropout", dtype=self.dtype_policy)

    def build(self, shape: Any) -> None:
        self.up = Dense(shape[-1], None, name="up", dtype=self.dtype_policy)
        self.up.initializer = keras.initializers.Zeros()
        self.down.build(shape)
        self.up.build((*shape[:-1], self.down.units))
        self.built = True

    def call(self, x: Any, noise: Optional[Noise] = None, training: Optional[bool] = None) -> Any:
        """Compute; [B, T, H] to [B, T, H]. ``noise`` is for dropout."""
        change = self.dropout(self.up(self.activation(self.down(x), bool(training))), noise=noise)
        change = change if self.scale == 1 else change * self.scale
        return x + change if self.residual else change

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape of the input."""
        return shape
