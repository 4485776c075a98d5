"""Maps the paths of TensorFlow Serving's REST API to requests to the services.

Sources in tensorflow/serving, model_servers: http_rest_api_handler.cc, http_rest_api_util.cc, http_server.cc.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Optional
from urllib.parse import unquote_to_bytes

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

from tfpipeline.serving.server.rest import requests, responses
from tfpipeline.serving.server.services import LocalCall, ModelService, PredictionService
from tfpipeline.serving.server.status import StatusError, failed_precondition, invalid_argument

_PREDICTION = re.compile(
    r"/v1/models/([^/:]+)(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
_MODEL = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:(?:/versions/(\d+))|(?:/labels/([^/:]+)))?(?:/(metadata))?",
    re.IGNORECASE | re.ASCII,
)
_ANY = re.compile(r"/v1/.*", re.IGNORECASE)
_METHODS = ("predict", "classify", "regress")
_MAX_VERSION = 2**63 - 1

_CODE = grpc.StatusCode
# Source: ToHTTPStatusCode in http_server.cc.
_HTTP = {
    _CODE.OK: 200,
    _CODE.CANCELLED: 499,
    _CODE.UNKNOWN: 500,
    _CODE.INVALID_ARGUMENT: 400,
    _CODE.DEADLINE_EXCEEDED: 504,
    _CODE.NOT_FOUND: 404,
    _CODE.ALREADY_EXISTS: 409,
    _CODE.PERMISSION_DENIED: 403,
    _CODE.RESOURCE_EXHAUSTED: 429,
    _CODE.FAILED_PRECONDITION: 400,
    _CODE.ABORTED: 409,
    _CODE.OUT_OF_RANGE: 400,
    _CODE.UNIMPLEMENTED: 501,
    _CODE.INTERNAL: 500,
    _CODE.UNAVAILABLE: 503,
    _CODE.DATA_LOSS: 500,
    _CODE.UNAUTHENTICATED: 401,
}


@dataclass(frozen=True)
class Answer:
    """What a request is answered with.

    Args:
        status: the HTTP status.
        body: JSON.
        code: the gRPC status behind it.
        model: the model that the path names, or "".
        method: `predict`, `classify` or `regress`, or "" for other requests.
    """

    status: int
    body: str
    code: grpc.StatusCode = grpc.StatusCode.OK
    model: str = ""
    method: str = ""


@dataclass(frozen=True)
class _Target:
    model: str = ""
    version: Optional[int] = None
    label: str = ""
    method: str = ""  # predict, classify, regress, metadata or status; "" if the path names none


class RestApi:
    """Answers the requests of the REST API.

    Args:
        predictions: the service that answers predict, classify, regress and metadata requests.
        models: the service that answers status requests.
    """

    def __init__(self, predictions: PredictionService, models: ModelService) -> None:
        self._predictions = predictions
        self._models = models

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path belongs to this API; others are not found."""
        return _ANY.fullmatch(path) is not None

    def answer(
        self, method: str, path: str, body: bytes, origin: str = "", alive: Callable[[], bool] = lambda: True
    ) -> Answer:
        """Answer one request.

        Args:
            method: GET, POST, ...
            path: the path as sent: percent-encoded, with the query, which the server takes for a part of the
                model's name.
            body: the body, decompressed.
            origin: the `Origin` header, which browsers send.
            alive: whether the caller still waits.
        """
        target = _Target()
        try:
            if method == "OPTIONS":
                if not re.search("https?://", origin):
                    raise failed_precondition("Origin header is missing in CORS preflight")
                return Answer(200, "")
            target = _target(method, path)
            if not target.method:
                raise invalid_argument(f"Malformed request: {method} {path}")
            text = self._answer(target, body, LocalCall(alive))
        except StatusError as error:
            return Answer(
                _HTTP[error.code], _refusal(method, error), error.code, target.model, _counted(target.method)
            )
        return Answer(200, text, model=target.model, method=_counted(target.method))

    def _answer(self, target: _Target, body: bytes, call: LocalCall) -> str:
        if target.method == "predict":
            request = predict_pb2.PredictRequest()
            _fill_spec(request.model_spec, target)

            def inputs_of(signature: str) -> Any:
                return self._predictions.inputs(request.model_spec, signature)

            rows = requests.fill_predict(body, request, inputs_of)
            return responses.predictions(self._predictions.Predict(request, call).outputs, rows)
        if target.method == "classify":
            request = classification_pb2.ClassificationRequest()
            _fill_spec(request.model_spec, target)
            requests.fill_examples(body, request)
            return responses.classifications(self._predictions.Classify(request, call).result)
        if target.method == "regress":
            request = regression_pb2.RegressionRequest()
            _fill_spec(request.model_spec, target)
            requests.fill_examples(body, request)
            return responses.regressions(self._predictions.Regress(request, call).result)
        if not target.model:
            raise invalid_argument("Missing model name in request.")
        if target.method == "metadata":
            request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            _fill_spec(request.model_spec, target)
            return responses.metadata(self._predictions.GetModelMetadata(request, call))
        request = get_model_status_pb2.GetModelStatusRequest()
        _fill_spec(request.model_spec, target)
        return responses.status(self._models.GetModelStatus(request, call))


def _target(method: str, path: str) -> _Target:
    model = version = label = found = None
    if method == "POST" and (match := _PREDICTION.fullmatch(path)):
        model, version, label, found = match.groups()
        found = found if found in _METHODS else ""  # unlike the rest of the path, never in capitals
    elif method == "GET" and (match := _MODEL.fullmatch(path)):
        model, version, label, found = match.groups()
        found = "metadata" if found == "metadata" else "status"
    return _Target(_decoded(model), _number(version), _decoded(label), found or "")


def _number(digits: Optional[str]) -> Optional[int]:
    if digits is None:
        return None
    # Any 20 digits are too many for 64 bits. Python refuses to convert thousands of them.
    number = int(digits.lstrip("0")[:20] or "0")
    if number > _MAX_VERSION:
        raise invalid_argument(f"Failed to convert version: {digits} to numeric.")
    return number


def _decoded(text: Any) -> str:
    return unquote_to_bytes(text or "").decode("utf-8", "replace")


def _fill_spec(spec: Any, target: _Target) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
    if target.label:
        spec.version_label = target.label


def _counted(method: str) -> str:
    return method if method in _METHODS else ""


def _refusal(method: str, error: StatusError) -> str:
    return "" if method == "OPTIONS" else responses.error(error.message)
