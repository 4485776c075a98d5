"""Encoders and inputs that hypothesis makes up."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tfpipeline.models import ACTIVATIONS, BertConfig, neutral


@st.composite
def configs(draw, **fixed):
    """Small, odd architectures."""
    heads = draw(st.integers(1, 5))
    values = {
        "vocab_size": draw(st.integers(2, 40)),
        "hidden_size": heads * draw(st.integers(1, 7)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(1, 37)),
        "max_position_embeddings": draw(st.integers(1, 17)),
        "type_vocab_size": draw(st.integers(1, 4)),
        "hidden_act": draw(st.sampled_from(ACTIVATIONS)),
        "layer_norm_eps": draw(st.sampled_from([1e-12, 1e-7, 1e-5, 1e-3])),
        "pooler": draw(st.booleans()),
    }
    return BertConfig(**{**values, **fixed})


def random_weights(config, seed, std=0.3, heads=(), labels=0):
    """Weights by neutral name, float32; at BERT's own 0.02 a wrong activation would not show."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in neutral.shapes(config, heads, labels).items():
        weights[name] = random.normal(0, std, shape).astype(np.float32)
        if name.endswith("norm/scale"):
            weights[name] += 1
    return weights


def random_inputs(config, seed, batch=3, length=None):
    """Token ids with token types and padding; every text has at least one real token."""
    random = np.random.default_rng(seed)
    length = length or config.max_position_embeddings
    real = random.integers(1, length + 1, batch)
    real[0] = length
    return {
        "input_ids": random.integers(0, config.vocab_size, (batch, length), np.int32),
        "token_type_ids": random.integers(0, config.type_vocab_size, (batch, length), np.int32),
        "attention_mask": (np.arange(length) < real[:, None]).astype(np.int32),
    }
