"""BERT's encoder in the form in which it is served: real tokens only, few operations, two precisions.

R real tokens, H hidden size, N heads, D = H / N. The operations form patterns that TensorFlow fuses when it
loads a graph on a CPU with oneDNN: a product with its bias and GELU, a product with its bias and the residual
sum, a layer normalisation. Elsewhere the operations give the same result one by one.

A small request costs its operations more than its tokens, so it is computed another way: with its padding,
and without the fused layer normalisation, which takes 0.15 ms to set up at each call. See ``_FEW_TOKENS``.

In bfloat16 a plain product is twice as fast as one that oneDNN fuses with its bias (measured with TensorFlow
2.21: 40 ms against 77 ms for all products of MiniLM on 1,024 tokens, one thread). So only GELU is fused
there, and as few biases as possible are added. The key's bias does not change the softmax of the scores. The
value's bias moves into the bias of the attention's output, since the weights of a row sum to 1.

:meth:`ServingForm.trained_weights` undoes all of this, for explanations: they differentiate the trained
encoder's graph, and the weights of a model are stored once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfpipeline.models import kernels
from tfpipeline.models.architectures import KeysAndValues
from tfpipeline.models.cached_tokens import KeptTokens, NewTokens
from tfpipeline.models.inputs import ADAPTERS, CAUSAL_MASK
from tfpipeline.models.layer_changes import Changes
from tfpipeline.models.padded_tokens import PaddedTokens
from tfpipeline.models.real_tokens import RealTokens
from tfpipeline.models.row_changes import RowChanges

if TYPE_CHECKING:
    from tfpipeline.models.architectures.bert.encoder import BertEncoder
    from tfpipeline.models.layers import Dense, EncoderBlock, LayerNorm, SelfAttention

Function = Callable[..., tf.Tensor]
Tokens = PaddedTokens | RealTokens
BlockTokens = Tokens | KeptTokens | NewTokens  # what a block reads

# A batch of at most so many positions, padding included, is computed with its padding. Measured with MiniLM.
_FEW_TOKENS = 128


class ServingForm:
    """An encoder's serving form; see :class:`tfpipeline.models.architectures.ServingForm`.

    Args:
        encoder: built, with its weights.
        precision: "float32" or "bfloat16", of weights and matrix products. The residual path's sums, layer
            normalisation, softmax and the outputs are float32.
        adapters: the changes of layers by each of several adapters; then calls have the input ``adapters``.
            In float32 only.
    """

    def __init__(self, encoder: BertEncoder, precision: str, adapters: Sequence[Changes] = ()) -> None:
        self.config = encoder.config
        self.precision = tf.dtypes.as_dtype(precision)
        self.variables: list[Any] = []
        self._changes = RowChanges(adapters)
        self._trained: list[tuple[Any, Callable[[], tf.Tensor]]] = []
        embeddings = encoder.embeddings
        self._word, self._position, self._type = (
            self._weight(table) for table in (embeddings.word, embeddings.position, embeddings.token_type)
        )
        self._embeddings_norm = self._norm(embeddings.norm)
        self._blocks = [self._block(block) for block in encoder.blocks]
        self._final_norm = None if encoder.final_norm is None else self._norm(encoder.final_norm)
        self._pooler = None if encoder.pooler is None else self._dense(encoder.pooler)
        self._changes.require_all_used()
        self.variables += self._changes.variables

    def __call__(self, inputs: Mapping[str, Any], **_: Any) -> dict[str, tf.Tensor]:
        """Encode; inputs and outputs are those of the encoder, without dropout."""
        outputs: dict[str, tf.Tensor] = self._in_layout(inputs, self._encode)
        return outputs

    def keys_and_values(self, inputs: Mapping[str, Any]) -> tuple[tf.Tensor, tuple[KeysAndValues, ...]]:
        """See :meth:`tfpipeline.models.architectures.Encoder.keys_and_values`."""

        def encode(ids: Any, types: Any, tokens: Any) -> tuple[tf.Tensor, tuple[KeysAndValues, ...]]:
            found: list[KeysAndValues] = []
            return self._encode(ids, types, tokens, found)["sequence_output"], tuple(found)

        states, found = self._in_layout(inputs, encode)
        return states, found

    def extend(self, inputs: Mapping[str, Any], attend: Callable[..., Any]) -> tf.Tensor:
        """See :meth:`tfpipeline.models.architectures.Encoder.extend`."""
        ids = inputs["input_ids"]
        flat = {name: tf.reshape(inputs[name], [-1]) for name in ("input_ids", "token_type_ids", "positions")}
        x = self._embed(flat["input_ids"], flat["positions"], flat["token_type_ids"])
        layouts = [
            NewTokens(ids, self.config.num_attention_heads, functools.partial(attend, index))
            for index in range(len(self._blocks))
        ]
        x = self._embeddings_norm(x, layouts[0])
        for block, tokens in zip(self._blocks, layouts):
            x = block(x, tokens)
        x = x if self._final_norm is None else self._final_norm(x, layouts[0])
        return tf.reshape(x, [*tf.unstack(tf.shape(ids)), self.config.hidden_size])

    def _in_layout(self, inputs: Mapping[str, Any], encode: Function) -> Any:
        """Encode a batch in the layout that is faster for it; the arguments of ``encode`` are those of
        :meth:`_encode`.
        """
        ids = kernels.check_length(inputs["input_ids"], self.config.max_position_embeddings)
        mask, types = inputs.get("attention_mask"), inputs.get("token_type_ids")
        mask = tf.ones_like(ids) if mask is None else mask

        def in_layout(layout: type[Tokens]) -> Any:
            tokens = layout(
                mask,
                self.config.num_attention_heads,
                causal=self.config.causal,
                causal_mask=inputs.get(CAUSAL_MASK),
                adapters=inputs.get(ADAPTERS),
            )
            return encode(ids, types, tokens)

        return tf.cond(
            tf.size(ids) <= _FEW_TOKENS, lambda: in_layout(PaddedTokens), lambda: in_layout(RealTokens)
        )

    def _encode(
        self,
        ids: tf.Tensor,
        types: tf.Tensor | None,
        tokens: Tokens,
        found: list[KeysAndValues] | None = None,
    ) -> dict[str, tf.Tensor]:
        """The outputs of a batch, computed in one of the layouts.

        Each block's keys and values are appended to ``found``, if there is a list.
        """
        x = self._embed(tokens.of(ids), tokens.columns, None if types is None else tokens.of(types))
        x = self._embeddings_norm(x, tokens)
        heads = self.config.num_attention_heads
        for block in self._blocks:
            x = block(x, tokens if found is None else KeptTokens(tokens, heads, found))
        x = x if self._final_norm is None else self._final_norm(x, tokens)
        outputs = {"sequence_output": tokens.padded(x)}
        if self._pooler is not None:
            first = tf.cast(tokens.first(x), self.precision)
            outputs["pooled_output"] = tf.tanh(tf.cast(self._pooler(first, tokens), tf.float32))
        return outputs

    def _embed(self, ids: tf.Tensor, positions: tf.Tensor, types: tf.Tensor | None) -> tf.Tensor:
        """The sum of the embeddings of tokens, float32 [R, H]; all arguments are int32 [R]."""
        if types is None or self.config.type_vocab_size == 1:
            of_type = tf.cast(self._type[0], tf.float32)
        else:
            of_type = _rows(self._type, types)
        return _rows(self._word, ids) + _rows(self._position, positions) + of_type

    def trained_weights(self) -> list[tuple[Any, tf.Tensor]]:
        """The encoder's variables and the values that give this form's answers in the encoder's own graph.

        Source: :class:`tfpipeline.models.architectures.ServingForm`.
        """
        return [(variable, value()) for variable, value in self._trained]

    def _weight(self, variable: Any, changed: np.ndarray | None = None, undo: Function | None = None) -> Any:
        """A weight in the form that products read: the encoder's own variable if possible.

        Args:
            variable: the encoder's.
            changed: its value in this form, if it differs in more than the precision.
            undo: makes the variable's value from the float32 tensor of this form; by default it is the value.
        """
        if changed is None and self.precision == tf.float32:
            kept = variable.value
        else:
            value = tf.cast(variable.numpy() if changed is None else changed, self.precision)
            kept = tf.Variable(value, trainable=False, name=variable.name)
            self._restore(variable, kept, undo)
        self.variables.append(kept)
        return kept

    def _wide(self, variable: Any, changed: np.ndarray | None = None) -> Any:
        """A weight that stays float32: scales and biases that are applied in float32."""
        if changed is None:
            kept = variable.value
        else:
            kept = tf.Variable(changed, trainable=False, name=variable.name)
            self._restore(variable, kept)
        self.variables.append(kept)
        return kept

    def _restore(self, variable: Any, kept: tf.Variable, undo: Function | None = None) -> None:
        def value() -> tf.Tensor:
            wide = tf.cast(kept, tf.float32)
            return wide if undo is None else undo(wide)

        self._trained.append((variable, value))

    def _dense(self, layer: Dense) -> Function:
        """``x @ kernel + bias``, [R, in] to [R, out], in this form's precision."""
        kernel, bias, change = self._weight(layer.kernel), self._weight(layer.bias), self._changes.of(layer)

        def product(x: tf.Tensor) -> tf.Tensor:
            return tf.nn.bias_add(tf.matmul(x, kernel), tf.convert_to_tensor(bias))

        return lambda x, tokens: product(x) if change is None else change.output(x, product, tokens)

    def _add(self, layer: Dense, bias: np.ndarray | None = None) -> Function:
        """``residual + x @ kernel + bias``, float32 [R, out]; ``bias`` replaces the layer's if given."""
        kernel, change = self._weight(layer.kernel), self._changes.of(layer)
        if self.precision != tf.float32:
            wide = self._wide(layer.bias, bias)
            return lambda x, residual, tokens: (
                tf.cast(tf.matmul(tf.cast(x, self.precision), kernel), tf.float32) + (residual + wide)
            )
        own = self._weight(layer.bias)

        def product(x: tf.Tensor) -> tf.Tensor:
            return tf.nn.bias_add(tf.matmul(x, kernel), tf.convert_to_tensor(own))

        def call(x: tf.Tensor, residual: tf.Tensor, tokens: BlockTokens) -> tf.Tensor:
            if change is None:
                return product(x) + residual
            if change.scales_outputs:
                return change.output(x, product, tokens) + residual
            return product(change.scaled(x, tokens)) + change.plus(x, residual, tokens)

        return call

    def _norm(self, layer: LayerNorm) -> Function:
        """Layer normalisation of float32 [R, H]."""
        scale, bias, epsilon = self._wide(layer.scale), self._wide(layer.bias), layer.epsilon
        change = self._changes.of(layer)

        def call(x: tf.Tensor, tokens: BlockTokens) -> tf.Tensor:
            normal = tokens.layer_norm(x, tf.convert_to_tensor(scale), tf.convert_to_tensor(bias), epsilon)
            return normal if change is None else change.plus(x, normal, tokens)

        return call

    def _attention(self, layer: SelfAttention) -> Function:
        """``residual + attention(x)``, float32 [R, H]."""
        hidden, heads, size = self.config.hidden_size, self.config.num_attention_heads, self.config.head_size
        # The factor of the scores is multiplied into the query's weights.
        factor = np.repeat([size**-0.5, 1, 1], hidden).astype(np.float32)
        kernel = self._weight(
            layer.qkv.kernel, layer.qkv.kernel.numpy() * factor, undo=lambda value: value / factor
        )
        bias = layer.qkv.bias.numpy() * factor
        if self.precision == tf.float32:
            added = self._weight(layer.qkv.bias, bias, undo=lambda value: value / factor)
            change, output = self._changes.of(layer.qkv, factor), self._add(layer.output_dense)

            def product(x: tf.Tensor) -> tf.Tensor:
                return tf.nn.bias_add(tf.matmul(x, kernel), tf.convert_to_tensor(added))

            def attend(x: tf.Tensor, residual: tf.Tensor, tokens: BlockTokens) -> tf.Tensor:
                qkv = product(x) if change is None else change.output(x, product, tokens)
                return output(tokens.attend(qkv), residual, tokens)

            return attend
        of_query = self._weight(
            layer.qkv.bias,
            bias[:hidden].reshape(heads, 1, size),
            undo=lambda query: tf.concat([tf.reshape(query, [-1]), np.zeros(2 * hidden)], 0) / factor,
        )
        of_value = bias[2 * hidden :] @ layer.output_dense.kernel.numpy() + layer.output_dense.bias.numpy()
        output = self._add(layer.output_dense, of_value)
        return lambda x, residual, tokens: output(
            tokens.attend(tf.matmul(tf.cast(x, self.precision), kernel), tf.convert_to_tensor(of_query)),
            residual,
            tokens,
        )

    def _block(self, block: EncoderBlock) -> Function:
        """A transformer block on float32 [R, H]."""
        first = self.config.norm_first
        attention, attention_norm = self._attention(block.attention), self._norm(block.attention_norm)
        inner, outer, output_norm = (
            self._dense(block.inner),
            self._add(block.outer),
            self._norm(block.output_norm),
        )
        activation = _ACTIVATIONS[self.config.hidden_act]

        def feed_forward(x: tf.Tensor, residual: tf.Tensor, tokens: BlockTokens) -> tf.Tensor:
            return outer(activation(inner(tf.cast(x, self.precision), tokens)), residual, tokens)

        def call(x: tf.Tensor, tokens: BlockTokens) -> tf.Tensor:
            if first:
                x = attention(attention_norm(x, tokens), x, tokens)
                return feed_forward(output_norm(x, tokens), x, tokens)
            x = attention_norm(attention(x, x, tokens), tokens)
            return output_norm(feed_forward(x, x, tokens), tokens)

        return call


def _rows(table: Any, indices: tf.Tensor) -> tf.Tensor:
    """Rows of a table, float32 [R, H].

    Of its value, not of the variable: an operation that gathers from a variable makes TensorFlow copy all of
    it at each later read, and heads that predict tokens read all word embeddings.
    """
    return tf.cast(tf.gather(tf.convert_to_tensor(table), indices), tf.float32)


def _gelu_erf(x: tf.Tensor) -> tf.Tensor:
    """:func:`tfpipeline.models.kernels.gelu_erf`, in the order of operations that TensorFlow fuses."""
    return 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5))) * x


_ACTIVATIONS: dict[str, Function] = {
    "gelu_erf": _gelu_erf,
    "gelu_tanh": kernels.gelu_tanh,
    "relu": tf.nn.relu,
    "silu": tf.nn.silu,
    "tanh": tf.tanh,
}
