"""Embeddings of texts: one vector per text, from an encoder without its head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, get_args

import numpy as np

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.models import kernels
from tfpipeline.models.heads import Pooling, pool
from tfpipeline.models.inputs import INPUTS
from tfpipeline.models.layers import at_least_float32
from tfpipeline.text import Truncation
from tfpipeline.text.graphs import list_of_texts

if TYPE_CHECKING:
    from tfpipeline.models.text_model import TextModel

_ASK = "embed takes a list of texts"
_PIECE = 4096  # texts that are tokenized and sorted by length together


def embed(
    model: TextModel,
    texts: Sequence[str],
    text_pair: Optional[Sequence[str]] = None,
    *,
    pooling: Pooling = "mean",
    normalize: bool = False,
    max_length: Optional[int] = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Compute embeddings of texts, in order, without dropout; texts of similar length share a batch.

        model = tfpipeline.load("models/minilm")
        vectors = model.embed(["what a day", "a fine film"], normalize=True)
        print(vectors @ vectors.T)  # cosine similarities

    N texts, H hidden size.

    Args:
        model: a model with a tokenizer.
        texts: N texts.
        text_pair: N second texts, each read together with the first.
        pooling: "mean" of the last layer's states over the real tokens, including [CLS] and [SEP]; "cls", the
            state of the first token; "last", the state of the last token; "pooler", BERT's pooler.
        normalize: make each vector's length 1, so that inner products are cosine similarities.
        max_length: maximum number of tokens per text, including [CLS] and [SEP]; longer texts are truncated.
            By default as in training, or, without training, the encoder's number of positions.
        batch_size: number of texts per batch.
    Returns:
        float32 [N, H].
    Raises:
        UserError: the model has no tokenizer, or an argument is invalid.
    """
    tokenizer = _tokenizer(model)
    texts = list_of_texts(texts, "texts", _ASK)
    pairs = None if text_pair is None else list_of_texts(text_pair, "text_pair", _ASK)
    if pairs is not None and len(pairs) != len(texts):
        raise UserError(f"embed got {len(texts)} texts and {len(pairs)} in text_pair; each text needs one")
    if pooling not in get_args(Pooling):
        raise UserError(f"pooling is {pooling!r}{did_you_mean(str(pooling), get_args(Pooling))}")
    if pooling == "pooler" and "pooled_output" not in model.encoder.outputs:
        raise UserError("pooling is pooler, but the checkpoint has no pooler; choose mean, cls or last")
    if not _is_count(batch_size, 1):
        raise UserError(f"batch_size is {batch_size!r}; it must be a whole number of at least 1")
    truncation = _truncation(model, max_length, pair=pairs is not None)
    run = _compiled(model, pooling)
    vectors = np.zeros((len(texts), model.encoder.config.hidden_size), np.float32)
    for start in range(0, len(texts), _PIECE):
        piece = slice(start, start + _PIECE)
        second = None if pairs is None else pairs[piece]
        tokens = {
            name: np.asarray(array)
            for name, array in tokenizer(texts[piece], second, truncation=truncation).items()
        }
        lengths = tokens["attention_mask"].sum(axis=1)
        order = np.argsort(-lengths, kind="stable")  # the longest first: memory runs out at once or never
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            width = int(lengths[rows].max())
            vectors[start + rows] = run({name: array[rows, :width] for name, array in tokens.items()})
    if normalize:
        # A vector of zeros stays unchanged.
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return vectors


def _tokenizer(model: TextModel) -> Any:
    if model.tokenizer is None:
        raise UserError(
            "this model has no tokenizer; load it with tfpipeline.load, or give it one: TextModel(..., "
            "tokenizer=...)"
        )
    return model.tokenizer


def _is_count(value: Any, least: int) -> bool:
    """Whether a value is a whole number (also of NumPy) of at least this."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least


def _truncation(model: TextModel, max_length: Optional[int], *, pair: bool) -> Truncation:
    """How texts are truncated."""
    positions = model.encoder.config.max_position_embeddings
    if max_length is None:
        return model.truncation or Truncation(positions)
    least = _tokenizer(model).template.count(pair)
    if not _is_count(max_length, least):
        raise UserError(f"max_length is {max_length!r}; it must be a whole number of at least {least}")
    if model.windows is None and max_length > positions:
        raise UserError(f"max_length is {max_length}, but the model has only {positions} positions")
    return Truncation(int(max_length))


def _compiled(model: TextModel, pooling: Pooling) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """The graph for one pooling, made once per model."""
    # Without Keras's tracking, because it is not a part of the model.
    functions: dict[str, Any] = model.__dict__.setdefault("_embedding_functions", {})
    if pooling not in functions:
        functions[pooling] = kernels.compile_for_tokens(
            lambda inputs: _pooled(model, inputs, pooling), INPUTS
        )
    return lambda batch: np.asarray(functions[pooling](batch), np.float32)


def _pooled(model: TextModel, inputs: Any, pooling: Pooling) -> Any:
    return at_least_float32(pool(model.encode(inputs), inputs["attention_mask"], pooling))
