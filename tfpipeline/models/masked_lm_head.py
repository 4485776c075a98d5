"""BERT's head for masked tokens, tied to the word embeddings, perhaps with a head on the pooler beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import keras
from keras import ops

from tfpipeline.errors import UserError
from tfpipeline.models import kernels
from tfpipeline.models.inputs import PREDICTED_POSITIONS
from tfpipeline.models.kernels import Noise
from tfpipeline.models.layers import Dense, at_least_float32
from tfpipeline.models.serialization import config_of, freeze, serializable
from tfpipeline.models.vocabulary_head import VocabularyHead

CLASSES = 2  # of the head on the pooler


@serializable
class MaskedLMHead(VocabularyHead):
    """Predicts tokens at some positions of a text; see :class:`VocabularyHead`.

    Only these positions reach the product with the vocabulary, so there is no tensor [B, T, V].

    Source: Devlin et al. 2018, arXiv:1810.04805, appendix A.2; google-research/bert, ``run_pretraining.py``,
    ``get_masked_lm_output`` and ``get_next_sentence_output``.

    Args:
        vocabulary_size: V, the rows of the word embeddings.
        mask_id: the id of [MASK].
        masks: M, the number of [MASK] tokens that are predicted in a text whose positions are not given.
        hidden_act: the activation after the dense layer, one of :data:`tfpipeline.models.ACTIVATIONS`.
        layer_norm_eps: of LayerNorm.
        stddev: standard deviation of the initial kernels.
        reads_pairs: whether to add the head on the pooler that classifies the relation of two texts.
        seed: of the initial kernels.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        mask_id: int,
        masks: int,
        hidden_act: str,
        layer_norm_eps: float,
        stddev: float = 0.02,
        reads_pairs: bool = False,
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
        self.mask_id, self.masks, self.reads_pairs = mask_id, masks, reads_pairs
        self.relation: Optional[Dense] = None
        if reads_pairs:
            self.relation = Dense(CLASSES, stddev, seed=seed + 1, name="relation", dtype=self.dtype_policy)

    @property
    def uses_pooler(self) -> bool:  # type: ignore[override]
        """Whether ``pooled_output`` is read."""
        return self.reads_pairs

    def build(self, shapes: Mapping[str, Any]) -> None:
        if self.reads_pairs and "pooled_output" not in shapes:
            raise UserError(
                "the checkpoint has no pooler, which task.objective needs; set task.objective to none, or "
                "start from a checkpoint with a pooler"
            )
        super().build(shapes)
        if self.relation is not None:
            self.relation.build((None, shapes["sequence_output"][-1]))
            freeze(self)

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
            inputs: the model's inputs. ``predicted_positions``, int32 [B, P], are the positions to predict,
                -1 for unused ones; without them, these are the first M [MASK] tokens in ``input_ids``.
            noise: given in a training step. The head has no dropout.
            training: not used.
        Returns:
            ``logits`` [B, P, V], float32 at least, of no meaning where the position is -1; ``positions``
            int32 [B, P]; and of a head that reads pairs ``relation`` [B, 2], float32 at least.
        """
        positions = inputs.get(PREDICTED_POSITIONS)
        if positions is None:
            positions = self._mask_positions(inputs["input_ids"], attention_mask)
        trains = noise is not None
        states = kernels.gather(encoded["sequence_output"], ops.maximum(positions, 0), batch_dims=1)
        outputs = {"logits": self.token_logits(states, trains), "positions": positions}
        if self.relation is not None:
            pooled = ops.cast(encoded["pooled_output"], self.compute_dtype)
            outputs["relation"] = at_least_float32(self.relation(pooled, training=trains))
        return outputs

    def _mask_positions(self, ids: Any, attention_mask: Any) -> Any:
        """The positions of the first M [MASK] tokens, int32 [B, M], -1 where there are fewer."""
        is_mask = ops.logical_and(ops.equal(ids, self.mask_id), ops.greater(attention_mask, 0))
        number = ops.cumsum(ops.cast(is_mask, "int32"), axis=1)  # of a mask in its text, from 1
        wanted = ops.arange(1, self.masks + 1)[None, :, None]
        here = ops.logical_and(ops.equal(number[:, None], wanted), is_mask[:, None])  # [B, M, T]
        column = ops.arange(1, ops.shape(ids)[1] + 1)
        return ops.sum(ops.where(here, column, 0), axis=2) - 1

    def compute_output_spec(
        self, encoded: Mapping[str, Any], attention_mask: Any, inputs: Any = None, **_: Any
    ) -> dict[str, Any]:
        """Symbolic outputs, of float32 at least whatever the policy."""
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        batch = encoded["sequence_output"].shape[0]
        given = (inputs or {}).get(PREDICTED_POSITIONS)
        positions = self.masks if given is None else given.shape[1]
        outputs = {
            "logits": keras.KerasTensor((batch, positions, self.vocabulary_size), wide),
            "positions": keras.KerasTensor((batch, positions), "int32"),
        }
        if self.reads_pairs:
            outputs["relation"] = keras.KerasTensor((batch, CLASSES), wide)
        return outputs

    def compute_output_shape(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """The shapes of the outputs for the first M [MASK] tokens, given those of the encoder's outputs."""
        batch = shapes["sequence_output"][0]
        outputs = {"logits": (batch, self.masks, self.vocabulary_size), "positions": (batch, self.masks)}
        return {**outputs, "relation": (batch, CLASSES)} if self.reads_pairs else outputs

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        return {**super().get_config(), **config_of(self, "mask_id", "masks", "reads_pairs")}
