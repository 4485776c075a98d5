"""The head of a model that makes one vector per text, to compare texts by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Optional

import keras
from keras import ops

from tfpipeline.models.head import Float32Head
from tfpipeline.models.heads import pool
from tfpipeline.models.layers import at_least_float32
from tfpipeline.models.pooling import Pooling, check_pooling
from tfpipeline.models.serialization import config_of, freeze, serializable

_LEAST_RATE = 1e-3  # of the temperature: at an encoder's learning rate it would hardly move


@serializable
class EmbeddingHead(Float32Head):
    """Pools a text to one vector. It has no weights, unless a temperature is learnt with it.

    The output is not normalised, because the vectors of windows are averaged afterwards. Whoever compares
    vectors normalises them: the loss, the predictions and :func:`tfpipeline.models.embedding.embed`.

    Args:
        pooling: "mean" of the real tokens, "cls" (the first token), "last" (the last one), or BERT's
            "pooler".
        size: D, how many of the H numbers are kept, from the first; None for all.
        normalize: whether the model's embeddings are vectors of length 1.
        prompts: what is put before texts, by the kind of text: ``query`` and ``document``.
        temperature: initial value of a temperature that is learnt; None if none is.
    """

    def __init__(
        self,
        *,
        pooling: Pooling = "mean",
        size: Optional[int] = None,
        normalize: bool = True,
        prompts: Optional[Mapping[str, str]] = None,
        temperature: Optional[float] = None,
        name: str = "head",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.pooling, self.size, self.normalize, self.temperature = pooling, size, normalize, temperature
        self.prompts = dict(prompts or {})

    @property
    def uses_pooler(self) -> bool:  # type: ignore[override]
        """Whether ``pooled_output`` is read."""
        return self.pooling == "pooler"

    @property
    def min_learning_rates(self) -> dict[str, float]:  # type: ignore[override]
        """That of the temperature, if one is learnt."""
        return {} if self.temperature is None else {"log_scale": _LEAST_RATE}

    @property
    def description(self) -> str:
        """A short description of the head, for the model's ``repr``."""
        return (
            f"{type(self).__name__} ({self.pooling}{'' if self.size is None else f', {self.size} numbers'})"
        )

    def build(self, shapes: Mapping[str, Any]) -> None:
        check_pooling(self.pooling, shapes)
        if self.temperature is not None:
            # The logarithm of 1 / temperature, as in CLIP (Radford et al. 2021, arXiv:2103.00020).
            self.log_scale = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(-math.log(self.temperature)),
                autocast=False,  # 16 bits are too few for small steps
                name="log_scale",
            )
        self.built = True
        freeze(self)

    def call(
        self, encoded: Mapping[str, Any], attention_mask: Any, training: Optional[bool] = None
    ) -> dict[str, Any]:
        """Compute the vectors.

        Args:
            encoded: the encoder's outputs.
            attention_mask: [B, T].
            training: makes no difference.
        Returns:
            ``embedding`` [B, D], float32 at least; and, if a temperature is learnt, ``log_scale`` [B], the
            logarithm of 1 / temperature, the same for each text.
        """
        pooled = at_least_float32(pool(encoded, attention_mask, self.pooling))
        outputs = {"embedding": pooled if self.size is None else pooled[:, : self.size]}
        if self.temperature is not None:
            scale = at_least_float32(ops.convert_to_tensor(self.log_scale))
            outputs["log_scale"] = ops.broadcast_to(scale, ops.shape(pooled)[:1])
        return outputs

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Shapes of the outputs, given those of the encoder's."""
        rows, _, hidden = shapes["sequence_output"]
        scale = {} if self.temperature is None else {"log_scale": (rows,)}
        return {"embedding": (rows, self.size or hidden), **scale}

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        own = config_of(self, "pooling", "size", "normalize", "prompts", "temperature")
        return {**super().get_config(), **own}
