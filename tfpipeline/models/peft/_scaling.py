"""Factors on the inputs and outputs of the projections of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from keras import ops

from tfpipeline.models.dense_adapter import DenseAdapter
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layer_changes import LayerChange
from tfpipeline.models.serialization import serializable


@serializable
class Scaling(DenseAdapter):
    """Multiplies outputs, ``NAME_scale`` [out], and inputs, ``input_scale`` [in], of a layer; all are 1 at
    first.

    Args:
        outputs: the columns of the projections whose outputs are multiplied, by name.
        inputs: whether the layer's input is multiplied.
    """

    def __init__(self, outputs: Mapping[str, slice], *, inputs: bool, **options: Any) -> None:
        super().__init__(**options)
        self.outputs, self.inputs = dict(outputs), inputs

    def build(self, shape: Any) -> None:
        size, units = shape
        self.units = units
        self.input_scale = None
        if self.inputs:
            self.input_scale = self.add_weight(name="input_scale", shape=(size,), initializer="ones")
        self.factors = {}
        for name, columns in self.outputs.items():
            width = len(range(units)[columns])
            self.factors[name] = self.add_weight(name=f"{name}_scale", shape=(width,), initializer="ones")
        self.built = True

    def adapt_input(self, x: Any) -> Any:
        """See :meth:`DenseAdapter.adapt_input`."""
        return x if self.input_scale is None else x * ops.convert_to_tensor(self.input_scale)

    def adapt_output(self, x: Any, y: Any, noise: Optional[Noise]) -> Any:
        """See :meth:`DenseAdapter.adapt_output`."""
        return y * self._factor(y.dtype) if self.outputs else y

    def _factor(self, dtype: Any) -> Any:
        """The factors of all columns, [out]."""
        parts, at = [], 0
        for name, columns in sorted(self.outputs.items(), key=lambda item: item[1].indices(self.units)):
            start, stop, _ = columns.indices(self.units)
            parts += [ops.ones([start - at], dtype), ops.cast(self.factors[name], dtype)]
            at = stop
        return ops.concatenate([*parts, ops.ones([self.units - at], dtype)])

    def adapts(self, projection: str) -> bool:
        """See :meth:`DenseAdapter.adapts`."""
        return projection in self.factors or self.input_scale is not None

    def change(self) -> LayerChange:
        """See :meth:`DenseAdapter.change`."""
        inputs = None if self.input_scale is None else self.input_scale.numpy()
        outputs = self._factor("float32").numpy() if self.outputs else None
        return LayerChange(inputs=inputs, outputs=outputs)

    def merge(self, kernel: Any, bias: Any) -> tuple[Any, Any]:
        """See :meth:`DenseAdapter.merge`."""
        kernel, bias = kernel.copy(), bias.copy()
        if self.input_scale is not None:
            kernel *= self.input_scale.numpy().astype("float64")[:, None]
        for name, columns in self.outputs.items():
            factor = self.factors[name].numpy().astype("float64")
            kernel[:, columns] *= factor
            bias[columns] *= factor
        return kernel, bias
