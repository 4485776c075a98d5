"""The thin client: asks TensorFlow Serving with numpy, grpcio and protobuf, and never imports TensorFlow.

    from tfpipeline.serving.client import PredictClient

    with PredictClient("localhost:8500", model="tweets") as client:
        for answer in client.predict(["what a day"]):
            print(answer.label, answer.probability)

Names are loaded on first use: naming an error costs neither grpc nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfpipeline.serving.client.async_client import AsyncPredictClient
    from tfpipeline.serving.client.calls import (
        ModelMetadata,
        RawAnswer,
        Signature,
        TensorSpec,
        VersionState,
        VersionStatus,
    )
    from tfpipeline.serving.client.errors import (
        AbortedError,
        AlreadyExistsError,
        AnswerError,
        CallError,
        CancelledError,
        ClientError,
        ClosedError,
        DataLossError,
        DeadlineExceededError,
        FailedPreconditionError,
        InputError,
        InternalError,
        InvalidArgumentError,
        ModelFailedError,
        NotFoundError,
        NotReadyError,
        OutOfRangeError,
        PermissionDeniedError,
        ResourceExhaustedError,
        UnauthenticatedError,
        UnavailableError,
        UnimplementedError,
        UnknownError,
    )
    from tfpipeline.serving.client.options import TLS
    from tfpipeline.serving.client.predictions import (
        Classification,
        Entity,
        MultiLabel,
        Multitask,
        NamedOutputs,
        Prediction,
        QuestionAnswering,
        Regression,
        Span,
        Tagging,
    )
    from tfpipeline.serving.client.sync_client import PredictClient

__all__ = [
    "TLS",
    "AbortedError",
    "AlreadyExistsError",
    "AnswerError",
    "AsyncPredictClient",
    "CallError",
    "CancelledError",
    "Classification",
    "ClientError",
    "ClosedError",
    "DataLossError",
    "DeadlineExceededError",
    "Entity",
    "FailedPreconditionError",
    "InputError",
    "InternalError",
    "InvalidArgumentError",
    "ModelFailedError",
    "ModelMetadata",
    "MultiLabel",
    "Multitask",
    "NamedOutputs",
    "NotFoundError",
    "NotReadyError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "PredictClient",
    "Prediction",
    "QuestionAnswering",
    "RawAnswer",
    "Regression",
    "ResourceExhaustedError",
    "Signature",
    "Span",
    "Tagging",
    "TensorSpec",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "VersionState",
    "VersionStatus",
]

# Where the names are; those not listed are in errors.py.
_MODULE_OF = {
    "AsyncPredictClient": "async_client",
    "Classification": "predictions",
    "Entity": "predictions",
    "ModelMetadata": "calls",
    "MultiLabel": "predictions",
    "Multitask": "predictions",
    "NamedOutputs": "predictions",
    "PredictClient": "sync_client",
    "Prediction": "predictions",
    "QuestionAnswering": "predictions",
    "RawAnswer": "calls",
    "Regression": "predictions",
    "Signature": "calls",
    "Span": "predictions",
    "TLS": "options",
    "Tagging": "predictions",
    "TensorSpec": "calls",
    "VersionState": "calls",
    "VersionStatus": "calls",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF.get(name, 'errors')}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return __all__
