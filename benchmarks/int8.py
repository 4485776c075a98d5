"""Matrix products in the types for which stock TensorFlow has CPU kernels, side by side.

    python -m benchmarks.int8

One JSON line per shape: rows x in -> out of MiniLM's feed-forward layers. ``int8`` is
``QuantizedMatMulWithBiasAndDequantize`` (oneDNN), the fastest core operation for 8 bits, with activations
quantised in the graph. ``int8_matmul`` is ``BatchMatMulV3`` of two int8 tensors. ``int8_weights`` stores only
the weights in 8 bits and multiplies in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks._measure import report, side_by_side

SHAPES = ((16, 384, 1536), (256, 384, 1536), (256, 1536, 384))
_LIMIT, _STEP = 6.0, 6.0 / 127


def ways(rows: int, size: int, width: int) -> dict[str, Any]:
    """The products of one shape: name -> a function that ignores its arguments."""
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(rows, size)), tf.float32)
    kernel = tf.constant(random.normal(size=(size, width)), tf.float32)
    x16, kernel16 = tf.cast(x, tf.bfloat16), tf.cast(kernel, tf.bfloat16)
    kernel8 = tf.cast(tf.clip_by_value(tf.round(kernel / _STEP), -127, 127), tf.int8)
    x8 = tf.cast(tf.clip_by_value(tf.round(x / _STEP), -127, 127), tf.int8)
    kernel_q = tf.quantization.quantize(kernel, -_LIMIT, _LIMIT, tf.qint8, mode="SCALED").output
    # oneDNN multiplies unsigned by signed numbers: x is shifted to be positive, and the bias takes that back.
    bias = -_LIMIT * tf.reduce_sum(kernel, axis=0)

    def quantised() -> tf.Tensor:
        x_q = tf.quantization.quantize(x + _LIMIT, 0.0, 2 * _LIMIT, tf.quint8, mode="SCALED").output
        return tf.raw_ops.QuantizedMatMulWithBiasAndDequantize(
            a=x_q,
            b=kernel_q,
            bias=bias,
            min_a=0.0,
            max_a=2 * _LIMIT,
            min_b=-_LIMIT,
            max_b=_LIMIT,
            min_freezed_output=-100.0,
            max_freezed_output=100.0,
            Toutput=tf.float32,
            input_quant_mode="SCALED",
        )

    made = {
        "float32": lambda: tf.matmul(x, kernel),
        "bfloat16": lambda: tf.matmul(x16, kernel16),
        "int8": quantised,
        "int8_matmul": lambda: tf.raw_ops.BatchMatMulV3(x=x8, y=kernel8, Tout=tf.int32),
        "int8_weights": lambda: tf.matmul(x, tf.cast(kernel8, tf.float32) * _STEP),
    }
    # The tensors are captured as inputs, so that nothing is constant-folded.
    return {name: tf.function(call, autograph=False) for name, call in made.items()}


def main(repeats: int = 20) -> None:
    """Print one line per shape and way."""
    for shape in SHAPES:
        calls = {name: lambda _, call=call: call().numpy() for name, call in ways(*shape).items()}
        found = side_by_side(calls, list(range(repeats + 1)), baseline="float32")
        rows, size, width = shape
        for way, figures in found.items():
            report(benchmark="int8", case=f"{rows} x {size} -> {width}", way=way, **figures)


if __name__ == "__main__":
    main()
