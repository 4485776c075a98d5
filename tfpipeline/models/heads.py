"""Heads on a pooled text, and several heads on one encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
from keras import ops

from tfpipeline.models import kernels
from tfpipeline.models.head import (
    DropoutHead,
    Head,
    as_head,
    build_head,
    describe_head,
    head_config,
    noise_for,
    number_dropouts,
)
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layers import Dense, at_least_float32
from tfpipeline.models.pooling import Pooling, check_pooling
from tfpipeline.models.serialization import config_of, freeze, serializable
from tfpipeline.models.windows import Merge


def mean_pool(hidden_states: Any, attention_mask: Any) -> Any:
    """Average the hidden states of each text's real tokens.

    Args:
        hidden_states: [B, T, H], any float dtype.
        attention_mask: [B, T], 1 for real tokens.
    Returns:
        [B, H]; summed in float32 at least, as bfloat16 loses small terms. 0 for a text without tokens.
    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3.
    """
    wide = at_least_float32(hidden_states)
    mask = ops.cast(attention_mask, wide.dtype)[:, :, None]
    return ops.sum(wide * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)


def last_state(hidden_states: Any, attention_mask: Any) -> Any:
    """The hidden state of each text's last real token. In a causal encoder, only this token has read the
    whole text.

    Args:
        hidden_states: [B, T, H], any float dtype.
        attention_mask: [B, T], 1 for real tokens, which come first.
    Returns:
        [B, H], of the same dtype; the first position's for a text without tokens.
    """
    last = ops.maximum(ops.sum(ops.cast(attention_mask, "int32"), axis=1) - 1, 0)
    return kernels.gather(hidden_states, last[:, None], batch_dims=1)[:, 0]


def pool(encoded: Mapping[str, Any], attention_mask: Any, pooling: Pooling) -> Any:
    """Pool each text to one vector.

    Args:
        encoded: an encoder's outputs.
        attention_mask: [B, T], 1 for real tokens.
        pooling: see :class:`ClassificationHead`.
    Returns:
        [B, H]; the mean is float32 at least.
    """
    if pooling == "pooler":
        return encoded["pooled_output"]
    states = encoded["sequence_output"]
    if pooling == "cls":
        return states[:, 0]
    return last_state(states, attention_mask) if pooling == "last" else mean_pool(states, attention_mask)


@serializable
class ClassificationHead(DropoutHead):
    """Dropout and one dense layer on a pooled text; also for regression, with one output.

    Args:
        num_labels: C, outputs.
        pooling: "mean" of the real tokens, "cls" (the first token), "last" (the last one), or BERT's
            "pooler".
        dropout: rate, in training.
        seed: of the first weights, and of the dropout masks of calls that bring no ``noise``.
    """

    row_padding: Mapping[str, float] = {"bias": -1e9}  # of outputs that a row's head lacks: probability 0

    def __init__(
        self,
        num_labels: int,
        *,
        pooling: Pooling = "mean",
        dropout: float = 0.1,
        seed: int = 0,
        name: str = "head",
        **options: Any,
    ) -> None:
        super().__init__(dropout=dropout, seed=seed, name=name, **options)
        self.num_labels, self.pooling = num_labels, pooling
        self.dense = Dense(num_labels, 0.02, seed=seed, name="dense", dtype=self.dtype_policy)

    @property
    def uses_pooler(self) -> bool:  # type: ignore[override]
        """Whether ``pooled_output`` is read."""
        return self.pooling == "pooler"

    @property
    def description(self) -> str:
        """A short description of the head, for the model's ``repr``."""
        return f"{type(self).__name__} ({self.num_labels} outputs)"

    def build(self, shapes: Mapping[str, Any]) -> None:
        check_pooling(self.pooling, shapes)
        self.dense.build((None, shapes["sequence_output"][-1]))
        self.built = True
        freeze(self)

    def call(
        self,
        encoded: Mapping[str, Any],
        attention_mask: Any,
        noise: Optional[Noise] = None,
        training: Optional[bool] = None,
    ) -> dict[str, Any]:
        """Compute the logits.

        Args:
            encoded: the encoder's outputs.
            attention_mask: [B, T].
            noise: given in a training step, for dropout.
            training: whether dropout is on.
        Returns:
            ``logits`` [B, C], float32 at least.
        """
        pooled = pool(encoded, attention_mask, self.pooling)
        pooled = self.dropout(ops.cast(pooled, self.compute_dtype), noise=noise)
        return {"logits": at_least_float32(self.dense(pooled))}

    def call_by_row(
        self, encoded: Mapping[str, Any], attention_mask: Any, weights: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See :meth:`tfpipeline.models.head.Head.call_by_row`."""
        pooled = at_least_float32(pool(encoded, attention_mask, self.pooling))
        product = ops.matmul(pooled[:, None], weights[self.dense.kernel.path])[:, 0]
        return {"logits": product + weights[self.dense.bias.path]}

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of the outputs, given those of the encoder's."""
        return {"logits": (shapes["sequence_output"][0], self.num_labels)}

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "num_labels", "pooling")}


