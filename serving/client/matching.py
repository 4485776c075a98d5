"""The conversations of a model that makes vectors of texts: embed, similarity and search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tfpipeline.serving.client import calls, checks, predictions
from tfpipeline.serving.client import texts as columns_of
from tfpipeline.serving.client.conversations import Sending, ask_in_batches, of_kind, of_signature
from tfpipeline.serving.client.errors import AnswerError, FailedPreconditionError, InputError
from tfpipeline.serving.client.steps import Conversation

QUERY, DOCUMENT = "query", "document"  # the second one is also the signature that embeds documents
SIMILARITY, SEARCH = "similarity", "search"  # signatures
_EMBEDDING = "embedding"


def embed(
    endpoint: calls.Endpoint, texts: Iterable[Any], prompt: str, sending: Sending
) -> Conversation[np.ndarray]:
    """Ask for the vectors of texts, float32 [N, D].

    Raises:
        AnswerError: the model predicts something else.
    """
    if prompt not in (QUERY, DOCUMENT):
        raise InputError(f"prompt is {prompt!r}; give {QUERY!r} or {DOCUMENT!r}")
    columns = columns_of.text_inputs(texts, None)
    asked = replace(endpoint, signature=DOCUMENT) if prompt == DOCUMENT else endpoint

    def vectors_of(response: Any, rows: int) -> Sequence[np.ndarray]:
        outputs = calls.predict_answer(response).outputs
        vectors = outputs.get(_EMBEDDING)
        if vectors is None or vectors.ndim != 2 or vectors.dtype.kind != "f" or len(vectors) != rows:
            raise AnswerError(
                f'{endpoint}, signature "{asked.signature}", does not answer with one vector for each text; '
                "export a run of the task similarity, or use predict()"
            )
        return list(vectors)

    try:
        vectors = yield from ask_in_batches(asked, columns, sending, vectors_of)
    except FailedPreconditionError as error:
        # A model without this signature has no prompts, or the same one for both.
        if prompt != DOCUMENT or f'"{DOCUMENT}" not found' not in error.details:
            raise
        asked = endpoint
        vectors = yield from ask_in_batches(asked, columns, sending, vectors_of)
    return np.array(vectors, np.float32) if vectors else np.zeros((0, 0), np.float32)


def similarity(
    endpoint: calls.Endpoint, texts: Iterable[Any], others: Iterable[Any], sending: Sending
) -> Conversation[np.ndarray]:
    """Ask how similar two texts are, for N pairs: float32 [N].

    Raises:
        AnswerError: the signature gives something else.
    """
    if others is None:
        raise InputError("similarity compares two lists of texts; give both")
    columns = columns_of.text_inputs(texts, others)
    asked = replace(endpoint, signature=SIMILARITY)
    answers = yield from ask_in_batches(asked, columns, sending)
    found = of_kind(answers, predictions.Similarity, of_signature(asked))
    return np.array([answer.score for answer in found], np.float32)


def search(
    endpoint: calls.Endpoint, queries: Iterable[Any], k: int, sending: Sending
) -> Conversation[list[list[predictions.Hit]]]:
    """Search for each query in the model's index.

    Raises:
        AnswerError: the signature gives something else.
    """
    checks.whole("k", k, 1, 2**31 - 1)
    columns = columns_of.text_inputs(queries, None)
    columns["k"] = np.full(len(columns["text"]), k, np.int32)
    asked = replace(endpoint, signature=SEARCH)
    answers = yield from ask_in_batches(asked, columns, sending)
    return [answer.hits for answer in of_kind(answers, predictions.SearchResult, of_signature(asked))]
