"""Makes requests and reads responses: pure functions of messages, without network access.

There is one :class:`Method` for each remote procedure, with a function that makes the request and one that
reads the response. Sequences of several calls are in ``conversations.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import numpy as np

from tfpipeline.serving.client import checks, messages, tensors
from tfpipeline.serving.client.errors import AnswerError, InputError

__all__ = [
    "Health",
    "ModelMetadata",
    "RawAnswer",
    "Signature",
    "TensorSpec",
    "VersionState",
    "VersionStatus",
]


class Method(NamedTuple):
    """A unary remote procedure."""

    path: str
    name: str  # its name in error messages
    request: Any
    response: Any


PREDICT = Method(
    "/tensorflow.serving.PredictionService/Predict",
    "predict",
    messages.PredictRequest,
    messages.PredictResponse,
)
METADATA = Method(
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "metadata",
    messages.GetModelMetadataRequest,
    messages.GetModelMetadataResponse,
)
STATUS = Method(
    "/tensorflow.serving.ModelService/GetModelStatus",
    "model_status",
    messages.GetModelStatusRequest,
    messages.GetModelStatusResponse,
)
HEALTH = Method(
    "/grpc.health.v1.Health/Check",
    "health",
    messages.HealthCheckRequest,
    messages.HealthCheckResponse,
)
METHODS = (PREDICT, METADATA, STATUS, HEALTH)


@dataclass(frozen=True)
class Endpoint:
    """The model that is queried, and its server.

    Attributes:
        target: the server, ``HOST:PORT``.
        model: the model's name on it.
        version: a version; None without a label: the newest.
        version_label: a label such as ``"stable"``, instead of a version.
        signature: the signature to call.
    Raises:
        InputError: there is no model, there are both a version and a label, or the version is invalid.
    """

    target: str
    model: str
    version: Optional[int] = None
    version_label: Optional[str] = None
    signature: str = "serving_default"

    def __post_init__(self) -> None:
        checks.text("model", self.model, "the model's name on the server")
        checks.text("signature", self.signature, 'its name, such as "serving_default"')
        if self.version is not None and self.version_label is not None:
            raise InputError(
                f"both version ({self.version}) and version_label ({self.version_label!r}) were given; "
                f"choose one"
            )
        if self.version is not None:
            checks.whole("version", self.version, 0, 2**63 - 1)
        if self.version_label is not None:
            checks.text("version_label", self.version_label, 'a label, such as "stable"')

    def __str__(self) -> str:
        which = ""
        if self.version is not None:
            which = f" version {self.version}"
        elif self.version_label is not None:
            which = f' version "{self.version_label}"'
        return f'model "{self.model}"{which}'


@dataclass(frozen=True)
class RawAnswer:
    """The response of a model.

    Attributes:
        outputs: name -> array; strings are object arrays of bytes.
        model: the model's name in the response.
        version: the version that answered; None if the server does not say.
    """

    outputs: dict[str, np.ndarray]
    model: str
    version: Optional[int]


class VersionState(str, enum.Enum):
    """The state of a version. Source: ModelVersionStatus.State in get_model_status.proto."""

    UNKNOWN = "UNKNOWN"
    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


_STATES = {
    0: VersionState.UNKNOWN,
    10: VersionState.START,
    20: VersionState.LOADING,
    30: VersionState.AVAILABLE,
    40: VersionState.UNLOADING,
    50: VersionState.END,
}


@dataclass(frozen=True)
class VersionStatus:
    """A version of a model on a server.

    Attributes:
        version: its number.
        state: its state.
        error: why it could not be loaded; empty if nothing failed.
    """

    version: int
    state: VersionState
    error: str = ""

    def __str__(self) -> str:
        return f"version {self.version} is {self.state.value}" + (f" ({self.error})" if self.error else "")


class Health(str, enum.Enum):
    """Whether a server takes calls. Source: HealthCheckResponse.ServingStatus in health.proto of gRPC."""

    UNKNOWN = "UNKNOWN"
    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"


_HEALTH = {0: Health.UNKNOWN, 1: Health.SERVING, 2: Health.NOT_SERVING}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name of the dtype, e.g. ``"string"``.
        shape: with None for sizes that may vary; None altogether if the rank may vary.
    """

    dtype: str
    shape: Optional[tuple[Optional[int], ...]]


