"""What a method of parameter-efficient fine-tuning adds to a dense layer."""

from __future__ import annotations

from typing import Any, Optional

import keras

from tfpipeline.models import kernels
from tfpipeline.models.layer_changes import LayerChange


class DenseAdapter(keras.layers.Layer):
    """What a method of parameter-efficient fine-tuning adds to a :class:`tfpipeline.models.layers.Dense`.

    A new one changes nothing: :meth:`adapt_input` and :meth:`adapt_output` return their arguments' values.
    """

    def adapt_input(self, x: Any) -> Any:
        """The input that the layer multiplies: [B, ..., in] to [B, ..., in]."""
        return x

    def adapt_output(self, x: Any, y: Any, noise: Optional[kernels.Noise]) -> Any:
        """The layer's output.

        Args:
            x: the layer's input, [B, ..., in].
            y: ``x @ kernel + bias``, [B, ..., out].
            noise: for dropout; None without dropout.
        Returns:
            [B, ..., out].
        """
        return y

    def adapts(self, projection: str) -> bool:
        """Whether it changes a projection of the layer.

        Args:
            projection: the last part of its name, such as ``query``.
        """
        raise NotImplementedError

    def merge(self, kernel: Any, bias: Any) -> tuple[Any, Any]:
        """The kernel [in, out] and the bias [out] of a dense layer that computes the same alone.

        Args:
            kernel, bias: NumPy arrays, float64.
        """
        raise NotImplementedError

    def change(self) -> LayerChange:
        """What :meth:`merge` would change, for layers that apply it row by row."""
        raise NotImplementedError
