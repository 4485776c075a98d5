"""Writes the messages of the gRPC services as the JSON of the REST API.

Source: MakeJsonFromTensors and its neighbours in tensorflow/serving, util/json_tensor.cc, and ToJsonString in
model_servers/http_rest_api_util.cc.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from tfpipeline._tensorflow_internals import types
from tfpipeline.serving.server.rest.json_text import string
from tfpipeline.serving.server.status import invalid_argument
from tfpipeline.serving.server.tensors import dtype_name

_ROW = "\n        "
_PRINT = {"always_print_fields_with_no_presence": True, "indent": 1}
_INTEGERS: dict[int, str] = {
    types.DT_INT32: "int_val",
    types.DT_INT16: "int_val",
    types.DT_INT8: "int_val",
    types.DT_UINT8: "int_val",
    types.DT_INT64: "int64_val",
    types.DT_UINT32: "uint32_val",
    types.DT_UINT64: "uint64_val",
}
_FLOATS = {types.DT_FLOAT: ("float_val", np.float32), types.DT_DOUBLE: ("double_val", np.float64)}


def predictions(tensors: Mapping[str, Any], rows: bool) -> str:
    """The answer to a predict request, by rows or by columns as it was asked.

    Args:
        tensors: alias -> `TensorProto`, with typed fields.
        rows: one element for each row; otherwise one list for each output.
    Raises:
        StatusError: INVALID_ARGUMENT, JSON has no form for the type or shape of an output.
    """
    if not tensors:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    # A message's map has no order.
    ordered = dict(sorted(tensors.items()))
    return _by_rows(ordered) if rows else _by_columns(ordered)


def classifications(result: Any) -> str:
    """The answer to a classify request: `[label, score]` pairs for each example."""
    if not result.classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    rows = [
        _list(
            _list([string(one.label), score])
            for one, score in zip(row.classes, decimals([one.score for one in row.classes], np.float32))
        )
        for row in result.classifications
    ]
    return _wrapped("results", rows)


def regressions(result: Any) -> str:
    """The answer to a regress request: a number for each example."""
    if not result.regressions:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = decimals([one.value for one in result.regressions], np.float32)
    return f'{{\n    "results": {_list(values)}\n}}'


def status(response: Any) -> str:
    """A `GetModelStatusResponse`."""
    return json_format.MessageToJson(response, **_PRINT) + "\n"


def metadata(response: Any) -> str:
    """A `GetModelMetadataResponse`; its signatures are unpacked."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec, signatures = (
        json_format.MessageToJson(message, preserving_proto_field_name=True, **_PRINT)
        for message in (response.model_spec, signatures)
    )
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {signatures}}}\n}}\n'


def error(message: str) -> str:
    """The body of a refused request."""
    return f'{{\n    "error": {string(message)}\n}}'


def decimals(values: Sequence[float], dtype: Any) -> list[str]:
    """Numbers as the server writes them: six digits if they are enough, otherwise as many as the type has."""
    short = [f"{value:g}" for value in values]
    exact = np.asarray([float(text) for text in short], dtype) == np.asarray(values, dtype)
    digits = 9 if dtype == np.float32 else 17
    return [
        _decimal(text if same else f"{value:.{digits}g}", value)
        for text, same, value in zip(short, exact.tolist(), values)
    ]


def _decimal(text: str, value: float) -> str:
    if math.isfinite(value):
        return text if "." in text or "e" in text else text + ".0"
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _by_rows(tensors: Mapping[str, Any]) -> str:
    rows = -1
    for name, tensor in tensors.items():
        shape = tensor.tensor_shape.dim
        if not shape:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if rows >= 0 and shape[0].size != rows:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {shape[0].size} expecting: {rows}"
            )
        rows = shape[0].size
    columns = {}
    for name, tensor in tensors.items():
        values = iter(_values(name, tensor))
        shape = [dim.size for dim in tensor.tensor_shape.dim[1:]]
        columns[name] = [_nested(values, shape) for _ in range(rows)]
    if len(columns) == 1:
        return _wrapped("predictions", next(iter(columns.values())))
    names = [string(name) for name in columns]
    return _wrapped(
        "predictions",
        [
            "{" + ",".join(f"{_ROW}    {name}: {value}" for name, value in zip(names, row)) + _ROW + "}"
            for row in zip(*columns.values())
        ],
    )


def _by_columns(tensors: Mapping[str, Any]) -> str:
    columns = {
        name: _nested(iter(_values(name, tensor)), [dim.size for dim in tensor.tensor_shape.dim])
        for name, tensor in tensors.items()
    }
    if len(columns) == 1:
        return f'{{\n    "outputs": {next(iter(columns.values()))}\n}}'
    body = ",".join(f"{_ROW}{string(name)}: {value}" for name, value in columns.items())
    return f'{{\n    "outputs": {{{body}\n    }}\n}}'


def _values(name: str, tensor: Any) -> list[str]:
    """Every value of a tensor as JSON, in order."""
    dtype = tensor.dtype
    if dtype in _FLOATS:
        field, kind = _FLOATS[dtype]
        return decimals(getattr(tensor, field), kind)
    if dtype in _INTEGERS:
        return [str(value) for value in getattr(tensor, _INTEGERS[dtype])]
    if dtype == types.DT_STRING:
        write: Callable[[bytes], str] = _base64 if name.endswith("_bytes") else _text
        return [write(value) for value in tensor.string_val]
    if dtype == types.DT_BOOL:
        return ["true" if value else "false" for value in tensor.bool_val]
    if any(dim.size == 0 for dim in tensor.tensor_shape.dim):
        return []
    raise invalid_argument(f"Failed to write JSON value for tensor type: {dtype_name(dtype)}")


def _text(value: bytes) -> str:
    return string(value.decode("utf-8", "surrogateescape"))


def _base64(value: bytes) -> str:
    return json.dumps({"b64": base64.b64encode(value).decode()})


def _nested(values: Iterator[str], shape: list[int]) -> str:
    if not shape:
        return next(values)
    return _list(_nested(values, shape[1:]) for _ in range(shape[0]))


def _list(items: Any) -> str:
    return "[" + ", ".join(items) + "]"


def _wrapped(key: str, rows: list[str]) -> str:
    return f'{{\n    "{key}": [' + ",".join(_ROW + row for row in rows) + "\n    ]\n}"
