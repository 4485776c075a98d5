"""BERT's encoder as a Keras layer (Devlin et al. 2019, arXiv:1810.04805)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import keras
import numpy as np
from keras import ops

from tfpipeline.models import kernels, neutral, peft
from tfpipeline.models.architectures import KeysAndValues, Part, Projection, config_of_layer
from tfpipeline.models.architectures.bert.config import BertConfig
from tfpipeline.models.architectures.bert.serving_form import ServingForm
from tfpipeline.models.inputs import CAUSAL_MASK, WORD_WEIGHTS
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layer_changes import Changes
from tfpipeline.models.layers import (
    Dense,
    Dropout,
    EncoderBlock,
    LayerNorm,
    NoiseSource,
    attention_bias,
    kernel_initializer,
)
from tfpipeline.models.serialization import EncoderPart, config_of, freeze, serializable

_SITES_PER_BLOCK = 3


@serializable
class Embeddings(EncoderPart):
    """Word, position and token-type embeddings: summed, normalised, with dropout."""

    def __init__(
        self,
        config: BertConfig,
        site: int,
        stddev: Optional[float],
        source: Optional[NoiseSource] = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.config, self.site, self.stddev = config, site, stddev
        policy, rate = self.dtype_policy, config.hidden_dropout_prob
        self.norm = LayerNorm(config.layer_norm_eps, name="norm", dtype=policy)
        self.dropout = Dropout(rate, site, source or NoiseSource(), name="dropout", dtype=policy)

    def build(self, ids_shape: Any = (None, None)) -> None:
        config = self.config
        for name, rows in (
            ("word", config.vocab_size),
            ("position", config.max_position_embeddings),
            ("token_type", config.type_vocab_size),
        ):
            # Autocast would make a 16-bit copy of the whole table for the few rows in use, and sum the
            # gradients of a row in 16 bits.
            weight = self.add_weight(
                name=name,
                shape=(rows, config.hidden_size),
                initializer=kernel_initializer(self.stddev),
                autocast=False,
            )
            setattr(self, name, weight)
        self.norm.build((None, None, config.hidden_size))
        self.built = True

    def call(
        self,
        input_ids: Any,
        token_type_ids: Any,
        noise: Optional[Noise] = None,
        training: Optional[bool] = None,
        word_weights: Any = None,
        positions: Any = None,
    ) -> Any:
        x = kernels.gather(self.word, input_ids)
        if word_weights is not None:
            x = x * ops.cast(word_weights, x.dtype)[:, :, None]
        if positions is None:
            x = x + self.position[None, : ops.shape(input_ids)[1]]
        else:
            x = x + kernels.gather(self.position, positions)
        x = x + kernels.gather(self.token_type, token_type_ids)
        return self.dropout(self.norm(x), noise=noise)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Its parts that are layers with weights."""
        return [self.norm]

    def compute_output_shape(self, ids_shape: Any) -> Any:
        """[B, T, H] for ids of [B, T]."""
        return (*ids_shape, self.config.hidden_size)


