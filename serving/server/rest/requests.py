"""Reads the JSON bodies of REST requests into the messages that the gRPC services answer.

Source: FillPredictRequestFromJson and FillClassifyRegressRequestFromJson in tensorflow/serving,
util/json_tensor.cc. Checks are made in its order and refuse in its words.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Callable

from tfpipeline._tensorflow_internals import types
from tfpipeline.serving.server.rest.json_text import parse, quote, to_bytes, type_name
from tfpipeline.serving.server.status import StatusError, invalid_argument, unimplemented
from tfpipeline.serving.server.tensors import dtype_name

#: alias -> `TensorInfo` of the inputs of a signature.
Inputs = Mapping[str, Any]

_INT_RANGE = (-(2**31), 2**31 - 1)
# data type -> field of TensorProto, JSON types, range of integers
_FIELDS: dict[int, tuple[str, tuple[type, ...], tuple[int, int]]] = {
    types.DT_FLOAT: ("float_val", (int, float), (0, 0)),
    types.DT_DOUBLE: ("double_val", (int, float), (0, 0)),
    types.DT_INT32: ("int_val", (int,), _INT_RANGE),
    types.DT_INT16: ("int_val", (int,), _INT_RANGE),
    types.DT_INT8: ("int_val", (int,), _INT_RANGE),
    types.DT_UINT8: ("int_val", (int,), _INT_RANGE),
    types.DT_STRING: ("string_val", (str,), (0, 0)),
    types.DT_INT64: ("int64_val", (int,), (-(2**63), 2**63 - 1)),
    types.DT_BOOL: ("bool_val", (bool,), (0, 0)),
    types.DT_UINT32: ("uint32_val", (int,), (0, 2**32 - 1)),
    types.DT_UINT64: ("uint64_val", (int,), (0, 2**64 - 1)),
}


def fill_predict(body: bytes, request: Any, inputs_of: Callable[[str], Inputs]) -> bool:
    """Fill a `PredictRequest` from JSON.

    Args:
        body: the body of the request.
        request: the message; its model is already named.
        inputs_of: signature name ("" is the default one) -> its inputs; raises :class:`StatusError`.
    Returns:
        Whether the request has rows ("instances"); otherwise it has columns ("inputs").
    Raises:
        StatusError: INVALID_ARGUMENT or UNIMPLEMENTED.
    """
    document = parse(body)
    _fill_signature(document, request)
    name = request.model_spec.signature_name
    inputs = inputs_of(name)
    if not inputs:
        raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if "instances" in document:
        rows = document["instances"]
        if "inputs" in document:
            raise _format_error(
                document,
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
            )
        if not isinstance(rows, list):
            raise _format_error(document, "Expecting 'instances' to be an list/array")
        if not rows:
            raise _format_error(document, "No values in 'instances' array")
        _fill_rows(rows, inputs, request.inputs)
        return True
    if "inputs" in document:
        _fill_columns(document["inputs"], inputs, request.inputs)
        return False
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def fill_examples(body: bytes, request: Any) -> None:
    """Fill a `ClassificationRequest` or `RegressionRequest` from JSON.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    document = parse(body)
    _fill_signature(document, request)
    added = request.input.example_list
    if "context" in document:
        added = request.input.example_list_with_context
        _fill_example(document["context"], added.context)
    if "examples" not in document:
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _format_error(document, "'examples' value is an empty array")
    for example in examples:
        _fill_example(example, added.examples.add())


def _fill_signature(document: Mapping[str, Any], request: Any) -> None:
    if "signature_name" not in document:
        return
    name = document["signature_name"]
    if not isinstance(name, str):
        raise _format_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    # A name that is not UTF-8 names no signature; protobuf refuses it in a string.
    request.model_spec.signature_name = to_bytes(name).decode("utf-8", "replace")


class _Column:
    """One input while it is read: its values in order, and the shape of the part read last."""

    def __init__(self, info: Any) -> None:
        self.dtype = int(info.dtype)
        self.values: list[Any] = []

    def add(self, value: Any) -> list[int]:
        """Add a value or nested lists of values; returns their shape."""
        shape: list[int] = []
        inner = value
        while isinstance(inner, list):
            shape.append(len(inner))
            if not inner:
                break
            inner = inner[0]
        self._add(value, shape, 0)
        return shape

    def write(self, shape: list[int], proto: Any) -> None:
        """Fill a `TensorProto`."""
        proto.dtype = self.dtype
        proto.tensor_shape.SetInParent()
        for size in shape:
            proto.tensor_shape.dim.add(size=size)
        if self.values:
            getattr(proto, _FIELDS[self.dtype][0]).extend(self.values)

    def _add(self, value: Any, shape: list[int], level: int) -> None:
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid_argument(
                    f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}"
                )
            self.values.append(_scalar(value, self.dtype))
            return
        if level >= len(shape):
            raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise invalid_argument(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
                f"{shape[level]}"
            )
        for item in value:
            self._add(item, shape, level + 1)


