"""Larger models from a checkpoint: more positions, more tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfpipeline import paths
from tfpipeline.checkpoints.checkpoint import PADDED_TO, Checkpoint
from tfpipeline.checkpoints.table import Replaced
from tfpipeline.errors import UserError
from tfpipeline.models import neutral


def read_tokens(path: str | Path) -> tuple[str, ...]:
    """Read new tokens from a file, one per line; empty lines are ignored.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return tuple(line for line in paths.local(path).read_text("utf-8").splitlines() if line)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8; save it as such") from error


def extend(checkpoint: Checkpoint, *, positions: int | None = None, tokens: Sequence[str] = ()) -> Checkpoint:
    """Add positions to a checkpoint, or tokens to its vocabulary; existing weights stay unchanged.

    Args:
        checkpoint: the checkpoint to extend.
        positions: the new total number of positions. New positions repeat the old ones from the first
            (Beltagy et al. 2020, arXiv:2004.05150, section 5): fine-tune on long texts before using them.
        tokens: new words, or pieces of words (``##x``), or special tokens in brackets (``[ENTITY]``). A new
            token's embedding is the mean of the embeddings of the pieces that it was split into before.
    Raises:
        UserError: fewer positions than before, or a token that already exists or that the tokenizer would
            never produce.
    """
    if positions is not None:
        checkpoint = _with_positions(checkpoint, positions)
    return _with_tokens(checkpoint, tokens) if tokens else checkpoint


def _with_positions(checkpoint: Checkpoint, positions: int) -> Checkpoint:
    there = checkpoint.config.max_position_embeddings
    if positions < there:
        raise UserError(f"{checkpoint.source} has {there} positions already; ask for more than that")
    changes = {
        name: checkpoint.tensors[name][np.arange(positions) % there]
        for name, axes in checkpoint.config.tensors().items()
        if axes.split()[0] == "P"
    }
    return dataclasses.replace(
        checkpoint,
        config=checkpoint.config.replace(max_position_embeddings=positions),
        tensors=Replaced(checkpoint.tensors, changes),
        notes=[*checkpoint.notes, f"{positions} positions: those from {there} on repeat the first ones"],
    )


def _with_tokens(checkpoint: Checkpoint, tokens: Sequence[str]) -> Checkpoint:
    from tfpipeline.text import WordPieceTokenizer

    before = checkpoint.vocabulary
    for token in tokens:
        if not token.strip() or token != token.strip() or len(token.split()) > 1:
            raise UserError(f"the new token {token!r} is empty or holds white space; give one word per token")
        if token in before:
            raise UserError(f'the new token "{token}" is in the vocabulary already; leave it out')
    if len(set(tokens)) < len(tokens):
        raise UserError("a new token is given twice; leave one out")
    vocabulary = (*before, *tokens)
    special = tuple(token for token in tokens if token[0] == "[" and token[-1] == "]")
    options = dataclasses.replace(
        checkpoint.tokenizer, special_tokens=(*checkpoint.tokenizer.special_tokens, *special)
    )
    old = WordPieceTokenizer(before, checkpoint.tokenizer)
    words = [token.removeprefix("##") for token in tokens]
    pieces = old.tokenize(words).to_list()
    whole = WordPieceTokenizer(vocabulary, options).tokenize(tokens).to_list()
    for number, token in enumerate(tokens, len(before)):
        if not token.startswith("##") and whole[number - len(before)] != [number]:
            raise UserError(
                f'the tokenizer would never give the new token "{token}": it lower-cases or cuts it first; '
                f"write it as the tokenizer leaves it, or in brackets as a special token"
            )

    rows = max(checkpoint.config.vocab_size, len(vocabulary))
    if checkpoint.config.vocab_size > len(before):
        rows = -(-rows // PADDED_TO) * PADDED_TO
    axes = neutral.templates(checkpoint.config, checkpoint.head_names)

    def appended(tensors: Mapping[str, np.ndarray]) -> Replaced:
        """The tensors, those with a row for each token longer."""
        named = [name for name in tensors if axes.get(name, "").split()[:1] == ["V"]]
        return Replaced(
            tensors, {name: _appended(tensors[name], len(before), rows, pieces) for name in named}
        )

    return dataclasses.replace(
        checkpoint,
        config=checkpoint.config.replace(vocab_size=rows),
        vocabulary=vocabulary,
        tokenizer=options,
        own_tokenizer=False,
        tensors=appended(checkpoint.tensors),
        heads=appended(checkpoint.heads),
        notes=[*checkpoint.notes, f"{len(tokens)} new tokens: each begins as the mean of its former pieces"],
    )


def _appended(old: np.ndarray, count: int, rows: int, pieces: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of ``count`` tokens, then a mean a new token, then zeros up to ``rows``."""
    new = np.zeros((rows, *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    for row, ids in enumerate(pieces, count):
        new[row] = old[np.asarray(ids)].mean(0, dtype=np.float64) if len(ids) else 0
    return new
