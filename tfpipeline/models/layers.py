"""The layers that encoders consist of.

B examples, T positions, H hidden size, N heads, D = H / N, I intermediate size. Weights are float32 under
every mixed policy; LayerNorm and softmax compute in float32 at least, since their sums lose too much
in 16 bits.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import keras
from keras import ops

from tfpipeline.models import kernels
from tfpipeline.models.config import EncoderConfig
from tfpipeline.models.dense_adapter import DenseAdapter
from tfpipeline.models.serialization import EncoderPart, config_of, serializable

# Query (already divided by the square root of D), key and value, each [B, N, T, D] -> [B, N, T, D].
Attend = Callable[[Any, Any, Any], Any]

ACTIVATION_FUNCTIONS: dict[str, Callable[[Any, bool], Any]] = {
    "gelu_erf": kernels.gelu_erf,
    "gelu_tanh": kernels.gelu_tanh,
    "relu": lambda x, training: ops.relu(x),
    "silu": lambda x, training: ops.silu(x),
    "tanh": lambda x, training: ops.tanh(x),
}


def kernel_initializer(stddev: Optional[float], seed: Optional[int] = None) -> Any:
    """A new initializer for one weight: BERT's truncated normal; without ``stddev``, uninitialized memory.

    Each weight needs its own: a Keras initializer returns the same numbers at every call.
    """
    return kernels.unset if stddev is None else keras.initializers.TruncatedNormal(stddev=stddev, seed=seed)


# Added to the score of a masked position. exp() of it is 0 in every dtype. It is finite, so that a row that
# consists of padding gives numbers, not NaN.
_MASKED = -1e9


def attention_bias(mask: Any, dtype: str, *, causal: bool = False, causal_mask: Any = None) -> Any:
    """The bias to add to attention scores, so that nothing attends to masked positions.

    Args:
        mask: [B, T], 1 for real tokens.
        dtype: of the computation; the bias is float32 at least.
        causal: whether a position attends only to itself and to earlier positions.
        causal_mask: [B, T], 1 for tokens that earlier positions do not attend to, 0 for tokens that every
            position attends to; None for all 0. ``causal`` counts all as 1.
    Returns:
        [B, 1, 1, T], or [B, 1, T, T] (from, to) if some tokens are causal: 0, or a large negative number if
        masked.
    """
    wide = "float64" if dtype == "float64" else "float32"
    bias = (1.0 - ops.cast(mask, wide))[:, None, None, :] * _MASKED
    if not causal and causal_mask is None:
        return bias
    position = ops.arange(ops.shape(mask)[1])
    later = ops.cast(position[None, :] > position[:, None], wide)[None, None]
    if not causal:
        later = later * ops.cast(causal_mask, wide)[:, None, None, :]
    return ops.minimum(bias, later * _MASKED)


def at_least_float32(x: Any) -> Any:
    """Convert 16-bit floats to float32; leave other dtypes unchanged."""
    return (
        ops.cast(x, "float32") if keras.backend.standardize_dtype(x.dtype) in ("bfloat16", "float16") else x
    )


class NoiseSource:
    """Noise for calls with ``training=True`` that bring none, such as those of Keras's ``fit`` or a custom
    loop.

    The parts of a layer share one source. Its state is a ``keras.random.SeedGenerator``: the seed and the
    number of calls so far. As in Keras's own layers, ``save`` and ``save_weights`` do not store it. It is not
    a variable of the layer either, so the set of variables in a run's checkpoints does not change.

    Args:
        seed: for the masks.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._generator = keras.random.SeedGenerator(seed, name="dropout")

    def noise(self, training: Optional[bool], noise: Optional[kernels.Noise]) -> Optional[kernels.Noise]:
        """The noise that a call's dropout masks depend on; None for a call without dropout.

        Args:
            training: as in Keras. None together with a ``noise`` counts as training.
            noise: from the caller; if None, the next noise of this source is drawn.
        """
        if noise is not None:
            return None if training is False else noise
        return drawn_noise(self._generator) if training else None


def drawn_noise(generator: keras.random.SeedGenerator) -> kernels.Noise:
    """The next noise of a generator: its seed and the number of the call."""
    drawn = ops.cast(generator.next(), "int64")
    return kernels.Noise(seed=drawn[0], step=drawn[1])


