"""BERT's encoder in the form in which it is served: real tokens only, few operations, either precision.

R real tokens, H hidden size. The operations are in the patterns that TensorFlow makes one operation of when it
loads a graph on a CPU (its remapper, with oneDNN): a product with its bias and GELU, a product with its bias
and the residual sum, a layer normalisation. Where TensorFlow does not, the graph computes the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfpipeline.models import kernels
from tfpipeline.models.real_tokens import RealTokens

if TYPE_CHECKING:
    from tfpipeline.models.architectures.bert.encoder import BertEncoder
    from tfpipeline.models.layers import Dense, EncoderBlock, LayerNorm


class ServingForm:
    """An encoder's serving form; see :class:`tfpipeline.models.architectures.ServingForm`.

    Args:
        encoder: built, with its weights.
        precision: "float32" or "bfloat16", of weights and matrix products. Layer normalisation and softmax
            compute in float32, and the outputs are float32.
    """

    def __init__(self, encoder: BertEncoder, precision: str) -> None:
        self.config = encoder.config
        self.precision = tf.dtypes.as_dtype(precision)
        self.variables: list[Any] = []
        embeddings = encoder.embeddings
        self._word, self._position, self._type = (
            self._weight(variable)
            for variable in (embeddings.word, embeddings.position, embeddings.token_type)
        )
        self._embeddings_norm = self._norm(embeddings.norm)
        self._blocks = [self._block(block) for block in encoder.blocks]
        self._final_norm = None if encoder.final_norm is None else self._norm(encoder.final_norm)
        self._pooler = None if encoder.pooler is None else self._dense(encoder.pooler)

    def __call__(self, inputs: Mapping[str, Any], **_: Any) -> dict[str, tf.Tensor]:
        """Encode; inputs and outputs as those of the encoder, which drops nothing here."""
        ids = inputs["input_ids"]
        width = ids.shape[1]
        if width is None:
            ids = kernels.check_length(ids, self.config.max_position_embeddings)
        mask, types = inputs.get("attention_mask"), inputs.get("token_type_ids")
        mask = tf.ones_like(ids) if mask is None else mask
        tokens = RealTokens(mask, self.config.num_attention_heads, causal=self.config.causal)
        x = tf.gather(self._word, tokens.of(ids)) + tf.gather(self._position, tokens.columns)
        if types is None or self.config.type_vocab_size == 1:
            x += self._type[0]
        else:
            x += tf.gather(self._type, tokens.of(types))
        x = self._embeddings_norm(x)
        for block in self._blocks:
            x = block(x, tokens)
        x = x if self._final_norm is None else self._final_norm(x)
        outputs = {"sequence_output": tokens.padded(tf.cast(x, tf.float32))}
        if self._pooler is not None:
            outputs["pooled_output"] = tf.cast(tf.tanh(self._pooler(tokens.first(x))), tf.float32)
        return outputs

    def _weight(self, variable: Any, scale: np.ndarray | None = None) -> Any:
        """A weight as products read it: the encoder's own variable where that will do."""
        if scale is None and self.precision == tf.float32:
            kept = variable.value
        else:
            value = variable.numpy() if scale is None else variable.numpy() * scale
            kept = tf.Variable(tf.cast(value, self.precision), trainable=False, name=variable.name)
        self.variables.append(kept)
        return kept

    def _dense(self, layer: Dense, scale: np.ndarray | None = None) -> Callable[..., tf.Tensor]:
        """``x @ kernel + bias``, [R, in] to [R, out]."""
        kernel, bias = self._weight(layer.kernel, scale), self._weight(layer.bias, scale)
        return lambda x: tf.nn.bias_add(
            tf.matmul(x, tf.convert_to_tensor(kernel)), tf.convert_to_tensor(bias)
        )

    def _norm(self, layer: LayerNorm) -> Callable[[tf.Tensor], tf.Tensor]:
        """Layer normalisation of [R, H], in float32."""
        scale, bias, epsilon = layer.scale.value, layer.bias.value, layer.epsilon
        self.variables += [scale, bias]
        return lambda x: tf.cast(
            _layer_norm(
                tf.cast(x, tf.float32), tf.convert_to_tensor(scale), tf.convert_to_tensor(bias), epsilon
            ),
            self.precision,
        )

    def _block(self, block: EncoderBlock) -> Callable[[tf.Tensor, RealTokens], tf.Tensor]:
        """A transformer block on [R, H]."""
        hidden, first = self.config.hidden_size, self.config.norm_first
        # The scores' factor goes into the query's weights.
        scale = np.ones(3 * hidden, np.float32)
        scale[:hidden] = self.config.head_size**-0.5
        qkv, attention_output = (
            self._dense(block.attention.qkv, scale),
            self._dense(block.attention.output_dense),
        )
        attention_norm, output_norm = self._norm(block.attention_norm), self._norm(block.output_norm)
        inner, outer = self._dense(block.inner), self._dense(block.outer)
        activation = _ACTIVATIONS[self.config.hidden_act]

        def call(x: tf.Tensor, tokens: RealTokens) -> tf.Tensor:
            read = attention_norm(x) if first else x
            x = attention_output(tokens.attend(qkv(read))) + x
            x = x if first else attention_norm(x)
            x = outer(activation(inner(output_norm(x) if first else x))) + x
            return x if first else output_norm(x)

        return call


def _gelu_erf(x: tf.Tensor) -> tf.Tensor:
    """:func:`tfpipeline.models.kernels.gelu_erf`, in the order in which TensorFlow's remapper looks for it."""
    return 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5))) * x


_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "gelu_erf": _gelu_erf,
    "gelu_tanh": kernels.gelu_tanh,
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "tanh": tf.tanh,
}


def _layer_norm(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor, epsilon: float) -> tf.Tensor:
    """:func:`tfpipeline.models.kernels.layer_norm`, in the form in which TensorFlow's remapper looks for it."""
    centred = x - tf.reduce_mean(x, [-1], keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), [-1], keepdims=True) + epsilon)
    return bias + centred * (inverse * scale)
