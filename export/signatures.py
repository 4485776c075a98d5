"""The served signatures: from strings, or from token ids and lengths, to finished predictions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from tfpipeline.export.shape_checks import checked
from tfpipeline.models.inputs import InputLimits, of_second_text
from tfpipeline.tasks import Input, Signature, Task
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
        A graph with ``row_inputs`` adds them to all of these, such as ``adapter`` string [B].
        Further ones that the task or the export declares, such as ``explain`` and ``search``.

    Args:
        graph: the model in its serving form (``PredictionGraph.for_serving``) with its task and tokenizer.
        further: the further signatures, by name.

    Attributes:
        functions: the traced function of each signature.
        further: the argument.
        row_inputs: those of the graph.
        cost: of a prediction; see :class:`tfpipeline.tasks.Task`.
        resources: what further signatures read besides the model.
    """

    def __init__(
        self, graph: PredictionGraph, further: Mapping[str, Signature] = MappingProxyType({})
    ) -> None:
        super().__init__(name="serving")
        self.further, self.cost, self.row_inputs = dict(further), graph.task.cost, dict(graph.row_inputs)
        self.resources = [
            made for signature in further.values() if (made := signature.resources()) is not None
        ]
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

        rows = {name: tf.TensorSpec([None], spec.dtype) for name, spec in graph.row_inputs.items()}

        def from_text(unit: Unit, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return graph(graph.from_texts(inputs), unit)

        def from_ids(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return graph(graph.from_ids(**inputs))

        signature = functools.partial(_signature, graph.model.limits)
        self.functions = {
            name: signature(functools.partial(from_text, unit), {**texts, **rows}, graph.row_inputs)
            for name, unit in text_signatures(graph.task).items()
        }
        if not graph.task.offsets:
            self.functions[TOKENS] = signature(from_ids, {**tokens, **rows}, graph.row_inputs)
        for name, declared in further.items():
            self.functions[name] = traced(declared, graph)


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


def traced(declared: Signature, graph: PredictionGraph) -> Any:
    """The function of a further signature, with checks of its inputs."""
    function = functools.partial(_call, declared, graph)
    return _signature(graph.model.limits, function, _specs(declared), declared.inputs)


def _call(declared: Signature, graph: PredictionGraph, **inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
    return declared.function(graph, inputs)


def _specs(declared: Signature) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec([None] if spec.per_row else [], spec.dtype)
        for name, spec in declared.inputs.items()
    }


def _signature(
    limits: InputLimits,
    function: Any,
    inputs: dict[str, tf.TensorSpec],
    declared: Mapping[str, Input] = MappingProxyType({}),
) -> Any:
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in inputs.items()}

    def serve(**arrived: tf.Tensor) -> dict[str, tf.Tensor]:
        answers: dict[str, tf.Tensor] = function(**checked(arrived, limits, declared))
        return answers

    # There is no Python control flow over tensors, so AutoGraph has nothing to rewrite.
    return tf.function(serve, autograph=False).get_concrete_function(**named)
