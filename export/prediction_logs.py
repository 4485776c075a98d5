"""TensorFlow Serving's record of a request, as stored in a file of warm-up requests.

Needs only TensorFlow: not ``tensorflow-serving-api``, and no other module of this package, because the fresh
process of an export also runs this file.

Source: tensorflow/serving, tensorflow_serving/apis/{prediction_log,predict,model}.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tfpipeline.export"
# message -> field: its number in the official files, and its type. Fields that are not written are left out.
_MESSAGES = {
    "ModelSpec": {"signature_name": (3, "string")},
    # On the wire, a map is a repeated message of a key and a value, and a message is its bytes.
    "Input": {"key": (1, "string"), "value": (2, "bytes")},  # the value is a TensorProto
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "repeated Input")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


def _prediction_log() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="prediction_log.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, declared) in fields.items():
            label = _FIELD.LABEL_REPEATED if declared.startswith("repeated ") else _FIELD.LABEL_OPTIONAL
            kind = declared.removeprefix("repeated ")
            field = message.field.add(name=field_name, number=number, label=label)
            if kind in _MESSAGES:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = getattr(_FIELD, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()  # private: the official names stay free in the global pool
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog"))


_PredictionLog = _prediction_log()


def write(path: str, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Write requests as a TFRecord file.

    Args:
        requests: pairs of a signature and its inputs: name -> array; strings are an object array of bytes.
    """
    with tf.io.TFRecordWriter(path) as file:
        for signature, inputs in requests:
            log = _PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            for name, value in sorted(inputs.items()):
                proto = tf.make_tensor_proto(value)
                log.predict_log.request.inputs.add(key=name, value=proto.SerializeToString())
            file.write(log.SerializeToString())


def read(path: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the requests of a file.

    Returns:
        A signature, and its inputs: name -> a serialized ``TensorProto``, for ``tf.io.parse_tensor``.
    """
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = _PredictionLog.FromString(record).predict_log.request
        yield request.model_spec.signature_name, {entry.key: entry.value for entry in request.inputs}