@serializable
class Dropout(keras.layers.Layer):
    """Dropout whose mask depends on the step and the example; see :func:`kernels.dropout`.

    Args:
        rate: share of elements set to 0 in training.
        site: a number that is unique among the dropouts of the model.
        source: of noise, for calls that bring none; by default a new source.
    """

    def __init__(self, rate: float, site: int, source: Optional[NoiseSource] = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate = rate
        self.site = site
        self._source = source or NoiseSource()

    def call(self, x: Any, noise: Optional[kernels.Noise] = None, training: Optional[bool] = None) -> Any:
        """Drop in training, or when ``noise`` is given; do nothing otherwise."""
        if not self.rate:
            return x
        noise = self._source.noise(training, noise)
        return x if noise is None else kernels.dropout(x, self.rate, noise, self.site)

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "rate", "site")}


@serializable
class LayerNorm(keras.layers.Layer):
    """Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450).

    Takes any float dtype, computes in float32 at least, returns the policy's compute dtype.
    """

    def __init__(self, epsilon: float, **options: Any) -> None:
        super().__init__(autocast=False, **options)
        self.epsilon = epsilon

    def build(self, shape: Any) -> None:
        # Not cast to 16 bits in between: they are used in float32.
        self.scale = self.add_weight(name="scale", shape=shape[-1:], initializer="ones", autocast=False)
        self.bias = self.add_weight(name="bias", shape=shape[-1:], initializer="zeros", autocast=False)
        self.built = True

    def call(self, x: Any, training: Optional[bool] = None) -> Any:
        wide = at_least_float32(x)
        scale, bias = ops.cast(self.scale, wide.dtype), ops.cast(self.bias, wide.dtype)
        return ops.cast(
            kernels.layer_norm(wide, scale, bias, self.epsilon, bool(training)), self.compute_dtype
        )

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "epsilon")}


