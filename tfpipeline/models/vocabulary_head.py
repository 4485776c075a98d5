"""What heads that predict tokens share: BERT's transform and the product with the word embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from keras import ops

from tfpipeline.models import kernels
from tfpipeline.models.head import Head
from tfpipeline.models.layers import ACTIVATION_FUNCTIONS, Dense, LayerNorm, at_least_float32
from tfpipeline.models.serialization import config_of, freeze


class VocabularyHead(Head):
    """A dense layer with an activation, LayerNorm, and the product with the word embeddings, plus a bias.

    Source: Devlin et al. 2018, arXiv:1810.04805, appendix A.2; google-research/bert, ``run_pretraining.py``,
    ``get_masked_lm_output``.

    Args:
        vocabulary_size: V, the rows of the word embeddings.
        hidden_act: the activation after the dense layer, one of :data:`tfpipeline.models.ACTIVATIONS`.
        layer_norm_eps: of LayerNorm.
        stddev: standard deviation of the initial kernels.
        seed: of the initial kernels.
    """

    binds_embeddings = True
    uses_pooler = False

    def __init__(
        self,
        vocabulary_size: int,
        *,
        hidden_act: str,
        layer_norm_eps: float,
        stddev: float = 0.02,
        seed: int = 0,
        name: str = "head",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.vocabulary_size = vocabulary_size
        self.hidden_act, self.layer_norm_eps, self.stddev, self.seed = (
            hidden_act,
            layer_norm_eps,
            stddev,
            seed,
        )
        self.activation = ACTIVATION_FUNCTIONS[hidden_act]
        self.norm = LayerNorm(layer_norm_eps, name="norm", dtype=self.dtype_policy)

    @property
    def description(self) -> str:
        """A short description of the head, for the model's ``repr``."""
        return f"{type(self).__name__} ({self.vocabulary_size} tokens)"

    def build(self, shapes: Mapping[str, Any]) -> None:
        hidden = shapes["sequence_output"][-1]
        self.dense = Dense(hidden, self.stddev, seed=self.seed, name="dense", dtype=self.dtype_policy)
        self.dense.build((None, None, hidden))
        self.norm.build((None, None, hidden))
        self.bias = self.add_weight(name="bias", shape=(self.vocabulary_size,), initializer="zeros")
        self.built = True
        freeze(self)

    def token_logits(self, states: Any, training: bool = False, tokens: Optional[int] = None) -> Any:
        """The logits of tokens.

        Args:
            states: the encoder's states, [..., H].
            training: whether gradients will be computed.
            tokens: compute those of the first so many tokens only; by default of all V.
        Returns:
            [..., V], float32 at least.
        """
        states = ops.cast(states, self.compute_dtype)
        hidden = self.norm(
            self.activation(self.dense(states, training=training), training), training=training
        )
        table, bias = self.embedding_matrix, self.bias
        if tokens is not None and tokens < self.vocabulary_size:
            table, bias = table[:tokens], bias[:tokens]
        logits = at_least_float32(kernels.inner_products(hidden, table, training))
        return logits + ops.cast(bias, logits.dtype)

    def get_config(self) -> dict[str, Any]:
        """Keras's own serialisation."""
        names = ("vocabulary_size", "hidden_act", "layer_norm_eps", "stddev", "seed")
        return {**super().get_config(), **config_of(self, *names)}
