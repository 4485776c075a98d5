"""BERT's configuration and the names of its tensors (Devlin et al. 2019, arXiv:1810.04805).

Imports no framework.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tfpipeline.errors import UserError
from tfpipeline.models.config import EncoderConfig, require_activation, require_shares, require_sizes

if TYPE_CHECKING:
    from tfpipeline.models.architectures.bert.encoder import BertEncoder

# V vocabulary, P positions, Y token types, H hidden size, N heads, D = H / N, I intermediate size;
# K is as long as H but is a separate axis, so that a transposed kernel is detected.
EMBEDDINGS = {
    "embeddings/word": "V H",
    "embeddings/position": "P H",
    "embeddings/token_type": "Y H",
    "embeddings/norm/scale": "H",
    "embeddings/norm/bias": "H",
}
BLOCK = {
    "layer_{i}/attention/query/kernel": "H N D",
    "layer_{i}/attention/query/bias": "N D",
    "layer_{i}/attention/key/kernel": "H N D",
    "layer_{i}/attention/key/bias": "N D",
    "layer_{i}/attention/value/kernel": "H N D",
    "layer_{i}/attention/value/bias": "N D",
    "layer_{i}/attention/output/kernel": "N D H",
    "layer_{i}/attention/output/bias": "H",
    "layer_{i}/attention/norm/scale": "H",
    "layer_{i}/attention/norm/bias": "H",
    "layer_{i}/feed_forward/inner/kernel": "H I",
    "layer_{i}/feed_forward/inner/bias": "I",
    "layer_{i}/feed_forward/outer/kernel": "I H",
    "layer_{i}/feed_forward/outer/bias": "H",
    "layer_{i}/feed_forward/norm/scale": "H",
    "layer_{i}/feed_forward/norm/bias": "H",
}
FINAL_NORM = {"final_norm/scale": "H", "final_norm/bias": "H"}  # only with norm_first
POOLER = {"pooler/kernel": "H K", "pooler/bias": "K"}


@dataclasses.dataclass(frozen=True)
class BertConfig(EncoderConfig):
    """Everything that determines the computation of a BERT encoder, except its weights.

    Names are those of google-research/bert's ``BertConfig`` and of transformers; see :class:`EncoderConfig`.

    Raises:
        UserError: a value is invalid; the message names the field.
    """

    reads_word_weights: ClassVar[bool] = True
    generates: ClassVar[bool] = True
    changes_rows: ClassVar[bool] = True

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    hidden_act: str
    layer_norm_eps: float
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    pooler: bool = True

    def __post_init__(self) -> None:
        require_sizes(
            self,
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
        )
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size is {self.hidden_size}, which num_attention_heads ({self.num_attention_heads}) "
                "does not divide; one of them is wrong"
            )
        require_activation(self)
        require_shares(self, "hidden_dropout_prob", "attention_probs_dropout_prob", zero=True)
        require_shares(self, "layer_norm_eps", "initializer_range", zero=False)
        if not isinstance(self.pooler, bool):
            raise UserError(f"pooler is {self.pooler!r}; it must be true or false")

    @property
    def outputs(self) -> tuple[str, ...]:
        """``pooled_output`` exists only with a pooler."""
        return ("sequence_output", *(["pooled_output"] if self.pooler else []))

    def tensors(self) -> Mapping[str, str]:
        """See :meth:`EncoderConfig.tensors`."""
        return {
            **EMBEDDINGS,
            **BLOCK,
            **(FINAL_NORM if self.norm_first else {}),
            **(POOLER if self.pooler else {}),
        }

    def axis_sizes(self) -> dict[str, int]:
        """See :meth:`EncoderConfig.axis_sizes`."""
        return {
            "V": self.vocab_size,
            "P": self.max_position_embeddings,
            "Y": self.type_vocab_size,
            "H": self.hidden_size,
            "K": self.hidden_size,
            "N": self.num_attention_heads,
            "D": self.head_size,
            "I": self.intermediate_size,
        }

    def encoder(
        self, *, uninitialized: bool = False, seed: int = 0, name: str = "encoder", **options: Any
    ) -> BertEncoder:
        """See :meth:`EncoderConfig.encoder`."""
        from tfpipeline.models.architectures.bert.encoder import BertEncoder

        return BertEncoder(self, uninitialized=uninitialized, seed=seed, name=name, **options)

    def smallest(self) -> BertConfig:
        """See :meth:`EncoderConfig.smallest`."""
        return self.replace(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
