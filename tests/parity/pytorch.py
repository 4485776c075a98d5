"""Hugging Face's PyTorch BERT, asked for what is compared."""

from __future__ import annotations

import numpy as np
import torch
from transformers import BertModel


def model_of(directory) -> BertModel:
    """A bare BertModel from a Hugging Face directory, ready to be asked."""
    return BertModel.from_pretrained(directory, attn_implementation="eager").eval()


def outputs_of(model: BertModel, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All hidden states, and the pooled output of those models that have a trained pooler."""
    with torch.no_grad():
        found = model(
            **{name: torch.from_numpy(value.astype(np.int64)) for name, value in inputs.items()},
            output_hidden_states=True,
        )
    states = [state.numpy() for state in found.hidden_states]
    return states if found.pooler_output is None else [*states, found.pooler_output.numpy()]


def random_model(changes: dict, seed: int) -> BertModel:
    """A tiny BertModel, weights of standard deviation 0.3 drawn by torch."""
    from transformers import BertConfig

    from tests.parity.cases import TINY_CONFIG

    torch.manual_seed(seed)
    model = BertModel(BertConfig(**{**TINY_CONFIG, **changes}, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0, 0.3)
            if name.endswith("LayerNorm.weight"):
                weight += 1
    return model


def write_vocabulary(directory, size: int) -> None:
    """A vocabulary of that many tokens, as our reader wants one."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*special, *(f"word{index}" for index in range(size - len(special)))]
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
