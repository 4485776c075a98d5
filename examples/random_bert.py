"""A small BERT that nobody trained, for examples whose language or whose words no packaged weights know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tfpipeline.checkpoints import Checkpoint
from tfpipeline.models import BertConfig, neutral
from tfpipeline.text import TokenizerOptions

SEED = 0
# Of a model that looks around: standard deviations of what queries and keys are made with and of the words'
# embeddings, size and slowest wave of the places' ones.
QUERIES, WORDS, PLACES, SLOWEST = 0.1, 0.04, 0.03, 1000


def is_ascii_alphanumeric(character: str) -> bool:
    """Whether it is a letter or a digit of ASCII."""
    return character.isascii() and character.isalnum()


def vocabulary_of(
    texts: Iterable[str],
    options: TokenizerOptions,
    inside: Callable[[str], bool] = is_ascii_alphanumeric,
) -> tuple[str, ...]:
    """The special tokens, then the characters of the texts.

    A character that occurs once only is left out: so [UNK], which the test will hold, occurs in training.

    Args:
        texts: those of the training.
        options: how they are normalised.
        inside: which characters stand for the inside of a word too (``##a``); Chinese ones are words of their
            own.
    """
    counts = Counter("".join(texts).lower())
    characters = sorted(one for one, count in counts.items() if count > 1 and not one.isspace())
    return (*options.all_special_tokens, *characters, *(f"##{one}" for one in characters if inside(one)))


def random_checkpoint(
    vocabulary: tuple[str, ...],
    options: TokenizerOptions,
    *,
    layers: int = 2,
    hidden: int = 128,
    heads: int = 2,
    positions: int = 128,
    looks_around: bool = False,
) -> Checkpoint:
    """A checkpoint in Google's format, the same each time: normal kernels, LayerNorms that do nothing.

    Args:
        vocabulary: its tokens.
        options: how its texts are normalised.
        layers: how many.
        hidden: size of the hidden states.
        heads: how many a layer has.
        positions: most tokens it reads.
        looks_around: draw keys and queries of half of the heads with the same kernel (Trockman and Kolter
            2023, arXiv:2305.09828) and make the places' embeddings of sines (Vaswani et al. 2017,
            arXiv:1706.03762), so that a token begins by looking at its equals and knows its neighbours.
            Pre-trained attention does; to find out from nothing takes very long.
    """
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=positions,
        type_vocab_size=2,
        hidden_act="gelu_erf",
        layer_norm_eps=1e-12,
    )
    random = np.random.default_rng(SEED)
    tensors = {}
    for name, shape in neutral.shapes(config).items():
        if name.endswith("/bias"):
            tensors[name] = np.zeros(shape, np.float32)
        elif name.endswith("/scale"):
            tensors[name] = np.ones(shape, np.float32)
        else:
            tensors[name] = random.normal(0, config.initializer_range, shape).astype(np.float32)
    if looks_around:
        tensors["embeddings/word"] *= np.float32(WORDS / config.initializer_range)
        waves = np.arange(positions)[:, None] / SLOWEST ** (2 * np.arange(hidden // 2) / hidden)
        tensors["embeddings/position"] = np.float32(PLACES) * np.concatenate(
            [np.sin(waves), np.cos(waves)], axis=1, dtype=np.float32
        )
        for layer in range(layers):
            query, key = (f"layer_{layer}/attention/{role}/kernel" for role in ("query", "key"))
            tensors[query][:, : heads // 2] *= np.float32(QUERIES / config.initializer_range)
            tensors[key][:, : heads // 2] = tensors[query][:, : heads // 2]
    return Checkpoint(Path("random"), "google", config, vocabulary, options, tensors)
