"""Arrays to TensorProto and back, against TensorFlow's own reading and writing."""

from __future__ import annotations

import struct

import hypothesis.extra.numpy as hnp
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfpipeline.serving.client import AnswerError, InputError, messages, tensors

NAMES = [
    "float16", "float32", "float64", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128",
]  # fmt: skip
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
arrays = st.sampled_from(NAMES).flatmap(lambda name: hnp.arrays(name, shapes))
string_arrays = hnp.arrays(object, shapes, elements=st.binary(max_size=300), fill=st.nothing())
FIELDS = {
    "float16": "half_val", "float32": "float_val", "float64": "double_val", "int8": "int_val", "int16": "int_val",
    "int32": "int_val", "int64": "int64_val", "uint8": "int_val", "uint16": "int_val", "uint32": "uint32_val",
    "uint64": "uint64_val", "bool": "bool_val", "complex64": "scomplex_val", "complex128": "dcomplex_val",
}  # fmt: skip


def official(proto):
    return tensor_pb2.TensorProto.FromString(proto.SerializeToString())


def ours(proto):
    return messages.TensorProto.FromString(proto.SerializeToString())


def typed(array):
    """As TensorFlow Serving answers: the typed field of the dtype."""
    proto = tensor_pb2.TensorProto(
        dtype=tf.as_dtype(array.dtype).as_datatype_enum, tensor_shape=tf.TensorShape(array.shape).as_proto()
    )
    flat = array.ravel()
    if array.dtype == np.float16:
        flat = flat.view(np.uint16)
    elif array.dtype.kind == "c":
        flat = flat.view(f"f{array.itemsize // 2}")
    getattr(proto, FIELDS[array.dtype.name]).extend(flat.tolist())
    return proto


def same(got, want):
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)  # NaN equals NaN here; shapes are compared too


@given(arrays)
def test_numbers_go_out(array):
    same(tf.make_ndarray(official(tensors.encode(array, "x"))), array)


@given(arrays)
def test_numbers_come_back(array):
    same(tensors.decode(tensors.encode(array, "x"), "x"), array)
    same(tensors.decode(ours(typed(array)), "x"), array)


@given(arrays)
def test_compressed_numbers_come_back(array):
    """As TensorFlow's graph tools write constants: trailing repeats are left out."""
    proto = typed(array)
    values = getattr(proto, FIELDS[array.dtype.name])
    step = 2 if array.dtype.kind == "c" else 1
    while len(values) > step and repr(list(values[-step:])) == repr(list(values[-2 * step : -step])):
        del values[-step:]
    same(tensors.decode(ours(proto), "x"), array)


@given(string_arrays)
def test_strings(array):
    proto = tensors.encode(array, "x")
    same(tf.make_ndarray(official(proto)), array)
    same(tensors.decode(ours(official(proto)), "x"), array)


@given(string_arrays)
def test_strings_in_tensor_content(array):
    """Servers can be told to prefer it; TensorFlow's Python cannot write it, but its C++ reads it."""
    rows = array.ravel().tolist()
    content = b"".join(varint(len(row)) for row in rows) + b"".join(rows)
    proto = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING, tensor_shape=sent_shape(array), tensor_content=content
    )
    parsed = tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy()
    same(np.asarray(parsed, dtype=object), array)
    same(tensors.decode(ours(proto), "x"), array)


def varint(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


@given(hnp.arrays(np.uint16, shapes))
def test_bfloat16_goes_out_and_comes_back_as_float32(bits):
    array = bits.view(ml_dtypes.bfloat16)
    sent = tensors.encode(array, "x")
    same(tf.make_ndarray(official(sent)).view(np.uint16), bits)
    field = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_BFLOAT16, tensor_shape=sent_shape(bits), half_val=bits.ravel().tolist()
    )
    for proto in (sent, ours(field)):
        same(tensors.decode(proto, "x"), array.astype(np.float32))


def sent_shape(array):
    return tf.TensorShape(array.shape).as_proto()


