"""A checkpoint, read: what every format becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.errors import UserError
from tfpipeline.models.config import BertConfig
from tfpipeline.text import TokenizerOptions
from tfpipeline.text.vocabulary import special_ids, token_ids

if TYPE_CHECKING:
    from tfpipeline.models import BertEncoder

# How far a vocabulary may be padded: frameworks round it up for fast matrix products.
_PADDED_TO, _MOST_PADDING = 8, 128


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A BERT encoder's weights with all that is needed to use them.

    Attributes:
        source: where it was read from.
        format: the format's name.
        config: the architecture.
        vocabulary: the tokens in the order of their ids.
        tokenizer: how text becomes tokens.
        tensors: neutral name -> weights; read from the file when asked for.
        left_out: tensors of the file that are not used -> why.
        notes: what was decided where the files leave room, and why.
    """

    source: Path
    format: str
    config: BertConfig
    vocabulary: tuple[str, ...]
    tokenizer: TokenizerOptions
    tensors: Mapping[str, np.ndarray]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()

    def encoder(self, config: BertConfig | None = None) -> BertEncoder:
        """The Keras encoder with these weights.

        Args:
            config: the same architecture with other dropout rates; by default the checkpoint's own.
        """
        from tfpipeline.models import BertEncoder

        encoder = BertEncoder(config or self.config, blank=True)
        encoder.assign(self.tensors)
        return encoder

    def equals(self, other: Checkpoint) -> bool:
        """Whether both hold the same model, bit for bit."""
        return (
            (self.config, self.vocabulary, self.tokenizer)
            == (other.config, other.vocabulary, other.tokenizer)
            and self.tensors.keys() == other.tensors.keys()
            and all(np.array_equal(self.tensors[name], other.tensors[name]) for name in self.tensors)
        )


def check_vocabulary(
    vocabulary: Sequence[str], options: TokenizerOptions, config: BertConfig, where: Path
) -> list[str]:
    """Hold a vocabulary against a model; returns notes.

    Raises:
        UserError: it has more tokens than the model, or fewer than padding explains, or lacks a special token.
    """
    try:
        special_ids(token_ids(vocabulary), options)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    count, rows = len(vocabulary), config.vocab_size
    if count == rows:
        return []
    if count < rows and rows % _PADDED_TO == 0 and rows - count < _MOST_PADDING:
        return [f"the embeddings have {rows} rows for {count} tokens: padded to a multiple of {_PADDED_TO}"]
    raise UserError(
        f"{where} has {count} tokens, but the model's vocab_size is {rows}; use the vocabulary the checkpoint came with"
    )


def as_float32(array: np.ndarray, name: str, where: Path) -> np.ndarray:
    """A weight as float32, the type of all tensors here.

    Args:
        array: as the file holds it, of any float dtype, bfloat16 (which NumPy knows from ml_dtypes) included.
        name: the file's name for it.
        where: the file.
    Raises:
        UserError: it holds something else.
    """
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise UserError(f"{where}: {name} holds {array.dtype}, not floats; the file is not a BERT model's")
    return array.astype(np.float32, copy=False)


def config_from(values: Mapping[str, Any], where: Path) -> BertConfig:
    """A configuration from a format's fields, errors naming the file."""
    try:
        return BertConfig(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
