"""Checks that the exported model gives the trained model's predictions, in a process without this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.export import checks
from tfpipeline.export.explanations import LABEL, SIGNATURE, Explanations
from tfpipeline.export.signatures import TOKENS, ServingModule, text_signatures, token_inputs
from tfpipeline.export.warmup import REQUESTS
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.trained_model import TrainedModel

_PARITY_ROWS = 256
_BATCH_ROWS = 4
_EXPLAINED = 4
_EXPLAINED_TOLERANCE = 1e-4  # for sums of gradients
# In addition to the run's own held-out rows: texts that real traffic also has.
_HOSTILE = (
    "",
    "   ",
    "a" * 5000,
    "a long text, " * 500,
    "😀 e\u0301 ﬁ 你好",
    "[MASK] [SEP] x",
    "\u0000\u200b\ufffd",
    # Tasks that find something in texts find it here, after characters of several bytes and of two UTF-16
    # code units.
    "😀 Ángela Merkel met Barack Obama in Zürich on 3 May 2010, and in 北京.",
)


def check_parity(
    run: TrainedModel,
    module: ServingModule,
    graph: PredictionGraph,
    explanations: Explanations | None,
    precision: str,
    saved_model: Path,
) -> tuple[int, float]:
    """Compare all signatures' outputs in a fresh process with those of the training path.

    In a precision other than float32 they are compared with those of the same functions in this process;
    their difference from the training path is measured on the validation rows.

    Args:
        run: the run.
        module: the module that was written.
        graph: the trained model.
        explanations: those that were written, if the module has the signature ``explain``.
        precision: of the module.
        saved_model: the SavedModel that was written.
    Returns:
        The number of texts compared, and the largest difference.
    """
    held_out = _held_out(run, _PARITY_ROWS)
    texts = [*_HOSTILE, *held_out["text"]]
    pairs: Sequence[str] | None = None
    if run.has_pairs:
        pairs = [*reversed(_HOSTILE), *held_out["text_pair"]]
    asked = {"text": texts, **({"text_pair": pairs} if pairs is not None else {})}
    inputs = graph.text_inputs(asked)
    predictions = _in_batches(graph, inputs)
    arrays = {name: tensor.numpy() for name, tensor in predictions.items()}
    near_ties = graph.near_ties(arrays, 2 * checks.TOLERANCE)
    units, differences = text_signatures(run.task), []
    requests = _requests(module, asked, inputs)
    if explanations is not None:
        requests[SIGNATURE] = _explanation_request(run)
    answered = checks.answers_of_fresh_process(
        saved_model, requests, warmup_requests=path if (path := saved_model / REQUESTS).exists() else None
    )
    if explanations is not None:
        if precision == "float32":
            explanations = Explanations(graph, explanations.steps)
        _check_explanations(explanations, requests[SIGNATURE], answered.pop(SIGNATURE))
    for signature, got in answered.items():
        if precision == "float32":
            counted = graph.in_unit(predictions, inputs, units.get(signature, "code_points"))
        else:
            # All rows at once, as in the fresh process: bfloat16 products depend on the batch.
            counted = module.functions[signature](
                **{name: tf.constant(value) for name, value in requests[signature].items()}
            )
        expected = {name: _plain(tensor.numpy()) for name, tensor in counted.items()}
        differences.append(checks.largest_difference(expected, got, near_ties))
    return len(texts), max(differences)


def _explanation_request(run: TrainedModel) -> dict[str, list[str]]:
    """Inputs of the signature ``explain``: few texts, because each costs about a hundred predictions."""
    held_out = _held_out(run, _EXPLAINED)
    texts = ["", _HOSTILE[-1], *held_out["text"]]
    pairs = {"text_pair": ["", _HOSTILE[-1], *held_out["text_pair"]]} if run.has_pairs else {}
    return {"text": texts, **pairs, LABEL: [""] * len(texts)}


def _check_explanations(
    explanations: Explanations, asked: Mapping[str, Sequence[str]], there: Mapping[str, np.ndarray]
) -> None:
    """Compare explanations of a fresh process with those of this process.

    Raises:
        checks.ExportError: they differ.
    """
    inputs = {name: tf.constant(values) for name, values in asked.items()}
    here = tf.function(explanations, autograph=False)(inputs)
    expected = {name: _plain(tensor.numpy()) for name, tensor in here.items()}
    checks.largest_difference(expected, there, tolerance=_EXPLAINED_TOLERANCE)


def _held_out(run: TrainedModel, count: int) -> dict[str, list[str]]:
    """The texts of some rows that were not used for training."""
    examples = [
        example
        for split in ("test", "validation")
        if run.has_split(split)
        for example in run.examples(split)[:count]
    ][:count]
    return {
        "text": [example.text for example in examples],
        "text_pair": [example.text_pair or "" for example in examples],
    }


def _in_batches(graph: PredictionGraph, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Predictions for all rows, a few at a time: four of 512 tokens take BERT-base 0.8 times its weights."""
    count = len(inputs["input_ids"])
    parts = [
        graph({name: tensor[start : start + _BATCH_ROWS] for name, tensor in inputs.items()})
        for start in range(0, count, _BATCH_ROWS)
    ]
    return {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}


def _requests(
    module: ServingModule, texts: Mapping[str, Sequence[str]], inputs: Mapping[str, tf.Tensor]
) -> dict[str, Any]:
    """The inputs of each signature: the texts, or their tokens."""
    requests: dict[str, Any] = dict.fromkeys(module.functions, texts)
    if TOKENS in requests:
        tokens = token_inputs(inputs)
        _, specs = module.functions[TOKENS].structured_input_signature
        requests[TOKENS] = {name: tokens[name].numpy() for name in specs}
    return requests


def _plain(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    texts = [text.decode("utf-8") for text in array.flat]
    return np.array(texts, object).reshape(array.shape)