def test_every_dtype_has_tensorflows_number_and_name():
    for number, dtype in tensors._DTYPES.items():
        assert tf.as_dtype(number).name == dtype.name
        if dtype.name not in ("string", "bfloat16"):
            size = tf.as_dtype(number).size
            assert np.dtype(dtype.wire).itemsize == size
    known = set(tensors._DTYPES) | set(tensors._OTHER_NAMES)
    plain = {number for name, number in types_pb2.DataType.items() if not name.endswith("_REF")}
    # Newer TensorFlows may have more; what is named must be right.
    assert known <= plain
    for number, name in tensors._OTHER_NAMES.items():
        assert types_pb2.DataType.Name(number) == f"DT_{name.upper()}"
    assert tensors.dtype_name(types_pb2.DT_FLOAT_REF) == "float32"
    assert tensors.dtype_name(99) == "DataType 99"


@pytest.mark.parametrize("dtype", ["qint8", "quint8", "qint16", "quint16", "qint32"])
def test_quantised_types_come_as_integers(dtype):
    proto = tensor_pb2.TensorProto(dtype=getattr(types_pb2, f"DT_{dtype.upper()}"), int_val=[1, 2])
    proto.tensor_shape.dim.add(size=2)
    same(tensors.decode(ours(proto), "x"), np.array([1, 2], dtype[1:]))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, 2], np.int32),
        ([2**31 - 1, -(2**31)], np.int32),
        ([2**31], np.int64),
        ([1.5], np.float32),
        ([[1, 2.5]], np.float32),
        ([], np.float32),
        ([[], []], np.float32),
        (3, np.int32),
        ((1.0, 2.0), np.float32),
        (True, np.bool_),
        (np.float64(1), np.float64),
        ([np.float64(1)], np.float64),
        (np.array([1, 2]), np.int64),
        (["a"], object),
        ("a", object),
        ((b"a", "b"), object),
        (np.array(["a", "bc"]), object),
        (np.array([b"a"]), object),
        ([[["deep"]]], object),
    ],
)
def test_what_is_sent_for_python_values(value, dtype):
    array = tensors.as_array(value, "x")
    assert array.dtype == dtype
    assert array.shape == np.shape(value)


def test_strings_are_sent_whole():
    """NumPy's own string arrays would lose the NUL, and make every row as long as the longest."""
    proto = tensors.encode([["a\0", b"\0"], ["é", b"\xff"]], "x")
    assert list(proto.string_val) == [b"a\0", b"\0", b"\xc3\xa9", b"\xff"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([[1, 2], [3]], 'input "x" is not an array'),
        ([1, "a"], 'input "x" mixes strings and numbers'),
        (["a", 1], 'row 1 of input "x" is int, not str or bytes'),
        (["a", None], 'row 1 of input "x" is NoneType'),
        (["a", ["b"]], 'input "x"'),
        ([None], 'row 0 of input "x" is NoneType'),
        ([{}], 'row 0 of input "x" is dict'),
        (["ok", "a\udc80"], 'row 1 of input "x" holds the lone surrogate U+DC80 at character 1'),
        ([2**70], 'input "x"'),
        (
            np.array(["2020-01-01"], "datetime64[D]"),
            'input "x" has dtype datetime64[D], which TensorFlow Serving',
        ),
        (np.zeros(1, np.longdouble), 'input "x" has dtype'),
        (np.zeros(1, [("a", "f4")]), 'input "x" has dtype'),
    ],
)
def test_what_cannot_be_sent(value, says):
    with pytest.raises(InputError) as caught:
        tensors.encode(value, "x")
    assert says in str(caught.value)


# ---------------------------------------------------------------- the corners of the format


def proto_of(dtype, shape, **fields):
    proto = messages.TensorProto(dtype=dtype, **fields)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize("dtype", [1, 2, 3, 4, 7, 9, 10, 14, 19, 22, 23, 8, 18])
