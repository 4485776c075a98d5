"""Reports the tensors of a checkpoint, and whether PyTorch computes the same with them."""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpipeline.checkpoints import formats
from tfpipeline.checkpoints.checkpoint import Checkpoint
from tfpipeline.checkpoints.tokenizer_parity import tokenizer_report

# Of several lengths, so that there is padding; of several scripts, so that there are unknown tokens.
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Yes",
    "On 3 March 2021 the committee's 2nd report (p. 17) said: nothing had been decided, and nothing would "
    "be!",
    "Ein kurzer Satz auf Deutsch, un peu de français, 你好，世界。",
    "",
)


def parity_report(checkpoint: Checkpoint) -> str:
    """Make a parity report: tensors with shapes and checksums, omitted tensors, decisions, and the comparison
    with transformers.

    A checksum is the start of the SHA-256 of a tensor's float32 values in this package's layout, so it is the
    same for every format.

    Raises:
        UserError: transformers' tokenizer gives different ids.
    """
    lines = [str(checkpoint)]
    tensors = [*_each(checkpoint.tensors), *_each(checkpoint.heads)]
    rows = [
        (ours, theirs, "x".join(map(str, array.shape)), _checksum(array)) for ours, theirs, array in tensors
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        lines.append("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]))
    lines += [f"left out: {name} ({why})" for name, why in checkpoint.left_out.items()]
    lines += [f"note: {note}" for note in checkpoint.notes]
    total = sum(array.size for _, _, array in tensors)
    lines.append(f"{len(rows)} tensors mapped, {len(checkpoint.left_out)} left out, {total:,} weights")
    lines.append(tokenizer_report(checkpoint))
    lines.append(_pytorch(checkpoint))
    return "\n".join(lines)


def _each(tensors: Mapping[str, np.ndarray]) -> list[tuple[str, str, np.ndarray]]:
    theirs = getattr(tensors, "theirs", {})
    return [(name, theirs.get(name, "made here"), tensors[name]) for name in tensors]


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()[:12]


def _pytorch(checkpoint: Checkpoint) -> str:
    """Compare hidden states with transformers' PyTorch encoder, if it is installed."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        return f"hidden states not compared with PyTorch's: {' and '.join(missing)} not installed"
    from tfpipeline.text import WordPieceTokenizer

    tokenizer = WordPieceTokenizer(checkpoint.vocabulary, checkpoint.tokenizer)
    tokens = tokenizer(list(TEXTS), max_length=min(128, checkpoint.config.max_position_embeddings))
    inputs = {name: tensor.numpy() for name, tensor in tokens.items()}
    ours = [np.asarray(state) for state in checkpoint.encoder().hidden_states(inputs)]
    # Their own reading of it where they can read it, else of what we write: then only the encoders are
    # compared.
    if checkpoint.format == "huggingface":
        theirs, what = _ask_pytorch(checkpoint.source, inputs), "its own reading of these files"
    else:
        with tempfile.TemporaryDirectory() as directory:
            formats.find("huggingface").write(checkpoint, Path(directory))
            theirs, what = _ask_pytorch(Path(directory), inputs), "a copy of these weights"
    real = inputs["attention_mask"][..., None].astype(bool)
    worst = max(np.abs(np.where(real, a - b, 0)).max() for a, b in zip(ours, theirs))
    return (
        f"the {len(ours)} hidden states of {len(TEXTS)} texts differ by at most {worst:.1e} from PyTorch's, "
        f"by {what}"
    )


def _ask_pytorch(directory: Path, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    import torch
    from transformers import BertModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # of heads that BertModel does not use
    options: dict[str, Any] = {"attn_implementation": "eager", "add_pooling_layer": False}
    model = BertModel.from_pretrained(directory, **options).float().eval()
    with torch.no_grad():
        outputs = model(
            **{name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()},
            output_hidden_states=True,
        )
    return [state.numpy() for state in outputs.hidden_states]
