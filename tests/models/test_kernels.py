"""Gradients that were worked out by hand, beside those of automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpipeline.models import kernels
from tfpipeline.models.kernels import Noise


def draw(*shape, seed=0):
    return tf.constant(np.random.default_rng([seed, *shape]).normal(size=shape) * 2)


NOISE = Noise(seed=3, step=5, first_example=2)
BIAS = tf.constant([[0.0] * 6, [0.0] * 4 + [-1e9] * 2, [0.0] * 6], tf.float64)[:, None, None]
HEADS = [draw(3, 2, 6, 4, seed=seed) for seed in range(3)]
CASES = {
    "bias": ([draw(7, 5), draw(5)], kernels.add_bias),
    "layer_norm": (
        [draw(3, 4, 5), draw(5), draw(5, seed=1)],
        lambda x, scale, bias, training: kernels.layer_norm(x, scale, bias, 1e-12, training),
    ),
    "layer_norm_of_nearly_equal_numbers": (
        [1 + draw(2, 5) * 1e-4, draw(5), draw(5, seed=1)],
        lambda x, scale, bias, training: kernels.layer_norm(x, scale, bias, 1e-3, training),
    ),
    "gelu_erf": ([draw(40)], kernels.gelu_erf),
    "gelu_tanh": ([draw(40)], kernels.gelu_tanh),
    "attention": (
        HEADS,
        lambda *heads, training: kernels.attention(*heads, BIAS, training=training),
    ),
    "attention_with_dropout": (
        HEADS,
        lambda *heads, training: kernels.attention(
            *heads, BIAS, rate=0.3, noise=NOISE, site=1, training=training
        ),
    ),
}


def both(inputs, function, training):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = function(*inputs, training=training)
    # Any weights will do, as long as no two are alike.
    return [output, *tape.gradient(output, inputs, draw(*output.shape, seed=9))]


@pytest.mark.parametrize("compiled", ["eager", "graph", "xla"])
@pytest.mark.parametrize("case", CASES)
def test_by_hand_as_by_machine(case, compiled):
    inputs, function = CASES[case]

    def run(training):
        def call():
            return both(inputs, function, training)

        return call() if compiled == "eager" else tf.function(call, jit_compile=compiled == "xla")()

    for hand, machine in zip(run(True), run(False), strict=True):
        assert np.abs(machine).max() > 1e-3
        np.testing.assert_allclose(hand, machine, rtol=1e-11, atol=1e-12)


def test_attention_drops_and_scales():
    """Row sums of what is left of the weights, read off with a value of ones, are 1 on average, not 1
    each.
    """
    query = tf.zeros([64, 4, 32, 2])
    ones = tf.ones([64, 4, 32, 2])
    kept = kernels.attention(
        query, query, ones, tf.zeros([64, 1, 1, 32]), rate=0.25, noise=NOISE, site=0, training=True
    ).numpy()[..., 0]
    shares = np.unique(np.round(kept * 32 * 0.75, 3))
    np.testing.assert_allclose(shares, np.round(shares), atol=2e-3)  # so many of 32 weights were kept
    assert len(shares) > 10
    assert kept.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", ["gelu_erf", "gelu_tanh", "attention"])
def test_sixteen_bits_stay_near(case, dtype):
    inputs, function = CASES[case]
    narrow = [tf.cast(tensor, dtype) for tensor in inputs]
    if case == "attention":

        def function(*heads, training):
            return kernels.attention(*heads, tf.cast(BIAS, tf.float32), training=training)

    with tf.GradientTape() as tape:
        tape.watch(narrow)
        output = function(*narrow, training=True)
    found = [output, *tape.gradient(output, narrow, tf.cast(draw(*output.shape, seed=9), dtype))]
    for near, exact in zip(found, both(inputs, CASES[case][1], False), strict=True):
        assert near.dtype == dtype
        error = np.abs(tf.cast(near, tf.float64) - exact).max() / np.abs(exact).max()
        assert error < {"bfloat16": 0.03, "float16": 0.004}[dtype]


def test_eager_loops_do_not_warn_of_retracing(caplog):
    """Each call has a loop of its own, of which TensorFlow would complain after the fifth."""
    tf.get_logger().propagate, before = True, tf.get_logger().propagate
    try:
        for steps in range(1, 9):
            sums, last = kernels.scan(
                lambda total, _, x: (total + x, x), [tf.zeros(2), tf.zeros(2)], [tf.ones([steps, 2])]
            )
            assert sums.numpy().tolist() == [[number] * 2 for number in range(steps + 1)]
            assert last.numpy().tolist() == [1, 1]
    finally:
        tf.get_logger().propagate = before
    assert "retracing" not in caplog.text


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 0), (2, 1, 3)])
def test_inner_products_with_all_rows_of_a_table(shape, training):
    random = np.random.default_rng(0)
    x, table = random.normal(size=(*shape, 5)), random.normal(size=(11, 5))
    products = kernels.inner_products(tf.constant(x), tf.Variable(table), training)
    assert products.shape == (*shape, 11)
    np.testing.assert_allclose(products, np.einsum("...h,vh->...v", x, table), rtol=1e-12)
