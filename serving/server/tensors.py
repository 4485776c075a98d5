"""Converts TensorProto to NumPy and back, exactly like TensorFlow Serving's C++ code.

Reading uses TensorFlow's C++ parser, because Python's `make_ndarray` differs in edge cases (more values than
elements, no values, a short `tensor_content`). Writing is implemented here, because Python's
`make_tensor_proto` writes `tensor_content` where the server writes typed fields.
"""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from tfpipeline._tensorflow_internals import TensorProto, types

# Fields of TensorProto with packed values that are encoded as the array's own bytes (little endian):
# field number -> the dtype of a view of the array. Parsing these bytes is many times faster than a list.
_RAW: dict[int, tuple[int, np.dtype]] = {
    types.DT_FLOAT: (5, np.dtype("<f4")),
    types.DT_DOUBLE: (6, np.dtype("<f8")),
    types.DT_COMPLEX64: (9, np.dtype("<c8")),
    types.DT_COMPLEX128: (12, np.dtype("<c16")),
}
_LISTS: dict[int, str] = {
    types.DT_INT64: "int64_val",
    types.DT_BOOL: "bool_val",
    types.DT_UINT32: "uint32_val",
    types.DT_UINT64: "uint64_val",
}
_PLAIN: dict[int, np.dtype] = {
    types.DT_FLOAT: np.dtype("<f4"),
    types.DT_INT32: np.dtype("<i4"),
    types.DT_INT64: np.dtype("<i8"),
}
# TensorFlow's conversion to NumPy ends the process with more of them.
_MOST_DIMENSIONS = 32
_HALVES = frozenset({types.DT_HALF, types.DT_BFLOAT16})
_BYTE_FLOATS = frozenset(
    value
    for name, value in types.DataType.items()
    if name.startswith("DT_FLOAT8") and not name.endswith("_REF")
)


# A tensor may be declared larger than its message, because the last value is repeated: a few bytes could ask
# for all of the memory.
_MAX_REPEATED_BYTES = 2**30
_STRING_BYTES = 24


class TensorParseError(ValueError):
    """The message is not a valid tensor: its type, shape and values do not match."""


def decode(proto: TensorProto) -> np.ndarray:
    """The array of a message; strings are an object array of bytes.

    Raises:
        TensorParseError: TensorFlow's parser refuses it.
    """
    if len(proto.tensor_shape.dim) > _MOST_DIMENSIONS:
        raise TensorParseError(
            f"{len(proto.tensor_shape.dim)} dimensions; at most {_MOST_DIMENSIONS} can be read"
        )
    plain = _decode_plain(proto)
    if plain is not None:
        return plain
    serialized = proto.SerializeToString()
    try:
        _check_size(proto, len(serialized))
        value = tf.raw_ops.ParseTensor(serialized=serialized, out_type=proto.dtype).numpy()
    except (tf.errors.OpError, TypeError, ValueError, KeyError) as error:
        raise TensorParseError(str(error)) from error
    return as_array(value)


def _decode_plain(proto: TensorProto) -> Optional[np.ndarray]:
    """The array of a message as clients write it, where no two readers can differ; None for any other.

    It has one value for each element. A call of TensorFlow's parser costs as much as the rest of a request.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(shape, default=1) < 1:
        return None
    elements = math.prod(shape)
    if proto.dtype == types.DT_STRING:
        if proto.tensor_content or len(proto.string_val) != elements:
            return None
        flat = np.empty(elements, object)
        flat[:] = proto.string_val
        return flat.reshape(shape)
    dtype = _PLAIN.get(proto.dtype)
    if dtype is None or len(proto.tensor_content) != elements * dtype.itemsize:
        return None
    return np.frombuffer(proto.tensor_content, dtype).reshape(shape)


def _check_size(proto: TensorProto, message_bytes: int) -> None:
    elements = math.prod(dim.size for dim in proto.tensor_shape.dim)
    size = elements * (tf.as_dtype(proto.dtype).size or _STRING_BYTES)
    if size > max(_MAX_REPEATED_BYTES, 4 * message_bytes):
        raise TensorParseError(f"{size} bytes are declared in a message of {message_bytes}")


def dtype_name(dtype: int) -> str:
    """The name of a type in messages: ``float``, not NumPy's float32. Source: DataTypeString."""
    return str(types.DataType.Name(dtype)).removeprefix("DT_").lower()


def as_array(value: Any) -> np.ndarray:
    """Convert a result of TensorFlow: a scalar string is bytes, others are arrays or NumPy scalars."""
    return np.asarray(value, dtype=object) if isinstance(value, (bytes, str)) else np.asarray(value)


def encode(array: np.ndarray, proto: TensorProto) -> None:
    """Fill an empty message with an array, in typed fields.

    Source: Tensor::AsProtoField, tensorflow/core/framework/tensor.cc.
    """
    enum = types.DT_STRING if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype).as_datatype_enum
    proto.dtype = enum
    proto.tensor_shape.SetInParent()  # a scalar has a shape with no dimensions
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.size == 0:
        return
    flat = np.ascontiguousarray(array).ravel()
    if enum == types.DT_STRING:
        proto.string_val.extend([v if isinstance(v, bytes) else str(v).encode() for v in flat.tolist()])
    elif enum in _RAW:
        field, little = _RAW[enum]
        raw = flat.astype(little, copy=False).tobytes()
        proto.MergeFromString(bytes([field << 3 | 2]) + _varint(len(raw)) + raw)
    elif enum in _LISTS:
        getattr(proto, _LISTS[enum]).extend(flat.tolist())
    elif enum in _HALVES:
        proto.half_val.extend(flat.view(np.uint16).tolist())
    elif enum in _BYTE_FLOATS:
        proto.float8_val = flat.tobytes()
    else:
        proto.int_val.extend(flat.astype(np.int64).tolist())


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
