"""Checks that the exported model gives the trained model's predictions, in a process without this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.export import checks
from tfpipeline.export.signatures import TOKENS, ServingModule, text_signatures, token_inputs
from tfpipeline.export.warmup import REQUESTS
from tfpipeline.tasks import Signature
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.trained_model import TrainedModel

_PARITY_ROWS = 256
_BATCH_ROWS = 4
_FURTHER, _EXPENSIVE = 64, 4  # rows of a further signature, and of one that costs much
# In addition to the run's own held-out rows: texts that real traffic also has.
_HOSTILE = (
    "",
    "   ",
    "a" * 5000,
    "a long text, " * 500,
    "😀 e\u0301 ﬁ 你好",
    "[MASK] [SEP] x",
    "The [MASK] met 北[MASK] in [MASK], and it was [MASK].",  # read by models that fill in masks
    "\u0000\u200b\ufffd",
    # Tasks that find something in texts find it here, after characters of several bytes and of two UTF-16
    # code units.
    "😀 Ángela Merkel met Barack Obama in Zürich on 3 May 2010, and in 北京.",
)


def check_parity(
    run: TrainedModel, module: ServingModule, graph: PredictionGraph, precision: str, saved_model: Path
) -> tuple[int, float]:
    """Compare all signatures' outputs in a fresh process with those of the training path.

    In a precision other than float32 they are compared with those of the same functions in this process;
    their difference from the training path is measured on the validation rows.

    Args:
        run: the run.
        module: the module that was written.
        graph: the trained model.
        precision: of the module.
        saved_model: the SavedModel that was written.
    Returns:
        The number of texts compared, and the largest difference.
    """
    held_out = _held_out(run, max(_PARITY_ROWS // run.task.cost, _EXPENSIVE))
    texts = [*_HOSTILE, *held_out["text"]]
    asked = {"text": texts}
    if run.has_pairs:
        asked["text_pair"] = [*reversed(_HOSTILE), *held_out["text_pair"]]
    inputs = graph.text_inputs(asked)
    predictions, near_ties = _in_batches(graph, inputs)
    units, differences = text_signatures(run.task), []
    further = {name: _further_request(run, signature) for name, signature in module.further.items()}
    requests = {**_requests(module, asked, inputs), **further}
    answered = checks.answers_of_fresh_process(
        saved_model, requests, warmup_requests=path if (path := saved_model / REQUESTS).exists() else None
    )
    for name, got in answered.items():
        if precision != "float32":
            # All rows at once, as in the fresh process: bfloat16 products depend on the batch.
            expected: Mapping[str, np.ndarray] = _called(module.functions[name], requests[name])
        elif name in further:
            expected = _expected(module.further[name], graph, further[name])
        else:
            counted = graph.in_unit(predictions, inputs, units.get(name, "code_points"))
            expected = {key: tensor.numpy() for key, tensor in counted.items()}
        ties, tolerance = near_ties, checks.TOLERANCE
        if name in further:
            signature = module.further[name]
            tolerance = signature.tolerance or tolerance
            ties = signature.near_ties(graph, further[name], expected, 2 * tolerance)
        plain = {key: _plain(array) for key, array in expected.items()}
        difference = checks.largest_difference(plain, got, ties, tolerance)
        if tolerance == checks.TOLERANCE:
            differences.append(difference)
    return len(texts), max(differences)


def _further_request(run: TrainedModel, signature: Signature) -> dict[str, np.ndarray]:
    """The inputs of a further signature: few texts if it costs much."""
    expensive = signature.cost > 1
    held_out = _held_out(run, _EXPENSIVE if expensive else _FURTHER)
    hostile = ("", _HOSTILE[-1]) if expensive else _HOSTILE
    first = [*hostile, *held_out["text"]]
    texts = {"text": first, "text_pair": [*hostile, *held_out["text_pair"]]}
    if len(signature.inputs.keys() & texts.keys()) == 2:
        # What has no second texts of its own is compared with other first ones.
        others = [second or first[-1 - row] for row, second in enumerate(texts["text_pair"])]
        texts["text_pair"] = [*reversed(hostile), *others[len(hostile) :]]
    return {
        name: np.array([text.encode() for text in texts[name]], object)
        if name in texts
        else spec.example(len(first))
        for name, spec in signature.inputs.items()
    }


def _expected(
    signature: Signature, graph: PredictionGraph, asked: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """The outputs of a further signature, from the trained model."""
    if signature.expected is not None:
        return signature.expected(graph, asked)
    specs = {
        name: tf.TensorSpec([None] if spec.per_row else [], spec.dtype)
        for name, spec in signature.inputs.items()
    }

    def function(inputs: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        return signature.function(graph, inputs)

    traced = tf.function(function, input_signature=[specs], autograph=False)
    rows = max(len(value) for value in asked.values() if value.ndim)
    parts = []
    for start in range(0, rows, _BATCH_ROWS):
        part = slice(start, start + _BATCH_ROWS)
        batch = {name: value[part] if value.ndim else value for name, value in asked.items()}
        parts.append(traced({name: tf.constant(value, specs[name].dtype) for name, value in batch.items()}))
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def _called(function: Any, asked: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The outputs of a served function in this process."""
    _, specs = function.structured_input_signature
    inputs = {name: tf.constant(value, specs[name].dtype) for name, value in asked.items()}
    return {name: tensor.numpy() for name, tensor in function(**inputs).items()}


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


def _in_batches(
    graph: PredictionGraph, inputs: Mapping[str, tf.Tensor]
) -> tuple[dict[str, tf.Tensor], np.ndarray]:
    """Predictions for all rows, and in which of them rounding may change strings and integers, bool [N].

    A few rows at a time: four of 512 tokens take BERT-base 0.8 times its weights.
    """
    tolerance = 2 * checks.TOLERANCE

    specs = {name: tf.TensorSpec([None] * len(tensor.shape), tensor.dtype) for name, tensor in inputs.items()}
    traced = tf.function(
        lambda batch: graph.with_near_ties(batch, tolerance), input_signature=[specs], autograph=False
    )
    parts = []
    for start in range(0, len(inputs["input_ids"]), _BATCH_ROWS):
        parts.append(traced({name: tensor[start : start + _BATCH_ROWS] for name, tensor in inputs.items()}))
    names = parts[0][0]
    predictions = {name: tf.concat([part[name] for part, _ in parts], axis=0) for name in names}
    ties = np.concatenate([of_part.numpy() for _, of_part in parts])
    arrays = {name: tensor.numpy() for name, tensor in predictions.items()}
    return predictions, ties | graph.near_ties(arrays, tolerance)


def _requests(
    module: ServingModule, texts: Mapping[str, Sequence[str]], inputs: Mapping[str, tf.Tensor]
) -> dict[str, Any]:
    """The inputs of each signature: the texts, or their tokens."""
    requests: dict[str, Any] = {name: texts for name in module.functions if name not in module.further}
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
