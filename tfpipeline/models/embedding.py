"""Embeddings of texts: one vector per text, from an encoder without its head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, get_args

import numpy as np

from tfpipeline.errors import UserError, did_you_mean
from tfpipeline.models import kernels
from tfpipeline.models.embedding_head import EmbeddingHead
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
    pooling: Optional[Pooling] = None,
    normalize: Optional[bool] = None,
    prompt: Optional[str] = None,
    max_length: Optional[int] = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Compute embeddings of texts, in order, without dropout; texts of similar length share a batch.

        model = tfpipeline.load("models/minilm")
        vectors = model.embed(["what a day", "a fine film"], normalize=True)
        print(vectors @ vectors.T)  # cosine similarities

    A model of the task ``similarity``, or of a checkpoint of sentence-transformers, has vectors of its own:
    its pooling, size and length are used unless an argument says otherwise, and its prompts are put before
    texts.

    N texts, H hidden size, D = H, or the size of the model's own vectors.

    Args:
        model: a model with a tokenizer.
        texts: N texts.
        text_pair: N second texts, each read together with the first.
        pooling: "mean" of the last layer's states over the real tokens, including [CLS] and [SEP]; "cls", the
            state of the first token; "last", the state of the last token; "pooler", BERT's pooler. By default
            the model's own vectors, or the mean. With a pooling given, no prompt is put before texts.
        normalize: make each vector's length 1, so that inner products are cosine similarities; by default as
            the model's own vectors are, otherwise not.
        prompt: the kind of the texts, whose prompt is put before them: "query" (the default) or "document".
        max_length: maximum number of tokens per text, including [CLS] and [SEP]; longer texts are truncated.
            By default as in training, or, without training, the encoder's number of positions.
        batch_size: number of texts per batch.
    Returns:
        float32 [N, D].
    Raises:
        UserError: the model has no tokenizer, or an argument is invalid.
    """
    tokenizer = _tokenizer(model)
    texts = list_of_texts(texts, "texts", _ASK)
    pairs = None if text_pair is None else list_of_texts(text_pair, "text_pair", _ASK)
    if pairs is not None and len(pairs) != len(texts):
        raise UserError(f"embed got {len(texts)} texts and {len(pairs)} in text_pair; each text needs one")
    own = _own_head(model) if pooling is None else None
    if prompt is not None:
        _check_prompt(own, prompt)
    if pooling is None and own is None:
        pooling = "mean"
    if own is not None:
        before = own.prompts.get(prompt or "query", "")
        texts, pairs = _after(before, texts), pairs and _after(before, pairs)
        normalize = own.normalize if normalize is None else normalize
    elif pooling not in get_args(Pooling):
        raise UserError(f"pooling is {pooling!r}{did_you_mean(str(pooling), get_args(Pooling))}")
    if pooling == "pooler" and "pooled_output" not in model.encoder.outputs:
        raise UserError("pooling is pooler, but the checkpoint has no pooler; choose mean, cls or last")
    if not _is_count(batch_size, 1):
        raise UserError(f"batch_size is {batch_size!r}; it must be a whole number of at least 1")
    truncation = _truncation(model, max_length, pair=pairs is not None)
    run = _compiled(model, pooling)
    size = model.encoder.config.hidden_size if own is None else own.size or model.encoder.config.hidden_size
    vectors = np.zeros((len(texts), size), np.float32)
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


def _own_head(model: TextModel) -> Any:
    """The head that makes the model's own vectors; None if it has none."""
    return model.head if isinstance(model.head, EmbeddingHead) else None


def _check_prompt(head: Any, prompt: str) -> None:
    if head is None:
        raise UserError(
            f"prompt is {prompt!r}, but only a model of the task similarity has prompts, and only for its "
            "own pooling"
        )
    if prompt not in head.prompts:
        raise UserError(f"prompt is {prompt!r}{did_you_mean(str(prompt), head.prompts)}")


def _after(prompt: str, texts: list[Any]) -> list[Any]:
    """Texts with a prompt before each."""
    return [prompt.encode() + text if isinstance(text, bytes) else prompt + text for text in texts]


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


def _compiled(model: TextModel, pooling: Optional[Pooling]) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """The graph for one pooling, or for the model's own vectors, made once per model."""
    # Without Keras's tracking, because it is not a part of the model.
    functions: dict[Optional[str], Any] = model.__dict__.setdefault("_embedding_functions", {})
    if pooling not in functions:
        functions[pooling] = kernels.compile_for_tokens(
            lambda inputs: _pooled(model, inputs, pooling), INPUTS
        )
    return lambda batch: np.asarray(functions[pooling](batch), np.float32)


def _pooled(model: TextModel, inputs: Any, pooling: Optional[Pooling]) -> Any:
    if pooling is None:
        return at_least_float32(model(inputs)["embedding"])
    return at_least_float32(pool(model.encode(inputs), inputs["attention_mask"], pooling))
