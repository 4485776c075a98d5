"""Functions for which ``tf.*`` is better than ``keras.ops``.

Apart from ``row_noise.py``, ``real_tokens.py`` and the serving forms of encoders, no other module of
``tfpipeline.models`` uses core TensorFlow.

With ``training``, some functions have hand-written gradients, because automatic differentiation makes twice
as many passes over memory. Without it, they are plain operations, so exported graphs contain nothing else.

Dropout costs half as much here as in Keras (16 random bits per element instead of 32). Its masks are a pure
function of (seed, step, layer, index of the example in the global batch). So replicas draw different masks, a
resumed run draws the same masks as an uninterrupted one, and runs on different numbers of replicas can be
compared with dropout enabled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

_PHILOX = 1
_STEPS_PER_TEXT = 1 << 40
_ELEMENTS_PER_BLOCK = 8  # a Philox block is 128 bits: eight 16-bit numbers


@dataclass(frozen=True)
class Noise:
    """The position of a training step in a run, on which its dropout masks depend.

    It passes through ``tf.function`` and ``strategy.run`` like the tensors in it.

    Attributes:
        seed: the run's seed, an int or an integer scalar tensor, below 2**47.
        step: number of steps done before this one, an int or an integer scalar tensor.
        first_example: index in the global batch of the first example this replica holds.
    """

    seed: Any
    step: Any
    first_example: Any = 0

    def for_text(self, number: int) -> Noise:
        """The noise for one of several texts of a row that one encoder encodes separately.

        Each text counts its steps from a number of its own, so no number is drawn twice in 2**40 steps.

        Args:
            number: 0 for the first text, whose noise is this one.
        """
        if number == 0:
            return self
        return replace(self, step=tf.cast(self.step, tf.int64) + number * _STEPS_PER_TEXT)

    # TensorFlow's protocol for nested structures of classes outside TensorFlow. TensorFlow would accept a
    # tuple, but Keras refuses one that mixes tensors and numbers.
    def __tf_flatten__(self) -> tuple[tuple[()], tuple[Any, Any, Any]]:
        return (), (self.seed, self.step, self.first_example)

    @classmethod
    def __tf_unflatten__(cls, _: tuple[()], parts: tuple[Any, Any, Any]) -> Noise:
        return cls(*parts)


def dropout(x: tf.Tensor, rate: float, noise: Noise, site: int) -> tf.Tensor:
    """Set elements of ``x`` to 0 with probability ``rate``, and scale up the rest by :func:`dropout_scale`.

    Args:
        x: [B, ...], any float dtype, B examples.
        rate: at least 0, below 1.
        noise: see :class:`Noise`.
        site: a number that is unique among the dropout sites of the network.
    Source: Srivastava et al. 2014, JMLR 15; Philox: Salmon et al. 2011, doi 10.1145/2063384.2063405.
    """
    return drop(x * dropout_scale(rate), rate, noise, site)


def dropout_scale(rate: float) -> float:
    """The factor for kept elements: 1 / (the exact share kept), so that the expected value is unchanged."""
    return 65536 / (65536 - _dropped(rate))


def _dropped(rate: float) -> int:
    """The number of 16-bit values, out of 2**16, that mean "drop": the rate is rounded to a multiple of
    2**-16.
    """
    return round(rate * 65536)


def drop(x: tf.Tensor, rate: float, noise: Noise, site: int) -> tf.Tensor:
    """:func:`dropout` without scaling, for a large tensor whose scale can be applied to a smaller factor."""
    dropped = _dropped(rate)
    if dropped == 0:
        return x
    shape = tf.shape(x, tf.int64)
    examples, elements = shape[0], tf.reduce_prod(shape[1:])
    # Whole blocks per example, so that an example's numbers start at a counter that depends on its index
    # only.
    blocks = (elements + _ELEMENTS_PER_BLOCK - 1) // _ELEMENTS_PER_BLOCK
    start = tf.cast(noise.first_example, tf.int64) * blocks
    # The key distinguishes runs and sites; the upper half of the counter distinguishes steps.
    key = tf.cast(noise.seed, tf.int64) * 65536 + site
    counter = tf.stack([start, tf.cast(noise.step, tf.int64)])
    random = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.stack([examples, blocks * (_ELEMENTS_PER_BLOCK // 2)]),
        key=tf.bitcast(key[None], tf.uint64),
        counter=tf.bitcast(counter, tf.uint64),
        alg=_PHILOX,
        dtype=tf.uint32,
    )
    numbers = tf.reshape(tf.bitcast(random, tf.uint16), [examples, blocks * _ELEMENTS_PER_BLOCK])
    keep = tf.reshape(numbers[:, :elements], shape) >= tf.constant(dropped, tf.uint16)
    return x * tf.cast(keep, x.dtype)  # faster than tf.where, and so is its gradient


def gather(table: Any, indices: tf.Tensor, batch_dims: int = 0) -> tf.Tensor:
    """Rows of a table: [V, H] and integers [...] give [..., H].

    On a CPU an index outside the table is an error; ``keras.ops.take`` counts negative ones from the end.
    With ``batch_dims``, both arguments start with that many axes of the same sizes, and each index has its
    own table.
    """
    return tf.gather(tf.convert_to_tensor(table), indices, batch_dims=batch_dims)


def inner_products(x: tf.Tensor, table: tf.Tensor, training: bool = False) -> tf.Tensor:
    """The product of each vector with each row of a table: [..., H] and [V, H] give [..., V].

    The table is read as it is; ``keras.ops`` would transpose it first, a copy at each step of a loop.

    Args:
        training: whether gradients will be computed. Otherwise it is a product of a batch of one: on a CPU,
            TensorFlow reads the matrix of such a product once, but rearranges that of an ordinary one first.
            With MiniLM a step of decoding takes 0.85 of the time (8 vectors, 30,522 rows).
    """
    vectors = tf.reshape(x, [-1, table.shape[1]])
    if training:
        flat = tf.matmul(vectors, table, transpose_b=True)
    else:
        flat = tf.matmul(vectors[None], tf.convert_to_tensor(table)[None], transpose_b=True)
    return tf.reshape(flat, tf.concat([tf.shape(x)[:-1], [tf.shape(table)[0]]], 0))


def largest(x: tf.Tensor, axis: int | None = None, keepdims: bool = False) -> tf.Tensor:
    """The maximum; of an empty tensor, the dtype's lowest number. ``keras.ops.max`` refuses empty tensors in
    eager mode.
    """
    return tf.reduce_max(x, axis, keepdims)


def scan(
    step: Callable[..., Sequence[tf.Tensor]],
    states: Sequence[tf.Tensor],
    inputs: Sequence[tf.Tensor],
    reverse: bool = False,
) -> list[tf.Tensor]:
    """A loop over time, with any number of steps.

    In a graph, where sizes are unknown, ``keras.ops.scan`` (3.15) accepts no second input, and fails if there
    are no steps.

    Args:
        step: called with the states and the inputs of one step; returns the next states, of the same shapes.
        states: the states before the first step.
        inputs: each [S, ...]; with ``reverse`` they are read from the last step to the first.
    Returns:
        All values of the first state, [S + 1, ...], in the order of time: its initial value comes first, or
        last with ``reverse``. Of the other states, the final values.
    """
    steps = tf.shape(inputs[0])[0]

    def body(index: tf.Tensor, kept: tf.TensorArray, *states: tf.Tensor) -> tuple[Any, ...]:
        read, write = (index - 1, index - 1) if reverse else (index, index + 1)
        states = tuple(step(*states, *(tf.gather(x, read) for x in inputs)))
        return (write, kept.write(write, states[0]), *states)

    def more(index: tf.Tensor, *_: Any) -> tf.Tensor:
        return index > 0 if reverse else index < steps

    def loop(*states: tf.Tensor) -> list[tf.Tensor]:
        start = steps if reverse else tf.constant(0)
        kept = tf.TensorArray(states[0].dtype, steps + 1, element_shape=states[0].shape).write(
            start, states[0]
        )
        _, kept, *states = tf.while_loop(more, body, (start, kept, *states))
        return [kept.stack(), *states[1:]]

    if tf.executing_eagerly():
        # In Python each step would take milliseconds. Not called as a tf.function, which would warn of
        # retracing, although each call has a loop of its own.
        loop = tf.function(loop, autograph=False).get_concrete_function(*states)
    return loop(*states)


def compile_for_tokens(
    function: Callable[[dict[str, tf.Tensor]], tf.Tensor], names: Sequence[str]
) -> Callable[..., tf.Tensor]:
    """One graph for batches of every size: a function of int32 [B, T] tensors with these names."""
    spec = {name: tf.TensorSpec([None, None], tf.int32) for name in names}
    compiled: Callable[..., tf.Tensor] = tf.function(function, input_signature=[spec], autograph=False)
    return compiled


def unset(shape: Any, dtype: Any) -> tf.Tensor:
    """An initializer for weights that are assigned immediately: writing zeros first would take as long as
    assigning.
    """
    return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=False)


def check_length(input_ids: tf.Tensor, most: int) -> tf.Tensor:
    """Return ``input_ids`` [B, T]; raise InvalidArgumentError if T exceeds ``most`` at run time.

    A slice of the position embeddings would then be too short, and a slice of one row would be broadcast. XLA
    needs static shapes and drops this check; the encoder checks static shapes when it is traced.
    """
    check = tf.debugging.assert_less_equal(
        tf.shape(input_ids)[1],
        most,
        message=f"input_ids has more positions than the model, which has {most}; truncate the texts",
    )
    with tf.control_dependencies([check]):
        return tf.identity(input_ids)


def attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    bias: tf.Tensor,
    *,
    rate: float = 0.0,
    noise: Noise | None = None,
    site: int = 0,
    training: bool = False,
) -> tf.Tensor:
    """``softmax(query @ key.T + bias) @ value`` (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1).

    Args:
        query: [B, N, T, D], already divided by the square root of D.
        key, value: [B, N, T, D].
        bias: [B, 1, 1, T], added to the scores, float32 at least.
        rate: share of the weights that is dropped if there is ``noise``.
        noise, site: see :func:`dropout`.
        training: use the hand-written gradient. In it, the sum over a row of weights times their gradients
            is computed as the sum over the D outputs times theirs (Dao et al. 2022, arXiv:2205.14135,
            appendix B.2). It makes three passes over the [T, T] weights; automatic differentiation makes
            five.
    Returns:
        [B, N, T, D].
    """

    def forward(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> tuple[tf.Tensor, ...]:
        scores = tf.matmul(query, key, transpose_b=True)
        weights = tf.cast(tf.nn.softmax(tf.cast(scores, bias.dtype) + bias), scores.dtype)
        if noise is None or not _dropped(rate):
            return tf.matmul(weights, value), weights, weights, value
        dropped = drop(weights, rate, noise, site)
        # The scale is applied to the smaller factor.
        value = value * dropout_scale(rate)
        return tf.matmul(dropped, value), weights, dropped, value

    if not training:
        return forward(query, key, value)[0]

    @tf.custom_gradient
    def attend(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> Any:
        output, weights, dropped, scaled = forward(query, key, value)

        def gradient(dy: tf.Tensor) -> Any:
            d_value = tf.matmul(dropped, dy, transpose_a=True)
            if dropped is not weights:
                d_value = d_value * dropout_scale(rate)
            d_dropped = tf.matmul(dy, scaled, transpose_b=True)
            rows = tf.reduce_sum(
                tf.cast(dy, bias.dtype) * tf.cast(output, bias.dtype), axis=-1, keepdims=True
            )
            d_scores = dropped * d_dropped - weights * tf.cast(rows, weights.dtype)
            return tf.matmul(d_scores, key), tf.matmul(d_scores, query, transpose_a=True), d_value

        return output, gradient

    return attend(query, key, value)


def add_bias(x: tf.Tensor, bias: tf.Tensor, training: bool = False) -> tf.Tensor:
    """[M, N] plus [N]."""
    if not training:
        return x + bias
    bias = tf.convert_to_tensor(
        bias
    )  # in eager mode a function with a gradient of its own accepts no variables

    @tf.custom_gradient
    def add(x: tf.Tensor, bias: tf.Tensor) -> Any:
        def gradient(dy: tf.Tensor) -> Any:
            # The sum of the rows as a matrix product: three times as fast as reducing over the first axis.
            return dy, tf.matmul(tf.ones([1, tf.shape(dy)[0]], dy.dtype), dy)[0]

        return x + bias, gradient

    return add(x, bias)


def layer_norm(
    x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float, training: bool = False
) -> tf.Tensor:
    """Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450).

    Args:
        x: [..., H], float32 or float64.
        scale, bias: [H], of the same dtype.
    """
    if not training:
        return _normalise(x, epsilon)[0] * scale + bias
    scale, bias = tf.convert_to_tensor(scale), tf.convert_to_tensor(bias)  # as in `add_bias`

    @tf.custom_gradient
    def norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> Any:
        def gradient(dy: tf.Tensor) -> Any:
            over = list(range(x.shape.rank - 1))
            product = dy * normal
            scaled = dy * scale
            mean = tf.reduce_mean(scaled, -1, keepdims=True)
            along = tf.reduce_mean(product * scale, -1, keepdims=True)
            dx = (scaled - mean - normal * along) * inverse
            return dx, tf.reduce_sum(product, over), tf.reduce_sum(dy, over)

        normal, inverse = _normalise(x, epsilon)
        return normal * scale + bias, gradient

    return norm(x, scale, bias)


def _normalise(x: tf.Tensor, epsilon: float) -> tuple[tf.Tensor, tf.Tensor]:
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)
    return centred * inverse, inverse


def gelu_erf(x: tf.Tensor, training: bool = False) -> tf.Tensor:
    """``x * Phi(x)`` with the exact normal CDF Phi (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""

    def share(x: tf.Tensor) -> tf.Tensor:
        return 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))

    if not training:
        return x * share(x)

    @tf.custom_gradient
    def gelu(x: tf.Tensor) -> Any:
        below = share(x)

        def gradient(dy: tf.Tensor) -> tf.Tensor:
            density = tf.exp(tf.square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
            return dy * (below + x * density)

        return x * below, gradient

    return gelu(x)


def gelu_tanh(x: tf.Tensor, training: bool = False) -> tf.Tensor:
    """The tanh approximation of :func:`gelu_erf`, as in google-research/bert (same source, section 2)."""
    factor, cubic = math.sqrt(2 / math.pi), 0.044715

    def share(x: tf.Tensor) -> tf.Tensor:
        return 0.5 * (1.0 + tf.tanh(x * (tf.square(x) * (factor * cubic) + factor)))

    if not training:
        return x * share(x)

    @tf.custom_gradient
    def gelu(x: tf.Tensor) -> Any:
        below = share(x)

        def gradient(dy: tf.Tensor) -> tf.Tensor:
            # With s for the share: s' = 2 s (1 - s) times the derivative of the argument of tanh.
            slope = below * (1.0 - below) * (tf.square(x) * (6 * factor * cubic) + 2 * factor)
            return dy * (below + x * slope)

        return x * below, gradient

    return gelu(x)
