"""Converts NumPy arrays to TensorProto and back; pure functions.

Numbers are sent as ``tensor_content``, the array's own bytes, which is 40 times faster than typed fields.
Servers send typed fields by default, so both are read. The format's rule applies: a short list of values is
extended with its last value, and an empty list means zeros.

Source: tensorflow/core/framework/tensor.proto, and Tensor::FromProto in tensor.cc.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple, Optional

import numpy as np

from tfpipeline.serving.client import messages
from tfpipeline.serving.client.errors import AnswerError, InputError


class _DType(NamedTuple):
    name: str
    wire: str  # NumPy's name of the element type in tensor_content
    field: str  # the field of the typed values


# DataType number -> its encoding. Source: tensorflow/core/framework/types.proto.
_DTYPES = {
    1: _DType("float32", "<f4", "float_val"),
    2: _DType("float64", "<f8", "double_val"),
    3: _DType("int32", "<i4", "int_val"),
    4: _DType("uint8", "|u1", "int_val"),
    5: _DType("int16", "<i2", "int_val"),
    6: _DType("int8", "|i1", "int_val"),
    7: _DType("string", "|O", "string_val"),
    8: _DType("complex64", "<c8", "scomplex_val"),
    9: _DType("int64", "<i8", "int64_val"),
    10: _DType("bool", "|b1", "bool_val"),
    11: _DType("qint8", "|i1", "int_val"),
    12: _DType("quint8", "|u1", "int_val"),
    13: _DType("qint32", "<i4", "int_val"),
    14: _DType("bfloat16", "<u2", "half_val"),  # the bits; NumPy has no bfloat16
    15: _DType("qint16", "<i2", "int_val"),
    16: _DType("quint16", "<u2", "int_val"),
    17: _DType("uint16", "<u2", "int_val"),
    18: _DType("complex128", "<c16", "dcomplex_val"),
    19: _DType("float16", "<f2", "half_val"),
    22: _DType("uint32", "<u4", "uint32_val"),
    23: _DType("uint64", "<u8", "uint64_val"),
}
_STRING = 7
_BFLOAT16 = 14
# Signatures may contain types that no client can receive; they keep TensorFlow's names.
_OTHER_NAMES = {
    0: "invalid",
    20: "resource",
    21: "variant",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    26: "float8_e4m3fnuz",
    27: "float8_e4m3b11fnuz",
    28: "float8_e5m2fnuz",
    29: "int4",
    30: "uint4",
    31: "int2",
    32: "uint2",
}
# NumPy cannot distinguish quantised types from plain integers, so they are only read.
_NUMBERS = {
    dtype.name: number for number, dtype in _DTYPES.items() if not dtype.name.startswith(("q", "string"))
}
# Fields whose packed bytes are the values themselves; see messages.py.
_RAW_FIELDS = frozenset(["float_val", "double_val", "scomplex_val", "dcomplex_val"])


def dtype_name(number: int) -> str:
    """A DataType's name, e.g. ``"float32"``; reference types (TensorFlow 1) have that of the base type."""
    plain = number - 100 if number > 100 else number
    if plain in _DTYPES:
        return _DTYPES[plain].name
    return _OTHER_NAMES.get(plain, f"DataType {number}")


def shape_of(proto: Any) -> Optional[tuple[Optional[int], ...]]:
    """A TensorShapeProto as a tuple with None for unknown sizes; None if the rank is unknown."""
    if proto.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in proto.dim)


# ---------------------------------------------------------------- out


