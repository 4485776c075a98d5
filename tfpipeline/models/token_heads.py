"""Heads with one output per token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
from keras import ops

from tfpipeline.models.head import DropoutHead
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layers import Dense, at_least_float32
from tfpipeline.models.serialization import config_of, freeze, serializable
from tfpipeline.models.windows import Merge


class TokenHead(DropoutHead):
    """Dropout and one dense layer on every token.

    Args:
        size: number of outputs per token.
        dropout: rate, in training.
        seed: for the initial weights, and for the dropout masks of calls that bring no ``noise``.
    """

    uses_pooler = False

    def __init__(
        self, size: int, *, dropout: float = 0.1, seed: int = 0, name: str = "head", **options: Any
    ) -> None:
        super().__init__(dropout=dropout, seed=seed, name=name, **options)
        self.size = size
        self.dense = Dense(size, 0.02, seed=seed, name="dense", dtype=self.dtype_policy)

    @property
    def description(self) -> str:
        """A short description for the model's ``repr``."""
        return f"{type(self).__name__} ({self.size} outputs)"

    def build(self, shapes: Mapping[str, Any]) -> None:
        self.dense.build((None, None, shapes["sequence_output"][-1]))
        self.built = True
        freeze(self)

    def _scores(self, encoded: Mapping[str, Any], noise: Optional[Noise]) -> Any:
        """[B, T, size], float32 at least."""
        hidden = self.dropout(ops.cast(encoded["sequence_output"], self.compute_dtype), noise=noise)
        return at_least_float32(self.dense(hidden))

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "size")}


@serializable
class TaggingHead(TokenHead):
    """Scores each tag for every token; with ``crf``, also each pair of neighbouring tags.

    Args:
        size: C, the number of tags.
        crf: whether neighbouring tags are scored.
        others: see :class:`TokenHead`.
    """

    merges: Mapping[str, Merge] = {"logits": "tokens"}
    # Transitions start at 0 and must become as large as logits; a learning rate of 3e-5 is too low for that.
    min_learning_rates: Mapping[str, float] = {"transitions": 3e-3}

    def __init__(self, size: int, *, crf: bool = False, **options: Any) -> None:
        super().__init__(size, **options)
        self.crf = crf

    def build(self, shapes: Mapping[str, Any]) -> None:
        super().build(shapes)
        if self.crf:
            self.transitions = self.add_weight(
                shape=(self.size + 2, self.size), initializer="zeros", autocast=False, name="transitions"
            )
            freeze(self)

    def call(
        self,
        encoded: Mapping[str, Any],
        attention_mask: Any,
        noise: Optional[Noise] = None,
        training: Optional[bool] = None,
    ) -> dict[str, Any]:
        """Score.

        Returns:
            ``logits`` [B, T, C], float32 at least. With ``crf`` also ``transitions`` [B, C + 2, C], the same
            for each text: one row per previous tag, then the scores of each tag as the first of a text, then
            as the last.
        """
        outputs = {"logits": self._scores(encoded, noise)}
        if self.crf:
            transitions = ops.cast(self.transitions, outputs["logits"].dtype)
            shape = (ops.shape(outputs["logits"])[0], self.size + 2, self.size)
            outputs["transitions"] = ops.broadcast_to(transitions[None], shape)
        return outputs

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of the outputs, given those of the encoder's."""
        batch, length = shapes["sequence_output"][:2]
        outputs = {"logits": (batch, length, self.size)}
        if self.crf:
            outputs["transitions"] = (batch, self.size + 2, self.size)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "crf")}


@serializable
class SpanHead(TokenHead):
    """Scores every token as the start and as the end of an answer; [CLS] stands for "no answer".

    Source: Devlin et al. 2018, arXiv:1810.04805, sections 4.2 and 4.3. For a text in several windows, both
    scores of "no answer" come from the window where their sum is lowest (google-research/bert,
    ``run_squad.py``).

    Args:
        threshold: initial value of a non-trainable weight: the prediction is "no answer" if its probability
            is higher.
        others: see :class:`TokenHead`.
    """

    merges: Mapping[str, Merge] = {"span": "tokens", "none": "least"}
    float32_outputs = ("threshold",)

    def __init__(self, size: int = 2, *, threshold: float = 0.5, **options: Any) -> None:
        super().__init__(size, **options)
        self.first_threshold = threshold

    def build(self, shapes: Mapping[str, Any]) -> None:
        super().build(shapes)
        self.threshold = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.first_threshold),
            dtype="float32",
            trainable=False,
            autocast=False,
            name="threshold",
        )

    def call(
        self,
        encoded: Mapping[str, Any],
        attention_mask: Any,
        noise: Optional[Noise] = None,
        training: Optional[bool] = None,
    ) -> dict[str, Any]:
        """Score.

        Returns:
            ``span`` [B, T, 2], scores of start and end; ``none`` [B, 2], those of "no answer"; float32 at
            least; ``threshold`` float32 [B], the same for each text.
        """
        scores = self._scores(encoded, noise)
        threshold = ops.broadcast_to(ops.convert_to_tensor(self.threshold), (ops.shape(scores)[0],))
        return {"span": scores, "none": scores[:, 0], "threshold": threshold}

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of the outputs, given those of the encoder's."""
        batch, length = shapes["sequence_output"][:2]
        return {"span": (batch, length, self.size), "none": (batch, self.size), "threshold": (batch,)}

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), "threshold": self.first_threshold}
