"""TensorFlow Serving's messages, built in a private descriptor pool.

The generated modules of ``tensorflow-serving-api`` import TensorFlow (seconds and hundreds of MB), and copies
of them under their original names conflict with TensorFlow in the same process. Messages made from the tables
below are in a private pool: nothing is registered globally, any protobuf from 4.25 on can build them, and the
bytes are the same.

Three declarations intentionally differ from the official files; none of them changes the bytes:

* Enums are declared as int32 (the same varint), so that unknown newer numbers still arrive.
* ``float_val``, ``double_val``, ``scomplex_val`` and ``dcomplex_val`` of :data:`TensorProto` are declared as
  ``repeated bytes``. On the wire, a packed list *is* a length and the values' little-endian bytes, which
  ``np.frombuffer`` reads at once. It is repeated because a packed list may arrive in several pieces.
  :data:`UnpackedTensorProto` has the ordinary declarations, for the rare writer that does not pack.
* Fields that the client neither sends nor reads are left out; protobuf keeps or skips unknown fields.

Source: tensorflow/serving, tensorflow_serving/apis/*.proto; tensorflow/tensorflow,
tensorflow/core/framework/{tensor,tensor_shape}.proto and core/protobuf/meta_graph.proto; grpc/grpc-proto,
grpc/health/v1/health.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# message -> {field: (number, type)}; "repeated T", "map T" (from string to T) and "oneof NAME T" as in a
# .proto file.
_TENSOR_LISTS = {
    "half_val": (13, "repeated int32"),
    "int_val": (7, "repeated int32"),
    "string_val": (8, "repeated bytes"),
    "int64_val": (10, "repeated int64"),
    "bool_val": (11, "repeated bool"),
    "uint32_val": (16, "repeated uint32"),
    "uint64_val": (17, "repeated uint64"),
}
_TENSOR = {
    "dtype": (1, "int32"),
    "tensor_shape": (2, "TensorShapeProto"),
    "tensor_content": (4, "bytes"),
    **_TENSOR_LISTS,
}
_SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "Dim": {"size": (1, "int64")},
    "TensorShapeProto": {"dim": (2, "repeated Dim"), "unknown_rank": (3, "bool")},
    "TensorProto": {
        **_TENSOR,
        "float_val": (5, "repeated bytes"),
        "double_val": (6, "repeated bytes"),
        "scomplex_val": (9, "repeated bytes"),
        "dcomplex_val": (12, "repeated bytes"),
    },
    "UnpackedTensorProto": {
        **_TENSOR,
        "float_val": (5, "repeated float"),
        "double_val": (6, "repeated double"),
        "scomplex_val": (9, "repeated float"),
        "dcomplex_val": (12, "repeated double"),
    },
    "Int64Value": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "oneof version_choice Int64Value"),
        "version_label": (4, "oneof version_choice string"),
        "signature_name": (3, "string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "map TensorProto"),
        "output_filter": (3, "repeated string"),
    },
    "PredictResponse": {"outputs": (1, "map TensorProto"), "model_spec": (2, "ModelSpec")},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "ModelVersionStatus": {"version": (1, "int64"), "state": (2, "int32"), "status": (3, "StatusProto")},
    "GetModelStatusResponse": {"model_version_status": (1, "repeated ModelVersionStatus")},
    "GetModelMetadataRequest": {"model_spec": (1, "ModelSpec"), "metadata_field": (2, "repeated string")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "GetModelMetadataResponse": {"model_spec": (1, "ModelSpec"), "metadata": (2, "map Any")},
    "TensorInfo": {
        "name": (1, "oneof encoding string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "TensorShapeProto"),
    },
    "SignatureDef": {
        "inputs": (1, "map TensorInfo"),
        "outputs": (2, "map TensorInfo"),
        "method_name": (3, "string"),
    },
    "SignatureDefMap": {"signature_def": (1, "map SignatureDef")},
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "int32")},
}

_PACKAGE = "tfpipeline.serving.client"
_Field = descriptor_pb2.FieldDescriptorProto


def _add_field(message: Any, name: str, number: int, declared: str) -> None:
    words = declared.split()
    kind = words[-1]
    label = "LABEL_REPEATED" if words[0] in ("repeated", "map") else "LABEL_OPTIONAL"
    field = message.field.add(name=name, number=number, label=getattr(_Field, label))
    if words[0] == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name=words[1])
        field.oneof_index = 0  # no message here has two of them
    if words[0] == "map":
        # protoc's form of map<string, T>: a repeated nested message with a key and a value.
        entry = message.nested_type.add(name="".join(word.title() for word in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, kind)
        kind = f"{message.name}.{entry.name}"
    if words[0] == "map" or kind in _SCHEMA:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tfpipeline/serving/client.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, declared) in fields.items():
            _add_field(message, field, number, declared)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _SCHEMA
    }


# Any: the classes are created at run time, so a type checker cannot know their fields.
_CLASSES: dict[str, Any] = _build()

TensorProto = _CLASSES["TensorProto"]
UnpackedTensorProto = _CLASSES["UnpackedTensorProto"]
ModelSpec = _CLASSES["ModelSpec"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
GetModelStatusRequest = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["GetModelStatusResponse"]
GetModelMetadataRequest = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["GetModelMetadataResponse"]
SignatureDefMap = _CLASSES["SignatureDefMap"]
HealthCheckRequest = _CLASSES["HealthCheckRequest"]
HealthCheckResponse = _CLASSES["HealthCheckResponse"]
