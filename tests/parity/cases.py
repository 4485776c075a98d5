"""What is compared with PyTorch: models, inputs, and which elements of the outputs the goldens keep."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from examples import packaged

GOLDENS = Path(__file__).parents[1] / "goldens"
LENGTHS = (1, 7, 128, 512)
KEPT = 400  # elements of each hidden state: all of them would be 60 MB

# Packaged weights, and the greatest difference allowed.
REAL = {"minilm": packaged.minilm, "xtremedistil": packaged.xtremedistil}
REAL_TOLERANCE = 2e-5

# Tiny models whose weights have a standard deviation of 0.3: at BERT's own 0.02 a wrong activation is
# invisible.
TINY = {
    "erf": {"hidden_act": "gelu"},
    "tanh": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu", "type_vocab_size": 4, "num_hidden_layers": 1},
    "epsilon": {"layer_norm_eps": 1e-3},
    "heads": {"num_attention_heads": 5, "type_vocab_size": 1},
    "deep": {"num_hidden_layers": 5, "hidden_size": 30, "intermediate_size": 17},
}
TINY_TOLERANCE = 1e-5
TINY_CONFIG = {
    "vocab_size": 41,
    "hidden_size": 15,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 23,
    "max_position_embeddings": 13,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


def inputs_of(length: int, vocab_size: int, type_vocab_size: int) -> dict[str, np.ndarray]:
    """Three texts of token ids: one fills the length, the others are padded; token types change half-way."""
    places = np.arange(length)
    real = np.array([length, max(1, length // 2), max(1, length - 3)])
    ids = np.stack([(7 + 13 * row + places * (31 + row)) % (vocab_size - 1) + 1 for row in range(3)])
    types = np.stack([(places * 2 // length + row) % type_vocab_size for row in range(3)])
    mask = places < real[:, None]
    return {
        "input_ids": np.where(mask, ids, 0).astype(np.int32),
        "token_type_ids": np.where(mask, types, 0).astype(np.int32),
        "attention_mask": mask.astype(np.int32),
    }


def real_tokens(state: np.ndarray, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """A hidden state [B, T, H] with padding set to 0.

    At padded positions MiniLM magnifies float32's rounding to 3e-4, PyTorch's and ours alike (in float64 both
    agree to 1e-12 there too, which ``make parity`` tests), and nothing reads them.
    """
    return state * inputs["attention_mask"][..., None].astype(state.dtype)


def sample(state: np.ndarray) -> np.ndarray:
    """At most :data:`KEPT` and a few elements, from all positions and all hidden units."""
    step = max(1, state.size // KEPT)
    while math.gcd(step, state.shape[-1]) > 1:
        step += 1
    return state.reshape(-1)[::step]
