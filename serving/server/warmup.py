"""Warm-up requests: replayed when a version is loaded, before it becomes AVAILABLE.

If a request fails, the load fails, as in TensorFlow Serving: the version ends with the error, and the
previous one continues to serve.

Source: tensorflow/serving, servables/tensorflow/{saved_model_warmup,saved_model_warmup_util}.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from tfpipeline.serving.server import inference
from tfpipeline.serving.server.predict import find_signature, read_request
from tfpipeline.serving.server.saved_model import DEFAULT_SIGNATURE, SavedModel
from tfpipeline.serving.server.status import StatusError, from_number, invalid_argument, unimplemented

#: In a version directory.
REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"
_MOST = 1000


def load_warm(path: Path, stopping: Callable[[], bool] = lambda: False) -> SavedModel:
    """A SavedModel that has answered its warm-up requests, if it has any.

    Args:
        path: the version directory.
        stopping: whether the server is about to stop; remaining requests are then skipped.
    Raises:
        StatusError: it cannot be loaded, or a request fails.
    """
    model = SavedModel(path)
    try:
        replay(model, path / REQUESTS, stopping)
    except BaseException:
        model.close()
        raise
    return model


def replay(model: Any, path: Path, stopping: Callable[[], bool] = lambda: False) -> int:
    """Run all warm-up requests of a file on a model, in order.

    Returns:
        The number of requests; 0 if there is no file.
    Raises:
        StatusError: the file cannot be read, has more requests than TensorFlow Serving accepts, or a request
            fails.
    """
    if not path.exists():
        return 0
    number = 0
    for number, log in enumerate(read_logs(path), 1):
        if stopping():
            break
        try:
            _ask(model, log)
        except StatusError as error:
            raise StatusError(error.code, f"warm-up request {number} fails: {error.message}") from error
        if number > _MOST:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MOST}) at {path}")
    return number


def read_logs(path: Path) -> Iterator[Any]:
    """The requests of a file, each a `PredictionLog`.

    Raises:
        StatusError: the file cannot be read.
    """
    records = iter(tf.data.TFRecordDataset(str(path)))
    while True:
        try:
            record = next(records, None)
        except tf.errors.OpError as error:
            advice = ". Please verify your warmup data is in TFRecord format."
            raise from_number(error.error_code, f"{error.message}{advice}") from error
        if record is None:
            return
        try:
            yield prediction_log_pb2.PredictionLog.FromString(record.numpy())
        except DecodeError as error:
            raise invalid_argument(f"Failed to parse warmup record from {path}") from error


def _ask(model: Any, log: Any) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        _, signature = find_signature(model.signatures, request.model_spec.signature_name)
        question = read_request(request, signature)
        feeds = {signature.inputs[alias].name: array for alias, array in question.inputs.items()}
        model.run(feeds, [signature.outputs[alias].name for alias in question.outputs])
    elif kind in ("classify_log", "regress_log"):
        tensors = inference.classify_tensors if kind == "classify_log" else inference.regress_tensors
        request = getattr(log, kind).request
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        tensor, outputs = tensors(inference.signature_of(model.signatures, name))
        inference.compute(model.run, request.input, [tensor], outputs)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        inputs, outputs = inference.check_tasks(request.tasks, model.signatures)
        inference.compute(model.run, request.input, inputs, outputs)
    elif kind is not None:
        raise unimplemented(f"Unsupported log_type for warmup: {kind}")