def encode(value: Any, name: str, into: Any = None) -> Any:
    """Convert an array-like to a TensorProto.

    Python numbers have no dtype. As in TensorFlow's clients they are sent in 32 bits: floats as float32,
    integers as int32, or as int64 if one does not fit. An array's dtype is kept. ``ml_dtypes.bfloat16``
    works.

    Args:
        value: an array, a number, a string, or nested lists of these, of one kind. Strings are str or bytes.
        name: the tensor's name, for errors.
        into: the message to fill; by default a new one.
    Raises:
        InputError: the value is ragged, of mixed kinds, or of a dtype that the server does not support, or it
            holds a str that cannot be encoded as UTF-8.
    """
    proto = messages.TensorProto() if into is None else into
    array = as_array(value, name)
    proto.tensor_shape.SetInParent()  # a scalar has a shape of no dimensions, which is not no shape
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        proto.dtype = _STRING
        proto.string_val.extend(utf8(array.ravel().tolist(), name))
        return proto
    number = _NUMBERS.get(array.dtype.name)
    if number is None:
        raise InputError(
            f'input "{name}" has dtype {array.dtype}, which TensorFlow Serving does not take; '
            f"convert it to one of: string, {', '.join(_NUMBERS)}"
        )
    proto.dtype = number
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    proto.tensor_content = array.tobytes()
    return proto


def as_array(value: Any, name: str) -> np.ndarray:
    """The array that is sent for an array-like: strings as objects, Python numbers in 32 bits.

    Raises:
        InputError: the value is ragged or of mixed kinds.
    """
    if value is None or isinstance(value, (Mapping, Set)):  # NumPy would make one object of them
        raise InputError(f'input "{name}" is {type(value).__name__}; give an array or a list')
    first = value
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    text = isinstance(first, (str, bytes))
    try:
        # NumPy's string types strip trailing NULs, and convert numbers among strings to strings.
        array = np.asarray(value, dtype=object if text else None)
    except (ValueError, TypeError) as error:
        raise InputError(
            f'input "{name}" is not an array ({error}); all its rows must have one shape'
        ) from error
    if array.dtype.kind in "UST":
        if isinstance(value, (list, tuple)):
            raise InputError(f'input "{name}" mixes strings and numbers; send one kind')
        array = array.astype(object)
    if type(first) in (int, float, list, tuple) and array.dtype.kind in "iuf":
        array = _in_32_bits(array)
    return array


def _in_32_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # 1e300 becomes infinity, as in TensorFlow
            return array.astype(np.float32)
    bounds = np.iinfo(np.int32)
    fits = array.size == 0 or (array.min() >= bounds.min and array.max() <= bounds.max)
    return array.astype(np.int32) if fits else array


def utf8(texts: Sequence[Any], name: str) -> list[bytes]:
    """Strings as the bytes to send: str in UTF-8, bytes unchanged.

    Raises:
        InputError: a row is neither, or has a lone surrogate; the message names the row, counted from 0.
    """
    sent = []
    for row, text in enumerate(texts):
        if isinstance(text, bytes):
            sent.append(bytes(text))  # protobuf does not accept numpy.bytes_
        elif isinstance(text, str):
            try:
                sent.append(text.encode())
            except UnicodeEncodeError as error:
                raise InputError(
                    f'row {row} of input "{name}" holds the lone surrogate U+{ord(text[error.start]):04X} at '
                    f"character {error.start}, which UTF-8 cannot carry; read the text with the right "
                    f"encoding, or send bytes"
                ) from None
        else:
            pair = name == "text" and isinstance(text, (tuple, list)) and len(text) == 2
            advice = "give second texts as text_pair" if pair else "convert or drop it"
            raise InputError(
                f'row {row} of input "{name}" is {type(text).__name__}, not str or bytes; {advice}'
            )
    return sent


# ---------------------------------------------------------------- back


