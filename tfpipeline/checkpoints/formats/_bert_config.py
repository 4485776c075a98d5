"""``bert_config.json``, used by the checkpoints of google-research/bert and of TF Model Garden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONFIG = "bert_config.json"
# Epsilon of tf.contrib.layers.layer_norm, which modeling.py calls, and of Model Garden; no file stores it.
LAYER_NORM_EPS = 1e-12
REQUIRED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
)
FIELDS = (*REQUIRED, "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range")


def known_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration that define the model."""
    return {field: values[field] for field in FIELDS if field in values}