def test_no_values_mean_zeros(dtype):
    got = tensors.decode(proto_of(dtype, [2, 3]), "x")
    assert got.shape == (2, 3)
    assert got.tolist() == [[b"" if dtype == 7 else 0] * 3] * 2
    parsed = tf.io.parse_tensor(proto_of(dtype, [2, 3]).SerializeToString(), tf.as_dtype(dtype)).numpy()
    same(got, parsed.astype(got.dtype))


def test_a_short_list_goes_on_with_its_last_value():
    assert tensors.decode(proto_of(1, [2, 2], float_val=[struct.pack("<ff", 1, 2)]), "x").tolist() == [
        [1, 2],
        [2, 2],
    ]
    assert tensors.decode(proto_of(7, [3], string_val=[b"a"]), "x").tolist() == [b"a"] * 3
    assert tensors.decode(proto_of(14, [2], half_val=[0x3F80]), "x").tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("dtype", "number", "letter"), [(1, 5, "f"), (2, 6, "d")])
def test_unpacked_values_are_read_too(dtype, number, letter):
    """A writer may give each value a tag of its own; every reader must take both."""
    wire_type = {"f": 5, "d": 1}[letter]
    shape = proto_of(dtype, [3])
    raw = b"".join(
        bytes([number << 3 | wire_type]) + struct.pack(f"<{letter}", value) for value in (1, -2, 0.5)
    )
    data = shape.SerializeToString() + raw
    want = tf.make_ndarray(tensor_pb2.TensorProto.FromString(data))
    assert want.tolist() == [1, -2, 0.5]
    same(tensors.decode(messages.TensorProto.FromString(data), "x"), want)


def test_unpacked_complex_values_are_read_too():
    raw = b"".join(bytes([9 << 3 | 5]) + struct.pack("<f", value) for value in (1, 2, 3, 4))
    data = proto_of(8, [2]).SerializeToString() + raw
    got = tensors.decode(messages.TensorProto.FromString(data), "x")
    assert (got.dtype, got.tolist()) == (np.complex64, [1 + 2j, 3 + 4j])


def test_a_packed_list_may_come_in_pieces():
    pieces = [struct.pack("<ff", 1, 2), struct.pack("<f", 3)]
    proto = proto_of(1, [3], float_val=pieces)
    same(tensors.decode(proto, "x"), tf.make_ndarray(official(proto)))
    assert tensors.decode(proto, "x").tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        (proto_of(1, [2], tensor_content=b"1234"), "4 bytes for 2 values of 4"),
        (proto_of(3, [1], int_val=[1, 2]), "2 values for 1"),
        (proto_of(1, [2], float_val=[b"12345"]), "5 bytes, not a multiple of 4"),
        (proto_of(7, [2], tensor_content=b"\x01\x80"), "its 2 bytes end before 2 lengths"),
        (proto_of(7, [2], tensor_content=b"\x01\x01a"), "1 bytes for strings of 2 in all"),
        (proto_of(3, [2**62], int_val=[1]), "1 values to fill"),
        (proto_of(20, [1]), "is of type resource, which this client cannot read"),
        (proto_of(24, [1]), "is of type float8_e5m2, which this client cannot read"),
        (proto_of(0, []), "is of type invalid"),
        (proto_of(1234, []), "is of type DataType 1234"),
        (proto_of(1, [-1]), "came without a full shape"),
        (messages.TensorProto(dtype=1, tensor_shape={"unknown_rank": True}), "came without a full shape"),
    ],
)
def test_damaged_answers(proto, says):
    with pytest.raises(AnswerError) as caught:
        tensors.decode(proto, "out")
    assert says in str(caught.value)
    assert 'output "out"' in str(caught.value)


def test_what_is_decoded_is_the_callers_own():
    for proto in (tensors.encode(np.zeros(3, np.float32), "x"), proto_of(1, [2], float_val=[b"\0" * 8])):
        got = tensors.decode(proto, "x")
        got += 1
        assert tensors.decode(proto, "x").tolist() == [0] * len(got)
