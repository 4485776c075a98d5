"""The server reads tensors as TensorFlow does, also on the short way for those that clients write."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from tfpipeline.serving.server.tensors import TensorParseError, decode

FLOATS = np.arange(6, dtype="<f4").tobytes()


@pytest.mark.parametrize("shape", [[1] * 33, [1] * 64, [1] * 70, [0, 2**62]], ids=["33", "64", "70", "huge"])
def test_shapes_that_numpy_cannot_have_are_refused(shape):
    values = [] if 0 in shape else [b"a"]
    with pytest.raises(TensorParseError):
        decode(proto(types_pb2.DT_STRING, shape, string_val=values))


def proto(dtype, shape, **values):
    message = tensor_pb2.TensorProto(dtype=dtype, **values)
    message.tensor_shape.SetInParent()
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


@pytest.mark.parametrize(
    "message",
    [
        proto(types_pb2.DT_STRING, [2], string_val=[b"a", b"\xff"]),
        proto(types_pb2.DT_STRING, [2, 1], string_val=[b"a", b"b"]),
        proto(types_pb2.DT_STRING, [], string_val=[b"a"]),
        proto(types_pb2.DT_STRING, [0]),
        proto(types_pb2.DT_STRING, [1] * 32, string_val=[b"a"]),
        proto(types_pb2.DT_STRING, [3], string_val=[b"a", b"b"]),
        proto(types_pb2.DT_STRING, [1], string_val=[b"a", b"b"]),
        proto(types_pb2.DT_STRING, [2], string_val=[b"a", b"b"], tensor_content=b"\x01\x01cd"),
        proto(types_pb2.DT_FLOAT, [2, 3], tensor_content=FLOATS),
        proto(types_pb2.DT_FLOAT, [], tensor_content=FLOATS[:4]),
        proto(types_pb2.DT_FLOAT, [2, 3], tensor_content=FLOATS[:-4]),
        proto(types_pb2.DT_FLOAT, [0, 3]),
        proto(types_pb2.DT_FLOAT, [3], float_val=[1, 2]),
        proto(types_pb2.DT_INT32, [3], tensor_content=np.array([1, -2, 3], "<i4").tobytes()),
        proto(types_pb2.DT_INT64, [1, 2], tensor_content=np.array([1, -(2**40)], "<i8").tobytes()),
        proto(types_pb2.DT_INT32, [-1, 2], tensor_content=np.array([1, 2], "<i4").tobytes()),
        tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, tensor_shape={"unknown_rank": True}, string_val=[b"a"]
        ),
    ],
    ids=lambda message: None,
)
def test_every_message_is_read_or_refused_as_tensorflow_does(message):
    try:
        want = tf.raw_ops.ParseTensor(serialized=message.SerializeToString(), out_type=message.dtype).numpy()
    except tf.errors.OpError:
        with pytest.raises(TensorParseError):
            decode(message)
    else:
        want = np.asarray(want, object) if message.dtype == types_pb2.DT_STRING else np.asarray(want)
        got = decode(message)
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        assert got.tolist() == want.tolist()