def _fill_rows(rows: list[Any], inputs: Inputs, tensors: Any) -> None:
    if not isinstance(rows[0], dict) and len(inputs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    columns: dict[str, _Column] = {}
    shapes: dict[str, list[int]] = {}
    sizes: dict[str, int] = {}

    def add(name: str, value: Any) -> None:
        if name not in inputs:
            raise invalid_argument(f"JSON object: does not have named input: {name}")
        column = columns.setdefault(name, _Column(inputs[name]))
        before = len(column.values)
        shape = column.add(value)
        size = len(column.values) - before
        if sizes.setdefault(name, size) != size:
            raise invalid_argument(f"Expecting tensor size: {sizes[name]} but got: {size}")
        if shapes.setdefault(name, shape) != shape:
            raise invalid_argument(f"Expecting shape {_shape(shapes[name])} but got: {_shape(shape)}")

    named = _is_object(rows[0])
    for number, row in enumerate(rows):
        if named != _is_object(row):
            raise invalid_argument(
                f"Expecting {'object but got list' if named else 'value/list but got object'} at item "
                f"{number} of input list"
            )
        for name, value in row.items() if named else [(next(iter(inputs)), row)]:
            try:
                add(name, value)
            except StatusError as error:
                where = f"{number} key: {name}" if named else f"{number}"
                raise invalid_argument(
                    f"Failed to process element: {where} of 'instances' list. Error: {error.code.name}: "
                    f"{error.message}"
                ) from error
        if named and set(row) != set(inputs):
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. JSON object: {quote(row)} keys "
                f"must be equal to: {','.join(sorted(inputs))}"
            )
    for name, column in columns.items():
        column.write([len(rows), *shapes[name]], tensors[name])


def _fill_columns(value: Any, inputs: Inputs, tensors: Any) -> None:
    if not _is_object(value):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                "per tensorinfo_map"
            )
        value = {next(iter(inputs)): value}
    for name, info in sorted(inputs.items()):
        if name not in value:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        column = _Column(info)
        column.write(column.add(value[name]), tensors[name])


def _scalar(value: Any, dtype: int) -> Any:
    if isinstance(value, dict):
        if dtype != types.DT_STRING:
            raise _type_error(value, dtype)
        return _from_base64(value)
    if dtype not in _FIELDS:
        raise unimplemented(f"Conversion of JSON Value: {quote(value)} to type: {dtype_name(dtype)}")
    _, kinds, (least, most) = _FIELDS[dtype]
    if type(value) not in kinds or (least < most and not least <= value <= most):
        raise _type_error(value, dtype)
    if isinstance(value, str):
        return to_bytes(value)
    return float(value) if dtype in (types.DT_FLOAT, types.DT_DOUBLE) else value


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[to_bytes(name).decode("utf-8", "replace")]
        for item in content if isinstance(content, list) else [content]:
            _fill_feature(item, name, feature)


def _fill_feature(value: Any, name: str, feature: Any) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not _is_base64(value)):
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    if isinstance(value, float):
        _of_kind(feature, name, "float_list").value.append(value)
    elif isinstance(value, int):  # a bool too
        values = _of_kind(feature, name, "int64_list").value
        if value > 2**63 - 1:
            raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        values.append(int(value))
    else:
        values = _of_kind(feature, name, "bytes_list").value
        values.append(to_bytes(value) if isinstance(value, str) else _from_base64(value))


def _of_kind(feature: Any, name: str, kind: str) -> Any:
    found = feature.WhichOneof("kind")
    if found not in (None, kind):
        words = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}[found]
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {words}")
    return getattr(feature, kind)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    """Whether it is an object of names and values, not the base64 form of one string."""
    return isinstance(value, dict) and not _is_base64(value)


def _from_base64(value: Any) -> bytes:
    if not _is_base64(value):
        raise invalid_argument(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    text = re.sub(r"[ \t\n\r\v\f]", "", value["b64"])
    bare = text.rstrip("=")
    padding = "=" * (-len(bare) % 4)  # it may be left out, but not in part
    try:
        if text not in (bare, bare + padding):
            raise ValueError("wrong padding")
        return base64.b64decode(bare + padding, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _format_error(value: Any, words: str) -> StatusError:
    return invalid_argument(f"JSON Value: {quote(value)} {words}")


def _type_error(value: Any, dtype: int) -> StatusError:
    return invalid_argument(
        f"JSON Value: {quote(value)} Type: {type_name(value)} is not of expected type: {dtype_name(dtype)}"
    )


def _shape(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