@serializable
class MultiLabelHead(ClassificationHead):
    """A :class:`ClassificationHead` with a decision threshold for each label.

    A label is predicted if its score is at least its threshold. Thresholds are non-trainable weights, so they
    are saved, resumed and exported with the other weights.

    Args:
        threshold: initial value of all thresholds.
        others: as :class:`ClassificationHead`.
    """

    float32_outputs = ("thresholds",)
    row_padding: Mapping[str, float] = {**ClassificationHead.row_padding, "thresholds": 1.0}

    def __init__(self, num_labels: int, *, threshold: float = 0.5, **options: Any) -> None:
        super().__init__(num_labels, **options)
        self.threshold = threshold

    def build(self, shapes: Mapping[str, Any]) -> None:
        super().build(shapes)
        self.thresholds = self.add_weight(
            shape=(self.num_labels,),
            initializer=keras.initializers.Constant(self.threshold),
            dtype="float32",
            trainable=False,
            autocast=False,  # in 16 bits it would differ from the exported model's
            name="thresholds",
        )

    def call(
        self,
        encoded: Mapping[str, Any],
        attention_mask: Any,
        noise: Optional[Noise] = None,
        training: Optional[bool] = None,
    ) -> dict[str, Any]:
        """``logits`` [B, C] and ``thresholds`` float32 [B, C], the same for each text."""
        outputs = super().call(encoded, attention_mask, noise=noise)
        thresholds = ops.convert_to_tensor(self.thresholds, dtype="float32")
        outputs["thresholds"] = ops.broadcast_to(thresholds, ops.shape(outputs["logits"]))
        return outputs

    def call_by_row(
        self, encoded: Mapping[str, Any], attention_mask: Any, weights: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See :meth:`tfpipeline.models.head.Head.call_by_row`."""
        outputs = super().call_by_row(encoded, attention_mask, weights)
        return {**outputs, "thresholds": weights[self.thresholds.path]}

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of the outputs, given those of the encoder's."""
        (logits,) = super().compute_output_shape(shapes).values()
        return {"logits": logits, "thresholds": logits}

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "threshold")}


@serializable
class HeadGroup(Head):
    """Several heads on one encoder.

    Args:
        heads: name -> head; their outputs are called ``NAME/OUTPUT``.
    """

    def __init__(self, heads: Mapping[str, keras.layers.Layer], **options: Any) -> None:
        super().__init__(**options)
        self.heads = {name: as_head(head) for name, head in heads.items()}
        for name, head in self.heads.items():
            head.name = name  # variables are told apart by their paths
        number_dropouts(self)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The heads."""
        return list(self.heads.values())

    @property
    def uses_pooler(self) -> bool:  # type: ignore[override]
        """Whether a head reads ``pooled_output``."""
        return any(head.uses_pooler for head in self.heads.values())

    @property
    def merges(self) -> dict[str, Merge]:  # type: ignore[override]
        """How the heads' outputs of windows are combined into those of their rows."""
        return self._by_name("merges")

    @property
    def min_learning_rates(self) -> dict[str, float]:  # type: ignore[override]
        """The lowest learning rates of the heads' variables."""
        return self._by_name("min_learning_rates")

    def _by_name(self, attribute: str) -> dict[str, Any]:
        """A mapping of each head, under the names that its outputs or variables have here."""
        return {
            f"{name}/{own}": value
            for name, head in self.heads.items()
            for own, value in getattr(head, attribute).items()
        }

    @property
    def binds_embeddings(self) -> bool:  # type: ignore[override]
        """Whether a head shares the encoder's word embeddings."""
        return any(head.binds_embeddings for head in self.heads.values())

    def bind_embeddings(self, word: keras.Variable) -> None:
        """Share the encoder's word embeddings with the heads that need them; see
        :meth:`Head.bind_embeddings`.
        """
        for head in self.heads.values():
            if head.binds_embeddings:
                head.bind_embeddings(word)

    @property
    def description(self) -> str:
        """A short description of each head."""
        return ", ".join(f"{name}: {describe_head(head)}" for name, head in self.heads.items())

    def build(self, shapes: Mapping[str, Any]) -> None:
        for head in self.heads.values():
            build_head(head, shapes)
        self.built = True
        freeze(self)

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of the outputs, given those of the encoder's."""
        return {
            f"{name}/{output}": shape
            for name, head in self.heads.items()
            for output, shape in head.compute_output_shape(shapes).items()
        }

    def compute_output_spec(self, encoded: Mapping[str, Any], *others: Any, **options: Any) -> dict[str, Any]:
        """Symbolic outputs: those of the heads."""
        return {
            f"{name}/{output}": tensor
            for name, head in self.heads.items()
            for output, tensor in head.compute_output_spec(encoded, *others, **options).items()
        }

    def call(
        self,
        encoded: Mapping[str, Any],
        attention_mask: Any,
        noise: Optional[Noise] = None,
        training: Optional[bool] = None,
    ) -> dict[str, Any]:
        """Every head's outputs."""
        return {
            f"{name}/{output}": tensor
            for name, head in self.heads.items()
            for output, tensor in head(encoded, attention_mask, **noise_for(head, noise)).items()
        }

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        heads = {name: head_config(head) for name, head in self.heads.items()}
        return {**super().get_config(), "heads": heads}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HeadGroup:
        """The inverse of :meth:`get_config`."""
        heads = {name: keras.saving.deserialize_keras_object(head) for name, head in config["heads"].items()}
        return cls(**{**config, "heads": heads})