@dataclass(frozen=True)
class Signature:
    """A signature of a model: its inputs and outputs."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """The signatures of a model.

    Attributes:
        model: its name.
        version: the version described; None if the server does not say.
        signatures: name -> inputs and outputs.
    """

    model: str
    version: Optional[int]
    signatures: dict[str, Signature]


# ---------------------------------------------------------------- requests


def _fill_spec(spec: Any, endpoint: Endpoint) -> None:
    spec.name = endpoint.model
    if endpoint.version is not None:
        spec.version.value = endpoint.version  # setting it marks it as given, even when it is 0
    elif endpoint.version_label is not None:
        spec.version_label = endpoint.version_label


def predict_request(
    endpoint: Endpoint, inputs: Mapping[str, Any], outputs: Optional[Collection[str]] = None
) -> Any:
    """A PredictRequest.

    Args:
        endpoint: the model to query.
        inputs: name -> array-like; see :func:`tensors.encode`.
        outputs: the outputs to return; by default all.
    Raises:
        InputError: an input cannot be sent.
    """
    if isinstance(outputs, str):
        raise InputError(f'outputs is the string "{outputs}"; give a list of names')
    for output in outputs or ():
        checks.text("outputs", output, "a list of names")
    if not isinstance(inputs, Mapping):
        raise InputError(f"inputs is {type(inputs).__name__}; give a dict: input name -> array")
    request = messages.PredictRequest()
    _fill_spec(request.model_spec, endpoint)
    request.model_spec.signature_name = endpoint.signature
    for name, value in inputs.items():
        checks.text("an input's name", name, "a name that metadata() lists")
        tensors.encode(value, name, request.inputs[name])
    request.output_filter.extend(outputs or ())
    return request


def status_request(endpoint: Endpoint) -> Any:
    """A GetModelStatusRequest; without a version it asks for all of them."""
    request = messages.GetModelStatusRequest()
    _fill_spec(request.model_spec, endpoint)
    return request


def metadata_request(endpoint: Endpoint) -> Any:
    """A GetModelMetadataRequest for the signatures, the only field that exists."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    _fill_spec(request.model_spec, endpoint)
    return request


def health_request(service: str) -> Any:
    """A HealthCheckRequest; "" asks for the server as a whole."""
    return messages.HealthCheckRequest(service=service)


# ---------------------------------------------------------------- answers


def _version(spec: Any) -> Optional[int]:
    return int(spec.version.value) if spec.HasField("version") else None


def predict_answer(response: Any, outputs: Optional[Collection[str]] = None) -> RawAnswer:
    """A PredictResponse's arrays, in the order of their names.

    Raises:
        AnswerError: a tensor cannot be read, or a requested output is missing.
    """
    arrays = {name: tensors.decode(response.outputs[name], name) for name in sorted(response.outputs)}
    missing = sorted(set(outputs or ()) - set(arrays))
    if missing:
        raise AnswerError(
            f"the answer has no output {', '.join(missing)}; it has: {', '.join(arrays) or 'none'}; "
            "metadata() lists the outputs of each signature"
        )
    return RawAnswer(arrays, response.model_spec.name, _version(response.model_spec))


def status_answer(response: Any) -> list[VersionStatus]:
    """A GetModelStatusResponse, the newest version first."""
    statuses = [
        VersionStatus(
            int(status.version),
            _STATES.get(status.state, VersionState.UNKNOWN),
            # A failure without a message is still a failure.
            (status.status.error_message or f"error code {status.status.error_code}")
            if status.status.error_code
            else "",
        )
        for status in response.model_version_status
    ]
    return sorted(statuses, key=lambda status: status.version, reverse=True)


def health_answer(response: Any) -> Health:
    """A HealthCheckResponse's status; a newer one than this client knows is UNKNOWN."""
    return _HEALTH.get(response.status, Health.UNKNOWN)


def metadata_answer(response: Any) -> ModelMetadata:
    """A GetModelMetadataResponse's signatures, in the order of their names.

    TensorFlow's internal entries (``__saved_model_init_op``) are left out.

    Raises:
        AnswerError: the response has no signatures, or they cannot be read.
    """
    if "signature_def" not in response.metadata:
        raise AnswerError("the server's answer holds no signature_def; is it TensorFlow Serving?")
    try:
        packed = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    except Exception as error:  # DecodeError's place differs between protobuf's releases
        raise AnswerError(f"the server's signatures can't be read ({error}); see its log") from error
    signatures = {
        name: Signature(_specs(packed.signature_def[name].inputs), _specs(packed.signature_def[name].outputs))
        for name in sorted(packed.signature_def)
        if not name.startswith("__saved_model_")
    }
    return ModelMetadata(response.model_spec.name, _version(response.model_spec), signatures)


def _specs(infos: Any) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(tensors.dtype_name(infos[name].dtype), tensors.shape_of(infos[name].tensor_shape))
        for name in sorted(infos)
    }
