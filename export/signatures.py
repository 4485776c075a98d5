"""What is served: signatures from strings, or from token ids and lengths, to finished answers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfpipeline.models.inputs import encoder_inputs
from tfpipeline.tasks import Task
from tfpipeline.text import Truncation, WordPieceTokenizer
from tfpipeline.text.code_points import CodePoints, Unit

DEFAULT = "serving_default"
TOKENS = "input_ids"
UNITS: tuple[Unit, ...] = ("utf8", "utf16")


class ServingModule(tf.Module):
    """Tokenizer, model and decoding in one graph.

    Signatures (B texts, T tokens; every output has the batch first and is a string or 32-bit):
        ``serving_default``: ``text`` string [B] (pair tasks also ``text_pair`` string [B]).
        ``input_ids``: ``input_ids`` int32 [B, T] and ``lengths`` int32 [B], the real tokens of each row (pair
            tasks also ``token_type_ids`` int32 [B, T]). The mask is built inside, because a server that pads
            a mask pads it with its first element, which is 1. A task that answers with places in a text has none:
            these are known from the text alone.
        ``utf8``, ``utf16``: of such a task, as ``serving_default``, but places are counted in bytes and in UTF-16 code
            units, not in code points.

    Args:
        model: the trained model.
        task: decodes its outputs.
        tokenizer: the tokenizer it was trained with.
        truncation: what becomes of long texts.
        pair: whether the task reads two texts.
    """

    def __init__(
        self,
        model: keras.Model,
        task: Task,
        tokenizer: WordPieceTokenizer,
        *,
        truncation: Truncation,
        pair: bool,
    ) -> None:
        super().__init__(name="serving")
        self.tokenizer = tokenizer
        # The variables alone: tracking Keras's wrappers as well would write every weight twice.
        self.weights = [variable.value for variable in model.weights]
        strings = tf.TensorSpec([None], tf.string)
        ids = tf.TensorSpec([None, None], tf.int32)
        texts = {"text": strings, **({"text_pair": strings} if pair else {})}
        tokens = {
            "input_ids": ids,
            "lengths": tf.TensorSpec([None], tf.int32),
            **({"token_type_ids": ids} if pair else {}),
        }

        def from_text(unit: Unit, **inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            encoded = tokenizer(
                inputs["text"], inputs.get("text_pair"), truncation=truncation, offsets=bool(task.offsets)
            )
            outputs = model(encoder_inputs(encoded), training=False)
            return in_unit(task, unit, task.predictions(outputs, {**encoded, **inputs}), inputs)

        def from_tokens(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            input_ids = inputs["input_ids"]
            mask = tf.sequence_mask(inputs["lengths"], tf.shape(input_ids)[1], tf.int32)
            types = inputs.get("token_type_ids", tf.zeros_like(input_ids))
            encoded = {"input_ids": input_ids, "token_type_ids": types, "attention_mask": mask}
            return task.predictions(model(encoded, training=False), encoded)

        self.functions = {
            name: _signature(functools.partial(from_text, unit), texts)
            for name, unit in text_signatures(task).items()
        }
        if not task.offsets:
            self.functions[TOKENS] = _signature(from_tokens, tokens)


def text_signatures(task: Task) -> dict[str, Unit]:
    """The signatures that take strings, and in which unit they count places in texts."""
    units: tuple[Unit, ...] = UNITS if task.offsets else ()
    return {DEFAULT: "code_points", **{unit: unit for unit in units}}


def in_unit(
    task: Task, unit: Unit, answers: dict[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Answers with their places in texts in a unit.

    Args:
        task: says which of the answers are places.
        unit: of the result.
        answers: places count code points.
        inputs: ``text`` string [B], perhaps ``text_pair``.
    """
    if not task.offsets or unit == "code_points":
        return answers
    texts = {name: CodePoints(inputs[name]) for name in set(task.offsets.values())}
    return {
        name: texts[task.offsets[name]].convert(tensor, unit) if name in task.offsets else tensor
        for name, tensor in answers.items()
    }


def _signature(function: Any, inputs: dict[str, tf.TensorSpec]) -> Any:
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in inputs.items()}
    # Nothing in here is Python control flow over tensors, so there is nothing for AutoGraph to rewrite.
    return tf.function(function, autograph=False).get_concrete_function(**named)