def decode(proto: Any, name: str) -> np.ndarray:
    """Convert a TensorProto to an array that owns its memory.

    Strings become an object array of bytes. bfloat16 becomes float32, which represents it exactly (NumPy has
    no bfloat16, and ml_dtypes is not a dependency). Quantised types become plain integers.

    Args:
        proto: a ``messages.TensorProto``.
        name: the tensor's name, for errors.
    Raises:
        AnswerError: the dtype is unknown, or dtype, shape and values do not match.
    """
    dtype = _DTYPES.get(proto.dtype)
    if dtype is None:
        raise AnswerError(
            f'output "{name}" is of type {dtype_name(proto.dtype)}, which this client cannot read; '
            "cast it in the model's signature"
        )
    shape = shape_of(proto.tensor_shape)
    if shape is None or None in shape:
        raise AnswerError(f'output "{name}" came without a full shape ({shape}); see the server\'s log')
    size = math.prod(shape)  # type: ignore[arg-type]  # no None in it
    if proto.tensor_content:
        values = _content(proto.tensor_content, proto.dtype, size, name)
    else:
        values = _typed(proto, dtype, size, name)
    if proto.dtype == _BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(shape)  # type: ignore[arg-type]


def _content(content: bytes, number: int, size: int, name: str) -> np.ndarray:
    if number == _STRING:
        return _string_content(content, size, name)
    dtype = np.dtype(_DTYPES[number].wire)
    if len(content) != size * dtype.itemsize:
        raise _misfit(name, f"{len(content)} bytes for {size} values of {dtype.itemsize}")
    return np.frombuffer(content, dtype).copy()


def _string_content(content: bytes, size: int, name: str) -> np.ndarray:
    """Decode strings: all lengths as varints, then all bytes. Source: port::EncodeStringList,
    tensorflow/core/platform/coding.
    """
    lengths = []
    at = 0
    try:
        for _ in range(size):
            length = shift = 0
            while content[at] & 0x80:
                length |= (content[at] & 0x7F) << shift
                shift += 7
                at += 1
            lengths.append(length | content[at] << shift)
            at += 1
    except IndexError:
        raise _misfit(name, f"its {len(content)} bytes end before {size} lengths") from None
    if at + sum(lengths) != len(content):
        raise _misfit(name, f"{len(content) - at} bytes for strings of {sum(lengths)} in all")
    values = np.empty(size, dtype=object)
    for row, length in enumerate(lengths):
        values[row] = content[at : at + length]
        at += length
    return values


def _typed(proto: Any, dtype: _DType, size: int, name: str) -> np.ndarray:
    wire = np.dtype(dtype.wire)
    if dtype.field in _RAW_FIELDS:
        values = _packed(proto, dtype.field, wire, name)
    elif dtype.field == "half_val":
        values = np.array(proto.half_val, dtype=np.int32).astype(np.uint16).view(wire)
    elif wire.kind == "O":
        values = np.empty(len(proto.string_val), dtype=object)
        values[:] = list(proto.string_val)
    elif dtype.field == "int_val":
        values = np.array(proto.int_val, dtype=np.int32).astype(wire, copy=False)
    else:
        values = np.array(getattr(proto, dtype.field), dtype=wire)
    if len(values) == size:
        return values
    if len(values) > size:
        raise _misfit(name, f"{len(values)} values for {size}")
    filler = values[-1] if len(values) else (b"" if wire.kind == "O" else wire.type(0))
    try:
        full = np.full(size, filler, dtype=wire)
    except (MemoryError, ValueError) as error:
        raise _misfit(name, f"{len(values)} values to fill {size}") from error
    full[: len(values)] = values
    return full


def _packed(proto: Any, field: str, wire: np.dtype, name: str) -> np.ndarray:
    raw = b"".join(getattr(proto, field))
    if not raw:
        # If the values are written one by one instead of packed, they are unknown fields in our declaration.
        plain = messages.UnpackedTensorProto.FromString(proto.SerializeToString())
        part = np.dtype(f"<f{wire.itemsize // 2}") if wire.kind == "c" else wire
        raw = np.array(getattr(plain, field), dtype=part).tobytes()
    if len(raw) % wire.itemsize:
        raise _misfit(name, f"{len(raw)} bytes, not a multiple of {wire.itemsize}")
    return np.frombuffer(raw, wire).copy()


def _misfit(name: str, how: str) -> AnswerError:
    return AnswerError(f'output "{name}" is damaged: {how}; see the server\'s log')
