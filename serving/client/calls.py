"""Requests made and answers read: pure functions of messages, no network.

One :class:`Method` for each remote procedure; for each, a function that makes the request and one that reads
the response. What several calls make together is in ``conversations.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import numpy as np

from tfpipeline.serving.client import messages, tensors
from tfpipeline.serving.client.errors import AnswerError, InputError

__all__ = [
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
    name: str  # as error messages call it
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
METHODS = (PREDICT, METADATA, STATUS)


@dataclass(frozen=True)
class Endpoint:
    """Which model is asked, and where.

    Attributes:
        target: the server, ``HOST:PORT``.
        model: the model's name on it.
        version: a version; None with no label: the newest.
        version_label: a label such as ``"stable"``, instead of a version.
        signature: the signature asked.
    Raises:
        InputError: no model, both a version and a label, or a version that is not one.
    """

    target: str
    model: str
    version: Optional[int] = None
    version_label: Optional[str] = None
    signature: str = "serving_default"

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise InputError(f"model is {self.model!r}; give the model's name on the server")
        if self.version is not None and self.version_label is not None:
            raise InputError(
                f"both version ({self.version}) and version_label ({self.version_label!r}) were given; "
                f"choose one"
            )
        if self.version is not None and (
            isinstance(self.version, bool)
            or not isinstance(self.version, int)
            or not 0 <= self.version < 2**63
        ):
            raise InputError(f"version is {self.version!r}; it must be a whole number from 0 on")
        if not self.signature:
            raise InputError('signature is empty; give its name, e.g. "serving_default"')

    def __str__(self) -> str:
        which = ""
        if self.version is not None:
            which = f" version {self.version}"
        elif self.version_label is not None:
            which = f' version "{self.version_label}"'
        return f'model "{self.model}"{which}'


@dataclass(frozen=True)
class RawAnswer:
    """What a model answered.

    Attributes:
        outputs: name -> array; strings are object arrays of bytes.
        model: the model's name, as the server gives it.
        version: the version that answered; None when the server does not say.
    """

    outputs: dict[str, np.ndarray]
    model: str
    version: Optional[int]


class VersionState(str, enum.Enum):
    """Where a version stands. Source: ModelVersionStatus.State in get_model_status.proto."""

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
        state: where it stands.
        error: why it could not be loaded; empty when nothing failed.
    """

    version: int
    state: VersionState
    error: str = ""

    def __str__(self) -> str:
        return f"version {self.version} is {self.state.value}" + (f" ({self.error})" if self.error else "")


@dataclass(frozen=True)
class TensorSpec:
    """What a signature takes or gives under one name.

    Attributes:
        dtype: TensorFlow's name of it, e.g. ``"string"``.
        shape: None for a size that may vary; None altogether when even the rank may.
    """

    dtype: str
    shape: Optional[tuple[Optional[int], ...]]


@dataclass(frozen=True)
class Signature:
    """A way to ask a model."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """What a model can be asked.

    Attributes:
        model: its name.
        version: the version described; None when the server does not say.
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
        endpoint: the model asked.
        inputs: name -> array-like; see :func:`tensors.encode`.
        outputs: the outputs wanted; by default all.
    Raises:
        InputError: an input can't be sent.
    """
    if isinstance(outputs, str):
        raise InputError(f'outputs is the string "{outputs}"; give a list of names')
    request = messages.PredictRequest()
    _fill_spec(request.model_spec, endpoint)
    request.model_spec.signature_name = endpoint.signature
    for name, value in inputs.items():
        tensors.encode(value, name, request.inputs[name])
    request.output_filter.extend(outputs or ())
    return request


def text_inputs(texts: Iterable[Any], text_pair: Optional[Iterable[Any]]) -> dict[str, np.ndarray]:
    """The inputs of a text signature: ``text``, and ``text_pair`` for models of pairs.

    Args:
        texts: str or bytes; B of them.
        text_pair: the second text of each pair, B of them; None for models of single texts.
    Returns:
        name -> object array [B] of bytes.
    Raises:
        InputError: it is one string instead of a list, a row can't be sent, or the lists differ in length.
    """
    given = {"text": texts} if text_pair is None else {"text": texts, "text_pair": text_pair}
    columns = {}
    for name, rows in given.items():
        if isinstance(rows, (str, bytes)):
            raise InputError(f'input "{name}" is one string; give a list of texts')
        if isinstance(rows, (Mapping, Set)) or hasattr(
            rows, "columns"
        ):  # whose walk gives no texts, or no order
            raise InputError(
                f'input "{name}" is {type(rows).__name__}; give a list of texts, of a table one column'
            )
        if not isinstance(rows, Iterable) or getattr(rows, "ndim", 1) == 0:
            raise InputError(f'input "{name}" is {type(rows).__name__}; give a list of texts')
        sent = tensors.utf8(list(rows), name)
        columns[name] = np.empty(len(sent), dtype=object)
        columns[name][:] = sent
    if text_pair is not None and len(columns["text"]) != len(columns["text_pair"]):
        raise InputError(
            f"{len(columns['text'])} texts but {len(columns['text_pair'])} in text_pair; give one for each "
            f"text"
        )
    return columns


def status_request(endpoint: Endpoint) -> Any:
    """A GetModelStatusRequest; without a version it asks for all of them."""
    request = messages.GetModelStatusRequest()
    _fill_spec(request.model_spec, endpoint)
    return request


def metadata_request(endpoint: Endpoint) -> Any:
    """A GetModelMetadataRequest for the signatures, the only field there is."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    _fill_spec(request.model_spec, endpoint)
    return request


# ---------------------------------------------------------------- answers


def _version(spec: Any) -> Optional[int]:
    return int(spec.version.value) if spec.HasField("version") else None


def predict_answer(response: Any, outputs: Optional[Collection[str]] = None) -> RawAnswer:
    """A PredictResponse's arrays, in the order of their names.

    Raises:
        AnswerError: a tensor can't be read, or an output that was asked for is not there.
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
            # A server that failed without a message still failed.
            (status.status.error_message or f"error code {status.status.error_code}")
            if status.status.error_code
            else "",
        )
        for status in response.model_version_status
    ]
    return sorted(statuses, key=lambda status: status.version, reverse=True)


def metadata_answer(response: Any) -> ModelMetadata:
    """A GetModelMetadataResponse's signatures, in the order of their names.

    What TensorFlow keeps beside the signatures for itself (``__saved_model_init_op``) is left out.

    Raises:
        AnswerError: the response holds no signatures, or they can't be read.
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