@serializable
class BertEncoder(keras.layers.Layer):
    """BERT's encoder, with a pooler if the configuration has one; an :class:`tfpipeline.models.Encoder`.

    It can be used like any other Keras layer. In a functional model or a custom loop with ``training=True``
    it applies dropout according to its configuration; the masks depend on ``seed`` and the number of the
    call. Its parts are attributes under the names of :attr:`layers`: ``encoder.embeddings``,
    ``encoder.layer_0`` and so on, ``encoder.pooler``.

    Variables are packed for speed (query, key and value in one kernel). :meth:`tensors` and :meth:`assign`
    use the neutral names that checkpoint formats map to, see docs/architecture.md.

    Args:
        config: the architecture.
        uninitialized: leave the weights uninitialized instead of drawing them at random, if :meth:`assign`
            follows: drawing takes longer than reading a checkpoint.
        seed: for the dropout masks of calls that bring no ``noise``.
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        uninitialized: bool = False,
        seed: int = 0,
        name: str = "encoder",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.config = config
        self.adaptation: Any = None
        self._source = source = NoiseSource(seed)
        policy = self.dtype_policy
        stddev = None if uninitialized else config.initializer_range
        self.embeddings = Embeddings(config, 0, stddev, source, name="embeddings", dtype=policy)
        self.blocks = [
            EncoderBlock(
                config, 1 + _SITES_PER_BLOCK * index, stddev, source, name=f"layer_{index}", dtype=policy
            )
            for index in range(config.num_hidden_layers)
        ]
        for block in self.blocks:
            setattr(self, block.name, block)  # accessible as `encoder.layer_3`
        self.final_norm = None
        if config.norm_first:
            self.final_norm = LayerNorm(config.layer_norm_eps, name="final_norm", dtype=policy)
        self.pooler = None
        if config.pooler:
            self.pooler = Dense(config.hidden_size, stddev, name="pooler", dtype=policy)
        # Now, not at the first call: the configuration determines the shapes of all variables.
        self.build({"input_ids": (None, None)})
        freeze(self)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Its parts in the order of computation; ``summary(expand_nested=True)`` shows them."""
        return [part.layer for part in self.parts()]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of a call's outputs."""
        return self.config.outputs

    @property
    def word_embeddings(self) -> Any:
        """The variable [V, H] of the word embeddings."""
        return self.embeddings.word

    def parts(self) -> list[Part]:
        """Its parts, from bottom to top."""
        parts = [Part(self.embeddings, "embeddings"), *(Part(block, "block") for block in self.blocks)]
        if self.final_norm is not None:
            parts.append(Part(self.final_norm, "top"))
        if self.pooler is not None:
            parts.append(Part(self.pooler, "top", output="pooled_output"))
        return parts

    def projections(self) -> dict[str, Projection]:
        """See :meth:`tfpipeline.models.architectures.Encoder.projections`."""
        hidden, whole = self.config.hidden_size, slice(None)
        found: dict[str, Projection] = {}
        for index, block in enumerate(self.blocks):
            at, attention = f"layer_{index}", block.attention
            for place, role in enumerate(("query", "key", "value")):
                columns = slice(place * hidden, (place + 1) * hidden)
                found[f"{at}/attention/{role}"] = Projection(attention.qkv, columns)
            found[f"{at}/attention/output"] = Projection(attention.output_dense, whole)
            found[f"{at}/feed_forward/inner"] = Projection(block.inner, whole)
            found[f"{at}/feed_forward/outer"] = Projection(block.outer, whole)
        return found

    def get_layer(self, name: Optional[str] = None, index: Optional[int] = None) -> keras.layers.Layer:
        """The part with this name or index, like :meth:`keras.Model.get_layer`.

        Raises:
            ValueError: there is none, or neither or both arguments were given.
        """
        if (name is None) == (index is None):
            raise ValueError("give either a name or an index")
        if index is not None and -len(self.layers) <= index < len(self.layers):
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
        wanted = repr(name) if index is None else f"at {index}"
        raise ValueError(f"the encoder has no layer {wanted}; its layers are {known}")

    def build(self, inputs_shape: Any = None) -> None:
        shape = (None, None, self.config.hidden_size)
        self.embeddings.build((None, None))
        for block in self.blocks:
            block.build(shape)
        if self.final_norm is not None:
            self.final_norm.build(shape)
        if self.pooler is not None:
            self.pooler.build(shape[1:])
        self.built = True

    def call(
        self, inputs: Mapping[str, Any], training: Optional[bool] = None, noise: Optional[Noise] = None
    ) -> dict[str, Any]:
        """Encode.

        Args:
            inputs: ``input_ids``, int32 [B, T]; ``attention_mask``, int32 [B, T], 1 for real tokens (default:
                all); ``token_type_ids``, int32 [B, T] (default: all 0; a model with a single type treats all
                as 0); ``word_weights``, float32 [B, T], by which the word embeddings are multiplied (default:
                no multiplication); ``causal_mask``, int32 [B, T], 1 for tokens that earlier positions do not
                attend to (default: all 0).
            training: whether dropout is enabled.
            noise: determines the masks; given in a training step. Without it, they depend on the layer's seed
                and on the number of calls so far.
        Returns:
            ``sequence_output`` [B, T, H], and ``pooled_output`` [B, H] with a pooler.
        Raises:
            ValueError: T, if known, exceeds the model's number of positions.
        """
        *_, last = self._states(inputs, self._source.noise(training, noise))
        outputs = {"sequence_output": last}
        if self.pooler is not None:
            outputs["pooled_output"] = ops.tanh(self.pooler(last[:, 0]))
        return outputs

    def compute_output_shape(self, inputs_shape: Mapping[str, Any]) -> dict[str, Any]:
        """The shapes of the outputs of :meth:`call`."""
        batch, length = inputs_shape["input_ids"]
        shapes: dict[str, Any] = {"sequence_output": (batch, length, self.config.hidden_size)}
        if self.pooler is not None:
            shapes["pooled_output"] = (batch, self.config.hidden_size)
        return shapes

    def serving_form(self, precision: str, adapters: Sequence[Changes] = ()) -> ServingForm:
        """The encoder in its serving form; see :class:`tfpipeline.models.architectures.ServingForm`."""
        return ServingForm(self, precision, adapters)

    def hidden_states(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The embeddings and each layer's output: L + 1 tensors [B, T, H]; inputs as in :meth:`call`."""
        return list(
            self._states({name: ops.convert_to_tensor(value) for name, value in inputs.items()}, None)
        )

    def keys_and_values(self, inputs: Mapping[str, Any]) -> tuple[Any, tuple[KeysAndValues, ...]]:
        """See :meth:`tfpipeline.models.architectures.Encoder.keys_and_values`."""
        found: list[KeysAndValues] = []
        *_, last = self._states(inputs, None, found)
        return last, tuple(found)

    def extend(self, inputs: Mapping[str, Any], attend: Callable[..., Any]) -> Any:
        """See :meth:`tfpipeline.models.architectures.Encoder.extend`."""
        ids, types = inputs["input_ids"], inputs["token_type_ids"]
        types = ops.zeros_like(ids) if self.config.type_vocab_size == 1 else types
        x = self.embeddings(ids, types, positions=inputs["positions"])
        for index, block in enumerate(self.blocks):
            x = block(x, None, attend=functools.partial(attend, index))
        return x if self.final_norm is None else self.final_norm(x)

    def _states(
        self,
        inputs: Mapping[str, Any],
        noise: Optional[Noise],
        found: Optional[list[KeysAndValues]] = None,
    ) -> Iterator[Any]:
        """The embeddings and each block's output; with ``found``, the keys and values are appended to it."""
        input_ids = inputs["input_ids"]
        length, most = input_ids.shape[1], self.config.max_position_embeddings
        if length is None:  # not known before the graph runs
            input_ids = kernels.check_length(input_ids, most)
        elif length > most:
            raise ValueError(f"input_ids has {length} positions, the model {most}; truncate the texts")
        types = inputs.get("token_type_ids")
        mask = inputs.get("attention_mask")
        # As in RoBERTa: with a single type, both texts of a pair have it. Windows and heads still distinguish
        # them by the ids.
        types = ops.zeros_like(input_ids) if types is None or self.config.type_vocab_size == 1 else types
        mask = ops.ones_like(input_ids) if mask is None else mask
        bias = attention_bias(
            mask, self.compute_dtype, causal=self.config.causal, causal_mask=inputs.get(CAUSAL_MASK)
        )

        def attend_and_keep(query: Any, key: Any, value: Any) -> Any:
            found.append(KeysAndValues(key, value))  # type: ignore[union-attr]
            return kernels.attention(query, key, value, bias)

        x = self.embeddings(input_ids, types, noise=noise, word_weights=inputs.get(WORD_WEIGHTS))
        yield x
        for index, block in enumerate(self.blocks, 1):
            x = block(x, bias, noise=noise, attend=None if found is None else attend_and_keep)
            if self.final_norm is not None and index == len(self.blocks):
                x = self.final_norm(x)
            yield x

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights by neutral name; the inverse of :meth:`assign`."""
        shapes = neutral.shapes(self.config)
        weights: dict[str, np.ndarray] = {}
        for variable, names in self._packing():
            pieces = np.split(variable.numpy(), len(names), axis=-1)
            weights.update({name: piece.reshape(shapes[name]) for name, piece in zip(names, pieces)})
        return weights

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Set all weights by neutral name.

        Raises:
            UserError: names are missing or unknown, or shapes differ; all are listed, and nothing is set.
        """
        wanted = neutral.shapes(self.config)
        # Lazy tensors know their shapes without being read.
        shapes = getattr(tensors, "shapes", None) or {name: tuple(tensors[name].shape) for name in tensors}
        neutral.check(wanted, shapes, "the weights do not fit the configuration")
        for variable, names in self._packing():
            pieces = [np.asarray(tensors[name]).reshape(*variable.shape[:-1], -1) for name in names]
            variable.assign(pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1))

    def _packing(self) -> Iterator[tuple[Any, list[str]]]:
        """Each variable, with the neutral tensors that are concatenated on its last axis."""

        def norm(layer: LayerNorm, name: str) -> Iterator[tuple[Any, list[str]]]:
            yield layer.scale, [f"{name}/scale"]
            yield layer.bias, [f"{name}/bias"]

        def dense(layer: Dense, *names: str) -> Iterator[tuple[Any, list[str]]]:
            yield layer.kernel, [f"{name}/kernel" for name in names]
            yield layer.bias, [f"{name}/bias" for name in names]

        yield self.embeddings.word, ["embeddings/word"]
        yield self.embeddings.position, ["embeddings/position"]
        yield self.embeddings.token_type, ["embeddings/token_type"]
        yield from norm(self.embeddings.norm, "embeddings/norm")
        for index, block in enumerate(self.blocks):
            at = f"layer_{index}"
            yield from dense(
                block.attention.qkv, *(f"{at}/attention/{role}" for role in ("query", "key", "value"))
            )
            yield from dense(block.attention.output_dense, f"{at}/attention/output")
            yield from norm(block.attention_norm, f"{at}/attention/norm")
            yield from dense(block.inner, f"{at}/feed_forward/inner")
            yield from dense(block.outer, f"{at}/feed_forward/outer")
            yield from norm(block.output_norm, f"{at}/feed_forward/norm")
        if self.final_norm is not None:
            yield from norm(self.final_norm, "final_norm")
        if self.pooler is not None:
            yield from dense(self.pooler, "pooler")

    def get_config(self) -> dict[str, Any]:
        """Keras's serialisation: the architecture, and which parts are frozen."""
        frozen = [layer.name for layer in self.layers if not layer.trainable]
        own = {**config_of(self, "config"), "seed": self._source.seed, "frozen": frozen}
        if self.adaptation is not None:
            own["peft"] = self.adaptation.get_config()
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BertEncoder:
        """The inverse of :meth:`get_config`."""
        options = {**config, "config": config_of_layer(config["config"])}
        frozen, adapted = options.pop("frozen", ()), options.pop("peft", None)
        encoder = cls(**options)
        if adapted is not None:
            peft.restore(encoder, adapted)
        for name in frozen:
            encoder.get_layer(name).trainable = False
        return encoder
