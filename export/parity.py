"""Checks that the exported model gives the trained model's predictions, in a process without this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpipeline.export import checks
from tfpipeline.export.signatures import TOKENS, ServingModule, text_signatures, token_inputs
from tfpipeline.export.warmup import REQUESTS
from tfpipeline.tasks import Signature
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.trained_model import TrainedModel

PARITY_ROWS = 256
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


class Reference(NamedTuple):
    """A trained model that some rows of a request are compared with.

    Attributes:
        run: it, with its rows.
        graph: makes the graph of the model, in float32; called once.
        row_inputs: the values of ``PredictionGraph.row_inputs`` with which the served model answers as this
            one does.
        rows: the number of its held-out rows that are compared.
    """

    run: TrainedModel
    graph: Callable[[], PredictionGraph]
    row_inputs: Mapping[str, str] = MappingProxyType({})
    rows: int = PARITY_ROWS


def check_parity(
    references: Sequence[Reference], module: ServingModule, precision: str, saved_model: Path
) -> tuple[int, float]:
    """Compare all signatures' outputs in a fresh process with those of the training path.

    The rows of all references are sent together. In a precision other than float32 they are compared with
    those of the same functions in this process; their difference from the training path is measured on the
    validation rows.

    Args:
        references: the trained models; further signatures are compared with the first.
        module: the module that was written.
        precision: of the module.
        saved_model: the SavedModel that was written.
    Returns:
        The number of texts compared, and the largest difference.
    """
    run, first = references[0].run, references[0].graph()
    units, differences = text_signatures(run.task), []
    further = {name: _further_request(run, signature) for name, signature in module.further.items()}
    requests, predictions, near_ties = _asked(references, first, module)
    asked = {**requests, **further}
    answered = checks.answers_of_fresh_process(
        saved_model, asked, warmup_requests=path if (path := saved_model / REQUESTS).exists() else None
    )
    for name, got in answered.items():
        if precision != "float32":
            # All rows at once, as in the fresh process: bfloat16 products depend on the batch.
            expected: Mapping[str, np.ndarray] = _called(module.functions[name], asked[name])
        elif name in further:
            expected = _expected(module.further[name], first, further[name])
        else:
            expected = predictions[units.get(name, "code_points")]
        ties, tolerance = near_ties, checks.TOLERANCE
        if name in further:
            signature = module.further[name]
            tolerance = signature.tolerance or tolerance
            ties = signature.near_ties(first, further[name], expected, 2 * tolerance)
        plain = {key: _plain(array) for key, array in expected.items()}
        difference = checks.largest_difference(plain, got, ties, tolerance)
        if tolerance == checks.TOLERANCE:
            differences.append(difference)
    return len(near_ties), max(differences)


def _asked(
    references: Sequence[Reference], first: PredictionGraph, module: ServingModule
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]], np.ndarray]:
    """What the references are asked, together.

    Returns:
        The inputs of each signature that is none of the further ones; the references' predictions in each
        unit, padded to common widths; and the rows in which rounding may change strings and integers.
    """
    names = [name for name in module.functions if name not in module.further]
    parts: dict[str, list[Mapping[str, np.ndarray]]] = {name: [] for name in names}
    answers: dict[str, list[Mapping[str, np.ndarray]]] = {}
    ties = []
    for number, reference in enumerate(references):
        run, graph = reference.run, reference.graph() if number else first
        held_out = _held_out(run, max(reference.rows // run.task.cost, _EXPENSIVE))
        asked = {"text": [*_HOSTILE, *held_out["text"]]}
        if run.has_pairs:
            asked["text_pair"] = [*reversed(_HOSTILE), *held_out["text_pair"]]
        inputs = graph.text_inputs(asked)
        predictions, near_ties = _in_batches(graph, inputs)
        ties.append(near_ties)
        for unit in text_signatures(run.task).values():
            counted = graph.in_unit(predictions, inputs, unit)
            answers.setdefault(unit, []).append({key: tensor.numpy() for key, tensor in counted.items()})
        rows = len(asked["text"])
        more = {
            name: np.array([value.encode()] * rows, object) for name, value in reference.row_inputs.items()
        }
        texts = {name: np.array([text.encode() for text in column], object) for name, column in asked.items()}
        for name, given in _requests(module, names, texts, inputs).items():
            parts[name].append({**given, **more})
    requests = {name: _together(given) for name, given in parts.items()}
    return requests, {unit: _together(each) for unit, each in answers.items()}, np.concatenate(ties)


def _together(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays [N, ...] one after the other, padded to common widths: with "" or 0."""
    if len(parts) == 1:
        return dict(parts[0])
    joined = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        widths = [max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays))]
        value: Any = b"" if arrays[0].dtype == object else 0
        padded = []
        for array in arrays:
            room = [(0, 0), *((0, width - size) for width, size in zip(widths, array.shape[1:]))]
            padded.append(np.pad(array, room, constant_values=value))
        joined[name] = np.concatenate(padded)
    return joined


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
    module: ServingModule,
    names: Sequence[str],
    texts: Mapping[str, np.ndarray],
    inputs: Mapping[str, tf.Tensor],
) -> dict[str, dict[str, np.ndarray]]:
    """The inputs of each signature: the texts, or their tokens."""
    requests = {name: dict(texts) for name in names}
    if TOKENS in requests:
        tokens = token_inputs(inputs)
        _, specs = module.functions[TOKENS].structured_input_signature
        requests[TOKENS] = {name: tokens[name].numpy() for name in specs if name in tokens}
    return requests


def _plain(array: np.ndarray) -> np.ndarray:
    if array.dtype != object:
        return array
    texts = [text.decode("utf-8") for text in array.flat]
    return np.array(texts, object).reshape(array.shape)
