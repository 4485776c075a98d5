"""Classify, Regress and MultiInference: lists of `tf.train.Example` in, scores out.

Sources in tensorflow/serving, servables/tensorflow: classifier.cc, regressor.cc, multi_inference.cc, util.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tfpipeline._tensorflow_internals import types
from tfpipeline.serving.server.saved_model import DEFAULT_SIGNATURE
from tfpipeline.serving.server.status import invalid_argument, unimplemented

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

#: (feeds by tensor name, tensor names to fetch) -> arrays.
RunSession = Callable[[Mapping[str, np.ndarray], Sequence[str]], "list[np.ndarray]"]


def signature_of(signatures: Mapping[str, Any], name: str) -> Any:
    """The signature that Classify or Regress names.

    Raises:
        StatusError: INVALID_ARGUMENT, there is none.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise invalid_argument(f"No signature was found with the name: {name}")
    return signatures[name]


def classify_tensors(signature: Any) -> tuple[str, list[str]]:
    """Names of the input tensor and of the outputs (classes, scores) of a classification signature.

    Raises:
        StatusError: INVALID_ARGUMENT, it is not a classification signature.
    """
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    outputs = [signature.outputs[key].name for key in ("classes", "scores") if key in signature.outputs]
    if not outputs:
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )
    return signature.inputs["inputs"].name, outputs


def regress_tensors(signature: Any) -> tuple[str, list[str]]:
    """Names of the input tensor and of the output of a regression signature.

    Raises:
        StatusError: INVALID_ARGUMENT, it is not a regression signature.
    """
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signature}")
    if "outputs" not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs["inputs"].name, [signature.outputs["outputs"].name]


def serialized_examples(message: Any) -> np.ndarray:
    """The examples of an `Input`, each preceded by its context: bytes [B].

    Raises:
        StatusError: INVALID_ARGUMENT, there are no examples.
    """
    kind = message.WhichOneof("kind")
    context = b""
    if kind == "example_list_with_context":
        context = message.example_list_with_context.context.SerializeToString()
    examples = list(getattr(message, kind).examples) if kind else []
    if not examples:
        raise invalid_argument("Input is empty.")
    # Messages can be merged by concatenating their bytes: later fields are merged into earlier ones.
    return np.array([context + example.SerializeToString() for example in examples], dtype=object)


def compute(
    run: RunSession, message: Any, inputs: Iterable[str], outputs: Sequence[str]
) -> tuple[int, dict[str, np.ndarray]]:
    """Feed the examples to every input tensor; returns the number of examples and tensor name -> value."""
    examples = serialized_examples(message)
    values = run(dict.fromkeys(inputs, examples), outputs)
    return len(examples), dict(zip(outputs, values))


def write_classifications(
    signature: Any, examples: int, values: Mapping[str, np.ndarray], result: Any
) -> None:
    """Fill a `ClassificationResult`.

    Raises:
        StatusError: INVALID_ARGUMENT, the outputs are not [B, C] strings and floats.
    """
    classes, scores = (
        values.get(signature.outputs[key].name) if key in signature.outputs else None
        for key in ("classes", "scores")
    )
    for name, array, dtype in (("classes", classes, "DT_STRING"), ("scores", scores, "DT_FLOAT")):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if _dtype(array) != dtype:
            raise invalid_argument(f"Expected {name} Tensor of {dtype}. Got: {_dtype(array)}")
        if len(array) != examples:
            raise invalid_argument(f"Expected {name} output batch size of {examples}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. "
            f"{scores.shape[1]}"
        )
    width = next(array.shape[1] for array in (classes, scores) if array is not None)
    for row in range(examples):
        classifications = result.classifications.add()
        for column in range(width):
            one = classifications.classes.add()
            if classes is not None:
                one.label = classes[row, column].decode("utf-8", "replace")
            if scores is not None:
                one.score = float(scores[row, column])


def write_regressions(signature: Any, examples: int, values: Mapping[str, np.ndarray], result: Any) -> None:
    """Fill a `RegressionResult`.

    Raises:
        StatusError: INVALID_ARGUMENT, the output is not [B] or [B, 1] floats.
    """
    array = values[signature.outputs["outputs"].name]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if len(array) != examples:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {examples} vs. {len(array)}"
        )
    if _dtype(array) != "DT_FLOAT":
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    for value in array.ravel():
        result.regressions.add().value = float(value)


def check_tasks(tasks: Sequence[Any], signatures: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The input and output tensors of all tasks of a MultiInference request.

    Raises:
        StatusError: INVALID_ARGUMENT or UNIMPLEMENTED, as `TensorFlowMultiInferenceRunner::Infer` words it.
    """
    model = ""
    seen: set[str] = set()
    inputs: set[str] = set()
    outputs: set[str] = set()
    for task in tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if model and model != task.model_spec.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        model = task.model_spec.name
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if name not in signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            tensor, fetched = classify_tensors(signatures[name])
        elif task.method_name == REGRESS:
            tensor, fetched = regress_tensors(signatures[name])
        else:
            raise unimplemented(f"Unsupported signature method_name: {task.method_name}")
        inputs.add(tensor)
        outputs.update(fetched)
    return sorted(inputs), sorted(outputs)


def _dtype(array: np.ndarray) -> str:
    if array.dtype.kind == "O":
        return "DT_STRING"
    return str(types.DataType.Name(tf.as_dtype(array.dtype).as_datatype_enum))


def _shape(array: np.ndarray) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"
