"""What a training step keeps of the encoder for backpropagation, counted in the graph of the gradients.

The graph is traced, but not run. So the count holds for every architecture, whatever is trained: nothing is
kept below the lowest trained layer, and a frozen matrix needs no input kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfpipeline._tensorflow_internals import forget_custom_gradients
from tfpipeline.models import Encoder
from tfpipeline.models.inputs import INPUTS
from tfpipeline.models.kernels import Noise

# Operations whose results are in the memory of their inputs.
_VIEWS = ("ExpandDims", "Identity", "IdentityN", "PreventGradient", "Reshape", "Squeeze", "StopGradient")
# Operations whose result takes no memory of the step: weights, inputs, and numbers of the graph.
_FREE = ("Const", "Placeholder", "ReadVariableOp")


def activation_bytes(encoder: Encoder, variables: Sequence[keras.Variable], examples: int, width: int) -> int:
    """The bytes that a step keeps from the encoder's way forward until its way back.

    Temporary results are not counted, nor what the head keeps.

    Args:
        encoder: the encoder, in the precision of the training. It may be without weights.
        variables: the variables that are trained.
        examples: the number of examples that are computed at once.
        width: the number of tokens of each example.
    """
    own = {variable.path for variable in encoder.weights}
    values = [variable.value for variable in variables if variable.path in own]
    if not values:
        return 0
    forward: set[str] = set()

    def gradients(inputs: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            outputs = encoder(inputs, training=True, noise=Noise(seed=0, step=0))
        forward.update(operation.name for operation in tf.compat.v1.get_default_graph().get_operations())
        found = tape.gradient(list(outputs.values()), values)
        return [tf.convert_to_tensor(gradient) for gradient in found if gradient is not None]

    inputs = {name: tf.TensorSpec([examples, width], tf.int32) for name in INPUTS}
    with forget_custom_gradients():
        traced = tf.function(gradients, autograph=False).get_concrete_function(inputs)
        return sum(map(_bytes, _kept(traced.outputs, forward)))


def _kept(results: Iterable[tf.Tensor], forward: set[str]) -> list[tf.Tensor]:
    """The results of the way forward that the way back reads, each once.

    Args:
        results: the gradients.
        forward: the names of the operations of the way forward.
    """
    kept: dict[str, tf.Tensor] = {}
    waiting, seen = list(results), set()
    while waiting:
        tensor = waiting.pop()
        if tensor.op.name in forward:
            tensor = _without_views(tensor)
            if tensor.op.type not in _FREE:
                kept[tensor.name] = tensor
        elif tensor.op.name not in seen:
            seen.add(tensor.op.name)
            waiting += tensor.op.inputs
    return list(kept.values())


def _without_views(tensor: tf.Tensor) -> tf.Tensor:
    """The tensor in whose memory this one is."""
    while tensor.op.type in _VIEWS:
        # IdentityN, around functions with gradients of their own, has as many inputs as results.
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


def _bytes(tensor: Any) -> int:
    return int((tensor.shape.num_elements() or 0) * tensor.dtype.size)
