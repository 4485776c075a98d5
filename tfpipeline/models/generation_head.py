"""The head of models that write texts token by token, tied to the word embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
from keras import ops

from tfpipeline.models import kernels
from tfpipeline.models.inputs import PREDICTED_IDS, PREDICTED_POSITIONS
from tfpipeline.models.kernels import Noise
from tfpipeline.models.serialization import config_of, serializable
from tfpipeline.models.vocabulary_head import VocabularyHead


@serializable
class GenerationHead(VocabularyHead):
    """Predicts tokens: those at given positions in training, the next one in generation.

    It has BERT's weights for masked tokens (:class:`VocabularyHead`). Given the tokens, it returns their
    log-probabilities, so no tensor [B, P, V] leaves the head.

    Args:
        vocabulary_size: the rows of the word embeddings.
        tokens: V, the number of tokens; the embeddings may have more rows, which stand for no token.
        mask_id: the id of the [MASK] that is read at each position that is predicted; None if the state of
            the token before predicts it. See :mod:`tfpipeline.models.key_value_cache`.
        most_tokens: the most tokens that are read behind those of the inputs.
        hidden_act, layer_norm_eps, stddev, seed: see :class:`VocabularyHead`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        tokens: int,
        mask_id: Optional[int],
        most_tokens: int,
        hidden_act: str,
        layer_norm_eps: float,
        stddev: float = 0.02,
        seed: int = 0,
        name: str = "head",
        **options: Any,
    ) -> None:
        super().__init__(
            vocabulary_size,
            hidden_act=hidden_act,
            layer_norm_eps=layer_norm_eps,
            stddev=stddev,
            seed=seed,
            name=name,
            **options,
        )
        self.tokens, self.mask_id, self.most_tokens = tokens, mask_id, most_tokens

    @property
    def further_positions(self) -> int:  # type: ignore[override]
        """The most positions that a model reads behind its inputs."""
        return self.most_tokens

    def token_logits(self, states: Any, training: bool = False, tokens: Optional[int] = None) -> Any:
        """See :meth:`VocabularyHead.token_logits`; those of the V tokens."""
        return super().token_logits(states, training, self.tokens if tokens is None else tokens)

    def call(
        self,
        encoded: Mapping[str, Any],
        attention_mask: Any,
        inputs: Mapping[str, Any],
        noise: Optional[Noise] = None,
        training: Optional[bool] = None,
    ) -> dict[str, Any]:
        """Predict tokens.

        Args:
            encoded: the encoder's outputs.
            attention_mask: [B, T].
            inputs: the model's inputs. ``predicted_positions``, int32 [B, P], are the positions whose states
                predict, -1 for unused ones; without them, the last token of each row. ``predicted_ids``,
                int32 [B, P], are the tokens to predict there.
            noise: given in a training step. The head has no dropout.
            training: not used.
        Returns:
            Given ``predicted_ids``: ``log_probabilities`` [B, P] of these tokens, and
            ``mean_log_probabilities`` [B, P] of all V tokens, both 0 where the position is -1. Otherwise
            ``logits`` [B, P, V]. All are float32 at least.
        """
        positions = inputs.get(PREDICTED_POSITIONS)
        if positions is None:
            lengths = ops.sum(ops.cast(attention_mask, "int32"), axis=1)
            positions = ops.maximum(lengths - 1, 0)[:, None]
        states = kernels.gather(encoded["sequence_output"], ops.maximum(positions, 0), batch_dims=1)
        logits = self.token_logits(states, noise is not None)
        ids = inputs.get(PREDICTED_IDS)
        if ids is None:
            return {"logits": logits}
        total = ops.logsumexp(logits, axis=-1)
        there = positions >= 0
        of_ids = kernels.gather(logits, ops.where(there, ids, 0)[:, :, None], batch_dims=2)[:, :, 0]
        zero = ops.zeros_like(total)
        return {
            "log_probabilities": ops.where(there, of_ids - total, zero),
            "mean_log_probabilities": ops.where(there, ops.mean(logits, axis=-1) - total, zero),
        }

    def compute_output_spec(
        self, encoded: Mapping[str, Any], attention_mask: Any, inputs: Any = None, **_: Any
    ) -> dict[str, Any]:
        """Symbolic outputs, of float32 at least whatever the policy."""
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        inputs = inputs or {}
        rows = encoded["sequence_output"].shape[0]
        given = inputs.get(PREDICTED_POSITIONS)
        positions = 1 if given is None else given.shape[1]
        if PREDICTED_IDS not in inputs:
            return {"logits": keras.KerasTensor((rows, positions, self.tokens), wide)}
        names = ("log_probabilities", "mean_log_probabilities")
        return {name: keras.KerasTensor((rows, positions), wide) for name in names}

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """The shapes of the outputs for the last tokens, given those of the encoder's outputs."""
        return {"logits": (shapes["sequence_output"][0], 1, self.tokens)}

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "tokens", "mask_id", "most_tokens")}
