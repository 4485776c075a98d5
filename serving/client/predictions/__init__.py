"""Served answers, row by row, as typed predictions: one module per kind.

An answer is a dict of named arrays, the batch dimension first. The names, ranks and dtypes of the arrays
determine the kind of prediction. Outputs called ``HEAD/NAME`` are the answers of a model of several tasks.
All other answers are :class:`NamedOutputs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np

from tfpipeline.serving.client.errors import AnswerError
from tfpipeline.serving.client.predictions.base import Output, Prediction, Span, kinds
from tfpipeline.serving.client.predictions.classification import Classification
from tfpipeline.serving.client.predictions.embedding import Embedding
from tfpipeline.serving.client.predictions.explanation import Explanation, WordScore
from tfpipeline.serving.client.predictions.fill_mask import FillMask, Mask, TokenScore
from tfpipeline.serving.client.predictions.generation import Candidate, Generation
from tfpipeline.serving.client.predictions.multilabel import MultiLabel
from tfpipeline.serving.client.predictions.multitask import Multitask
from tfpipeline.serving.client.predictions.named_outputs import NamedOutputs
from tfpipeline.serving.client.predictions.question_answering import QuestionAnswering
from tfpipeline.serving.client.predictions.regression import Regression
from tfpipeline.serving.client.predictions.search import Hit, SearchResult
from tfpipeline.serving.client.predictions.similarity import Similarity
from tfpipeline.serving.client.predictions.tagging import Entity, Tagging

__all__ = [
    "Candidate",
    "Classification",
    "Embedding",
    "Entity",
    "Explanation",
    "FillMask",
    "Generation",
    "Hit",
    "Mask",
    "MultiLabel",
    "Multitask",
    "NamedOutputs",
    "Output",
    "Prediction",
    "QuestionAnswering",
    "Regression",
    "SearchResult",
    "Similarity",
    "Span",
    "Tagging",
    "TokenScore",
    "WordScore",
]


def decode(outputs: Mapping[str, np.ndarray], rows: Optional[int] = None) -> list[Prediction]:
    """One prediction per row.

    Args:
        outputs: name -> array [B, ...]; strings are object arrays of bytes or str.
        rows: how many texts were sent; not checked if None.
    Raises:
        AnswerError: the arrays have no common batch dimension, it is not ``rows``, or a known kind of answer
            contradicts itself.
    """
    arrays = {name: np.asarray(array) for name, array in outputs.items()}
    lengths = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    known = set(lengths.values())
    if not arrays or None in known or len(known) > 1 or (rows is not None and known != {rows}):
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items()))
        wanted = "a row for each text" if rows is None else f"{rows} rows, one for each text"
        raise AnswerError(
            f"the answer does not have {wanted} ({shapes or 'it is empty'}); use predict_raw() for this "
            f"signature"
        )
    return list(_decode(arrays))


def _decode(arrays: Mapping[str, np.ndarray]) -> Sequence[Prediction]:
    """One prediction per row; the arrays have a common batch dimension."""
    for kind in kinds():
        if kind.fits(arrays):
            return kind.from_arrays(arrays)
    if all("/" in name for name in arrays):
        return _decode_heads(arrays)
    return NamedOutputs.from_arrays(arrays)


def _decode_heads(arrays: Mapping[str, np.ndarray]) -> list[Multitask]:
    heads: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        head, _, own = name.partition("/")
        heads.setdefault(head, {})[own] = array
    answers = {head: _decode(own) for head, own in sorted(heads.items())}
    return [Multitask(dict(zip(answers, row))) for row in zip(*answers.values())]
