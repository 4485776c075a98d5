"""The served signatures: from strings, or from token ids and lengths, to finished predictions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfpipeline.export.explanations import SIGNATURE as EXPLAIN
from tfpipeline.export.explanations import Explanations
from tfpipeline.export.shape_checks import checked
from tfpipeline.models.inputs import InputLimits, of_second_text
from tfpipeline.tasks import Task
from tfpipeline.text.code_points import Unit
from tfpipeline.training.prediction_graph import PredictionGraph

DEFAULT = "serving_default"
TOKENS = "input_ids"
UNITS: tuple[Unit, ...] = ("utf8", "utf16")


class ServingModule(tf.Module):
    """Tokenizer, model and decoding in one graph.

    Signatures (B texts, T tokens; every output has the batch as its first axis, and is a string or 32-bit):
        ``serving_default``: ``text`` string [B] (pair tasks also ``text_pair`` string [B]).
        ``input_ids``: ``input_ids`` int32 [B, T] and ``lengths`` int32 [B], the number of real tokens per row
            (pair tasks also ``token_type_ids`` int32 [B, T], or, if both texts are encoded separately,
            ``text_pair_input_ids`` int32 [B, T2] and ``text_pair_lengths`` int32 [B]). Tasks that predict
            positions in a text lack this signature, since positions are known only from the text.
        ``utf8``, ``utf16``: for such a task, like ``serving_default``, but positions are counted in bytes and
            in UTF-16 code units instead of code points.
        ``explain``, if requested: like ``serving_default``, with ``label`` string [B]; see
            :class:`tfpipeline.export.explanations.Explanations`.

    Args:
        graph: the model in its serving form (``PredictionGraph.for_serving``) with its task and tokenizer.
        explanations: explains the model with the weights of ``graph``; None for a module without it.
    """

    def __init__(self, graph: PredictionGraph, explanations: Explanations | None = None) -> None:
        super().__init__(name="serving")
        text_inputs = graph.text_inputs
        self.tokenizer = text_inputs.tokenizer
        # Only the variables: tracking Keras's wrappers as well would write every weight twice.
        self.weights = list(graph.model.variables)
        texts = {name: tf.TensorSpec([None], tf.string) for name in text_inputs.names}
        ids = tf.TensorSpec([None, None], tf.int32)
        lengths = tf.TensorSpec([None], tf.int32)
        tokens = {"input_ids": ids, "lengths": lengths}
        if text_inputs.separate:
            tokens.update(text_pair_input_ids=ids, text_pair_lengths=lengths)
        elif text_inputs.pair:
            tokens["token_type_ids"] = ids

        def from_text(unit: Unit, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return graph(text_inputs(inputs), unit)

        def from_ids(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return graph(graph.from_ids(**inputs))

        signature = functools.partial(_signature, graph.model.limits)
        self.functions = {
            name: signature(functools.partial(from_text, unit), texts)
            for name, unit in text_signatures(graph.task).items()
        }
        if not graph.task.offsets:
            self.functions[TOKENS] = signature(from_ids, tokens)
        if explanations is not None:
            asked = {name: tf.TensorSpec([None], tf.string) for name in explanations.names}
            self.functions[EXPLAIN] = signature(lambda **inputs: explanations(inputs), asked)


def text_signatures(task: Task) -> dict[str, Unit]:
    """The signatures that take strings, with the unit in which they count positions in texts."""
    units: tuple[Unit, ...] = UNITS if task.offsets else ()
    return {DEFAULT: "code_points", **{unit: unit for unit in units}}


def token_inputs(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The inputs of ``input_ids`` for the tokens that a text signature makes of its texts (``TextInputs``).

    Returns:
        All inputs that the signature may have, by name, including the token types that only pairs have.
    """
    second = of_second_text(inputs)
    tokens = {**_ids(inputs), "token_type_ids": inputs["token_type_ids"]}
    return tokens | {f"text_pair_{name}": tensor for name, tensor in (_ids(second) if second else {}).items()}


def _ids(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    lengths = tf.reduce_sum(inputs["attention_mask"], axis=-1)
    return {"input_ids": inputs["input_ids"], "lengths": lengths}


def _signature(limits: InputLimits, function: Any, inputs: dict[str, tf.TensorSpec]) -> Any:
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in inputs.items()}

    def serve(**arrived: tf.Tensor) -> dict[str, tf.Tensor]:
        answers: dict[str, tf.Tensor] = function(**checked(arrived, limits))
        return answers

    # There is no Python control flow over tensors, so AutoGraph has nothing to rewrite.
    return tf.function(serve, autograph=False).get_concrete_function(**named)