@serializable
class Dense(keras.layers.Layer):
    """``x @ kernel + bias`` over the last axis, as one matrix product of [B * T, in] with [in, out].

    Attributes:
        adapter: what a method of parameter-efficient fine-tuning added; None without.

    Args:
        units: size of the last axis of the result.
        stddev: standard deviation of the initial kernel; None leaves the weights uninitialized.
        seed: for the initial kernel.
    """

    def __init__(
        self, units: int, stddev: Optional[float], seed: Optional[int] = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.units, self.stddev, self.seed = units, stddev, seed
        self.initializer = kernel_initializer(stddev, seed)
        self.adapter: Optional[DenseAdapter] = None

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(shape[-1], self.units), initializer=self.initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, x: Any, noise: Optional[kernels.Noise] = None, training: Optional[bool] = None) -> Any:
        """Multiply; ``noise`` is for the dropout of an adapter."""
        adapter = self.adapter
        x = x if adapter is None else adapter.adapt_input(x)
        shape = ops.shape(x)
        flat = ops.matmul(ops.reshape(x, (-1, self.kernel.shape[0])), self.kernel)
        bias = ops.convert_to_tensor(self.bias)
        y = ops.reshape(kernels.add_bias(flat, bias, bool(training)), (*shape[:-1], self.units))
        return y if adapter is None else adapter.adapt_output(x, y, noise)

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape of the input, with ``units`` as its last axis."""
        return (*shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "units", "stddev", "seed")}


@serializable
class SelfAttention(EncoderPart):
    """Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2).

    Query, key and value come from one matrix product with a kernel of [H, 3 * H], read as [H, (3 N D)].

    Attributes:
        prefix: a layer from the queries [B, N, T, D] to what is added to their context [B, N, T, D]; None
            without.
    """

    def __init__(
        self,
        config: EncoderConfig,
        site: int,
        stddev: Optional[float],
        source: Optional[NoiseSource] = None,
        **options: Any,
    ) -> None:
        # In float16 the bias of padding would be -inf, and the result NaN for a text that is all padding.
        super().__init__(autocast=False, **options)
        self.config, self.stddev, self._source = config, stddev, source or NoiseSource()
        self.heads, self.head_size = config.num_attention_heads, config.head_size
        hidden = config.hidden_size
        self.qkv = Dense(3 * hidden, stddev, name="qkv", dtype=self.dtype_policy)
        self.output_dense = Dense(hidden, stddev, name="output", dtype=self.dtype_policy)
        self.rate, self.site = config.attention_probs_dropout_prob, site
        self.prefix: Optional[keras.layers.Layer] = None

    def build(self, shape: Any) -> None:
        self.qkv.build(shape)
        self.output_dense.build(shape)
        self.built = True

    def call(
        self,
        x: Any,
        bias: Any,
        noise: Optional[kernels.Noise] = None,
        training: Optional[bool] = None,
        attend: Optional[Attend] = None,
    ) -> Any:
        """Attend.

        Args:
            x: [B, T, H].
            bias: from :func:`attention_bias`, float32 at least.
            noise: if given, attention weights are dropped.
            training: the same, with the layer's own noise if none is given.
            attend: takes the place of the attention among the T tokens, for tokens that attend to others (see
                :mod:`tfpipeline.models.key_value_cache`); ``bias`` and ``noise`` are then not used.
        """
        noise = self._source.noise(training, noise)
        batch, length, hidden = ops.shape(x)
        qkv = ops.reshape(self.qkv(x, noise=noise), (batch, length, 3, self.heads, self.head_size))
        # Unstacked, not sliced: the gradient of three slices is a sum of three mostly zero tensors, which
        # costs a tenth of a step.
        query, key, value = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # each [B, N, T, D]
        query = query * self.head_size**-0.5
        if attend is not None:
            context = attend(query, key, value)
        else:
            context = kernels.attention(
                query,
                key,
                value,
                bias,
                rate=self.rate,
                noise=noise,
                site=self.site,
                training=bool(training),
            )
        context = context if self.prefix is None else context + self.prefix(query)
        context = ops.transpose(context, (0, 2, 1, 3))  # [B, T, N, D]
        return self.output_dense(ops.reshape(context, (batch, length, hidden)), noise=noise)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Its parts in the order of computation; ``summary(expand_nested=True)`` shows them."""
        return [self.qkv, self.output_dense]

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape of the input."""
        return shape


@serializable
class EncoderBlock(EncoderPart):
    """A transformer block (Vaswani et al. 2017, arXiv:1706.03762, section 3.1).

    It normalises after each residual sum, as BERT does. With ``norm_first`` in the configuration it
    normalises the inputs of attention and of the feed-forward part instead (Xiong et al. 2020,
    arXiv:2002.04745, figure 1).

    Attributes:
        after_attention, after_feed_forward: layers [B, T, H] -> [B, T, H] between the dropout of a part and
            its residual sum; None without.
        beside_feed_forward: a layer [B, T, H] -> [B, T, H] that reads what the feed-forward part reads. Its
            output is added to that of the part.
    """

    def __init__(
        self,
        config: EncoderConfig,
        site: int,
        stddev: Optional[float],
        source: Optional[NoiseSource] = None,
        **options: Any,
    ) -> None:
        super().__init__(autocast=False, **options)  # as in SelfAttention
        self.config, self.site, self.stddev = config, site, stddev
        self._source = source = source or NoiseSource()
        policy, epsilon, rate = self.dtype_policy, config.layer_norm_eps, config.hidden_dropout_prob
        self.attention = SelfAttention(config, site, stddev, source, name="attention", dtype=policy)
        self.attention_dropout = Dropout(rate, site + 1, source, name="attention_dropout", dtype=policy)
        self.attention_norm = LayerNorm(epsilon, name="attention_norm", dtype=policy)
        self.inner = Dense(config.intermediate_size, stddev, name="inner", dtype=policy)
        self.outer = Dense(config.hidden_size, stddev, name="outer", dtype=policy)
        self.output_dropout = Dropout(rate, site + 2, source, name="output_dropout", dtype=policy)
        self.output_norm = LayerNorm(epsilon, name="output_norm", dtype=policy)
        self.activation = ACTIVATION_FUNCTIONS[config.hidden_act]
        self.after_attention: Optional[keras.layers.Layer] = None
        self.after_feed_forward: Optional[keras.layers.Layer] = None
        self.beside_feed_forward: Optional[keras.layers.Layer] = None

    def build(self, shape: Any) -> None:
        for layer in (self.attention, self.attention_norm, self.inner, self.output_norm):
            layer.build(shape)
        self.outer.build((*shape[:-1], self.inner.units))
        self.built = True

    def call(
        self,
        x: Any,
        bias: Any,
        noise: Optional[kernels.Noise] = None,
        training: Optional[bool] = None,
        attend: Optional[Attend] = None,
    ) -> Any:
        noise = self._source.noise(training, noise)
        first = self.config.norm_first
        attended = self.attention(self.attention_norm(x) if first else x, bias, noise=noise, attend=attend)
        attended = self.attention_dropout(attended, noise=noise)
        x = x + (attended if self.after_attention is None else self.after_attention(attended, noise=noise))
        x = x if first else self.attention_norm(x)
        read = self.output_norm(x) if first else x
        inner = self.activation(self.inner(read, noise=noise), bool(training))
        fed = self.output_dropout(self.outer(inner, noise=noise), noise=noise)
        fed = fed if self.after_feed_forward is None else self.after_feed_forward(fed, noise=noise)
        if self.beside_feed_forward is not None:
            fed = fed + self.beside_feed_forward(read, noise=noise)
        return x + fed if first else self.output_norm(x + fed)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Its parts with weights, in the order of computation."""
        return [self.attention, self.attention_norm, self.inner, self.outer, self.output_norm]

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape of the input."""
        return shape
