"""Asks a server which versions it serves, without loading TensorFlow.

The official messages import TensorFlow (seconds, 600 MB). The five fields needed here are declared in a
private descriptor pool, where they cannot conflict with the official ones. Source:
tensorflow_serving/apis/get_model_status.proto and model.proto.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

METHOD = "/tensorflow.serving.ModelService/GetModelStatus"
AVAILABLE = 30

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving"


@functools.lru_cache(maxsize=1)
def _messages() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="get_model_status_fields.proto", package=_PACKAGE, syntax="proto3"
    )

    def message(name: str, *fields: tuple[str, int, Any]) -> None:
        added = file.message_type.add(name=name)
        for field, number, kind in fields:
            if isinstance(kind, str):
                repeated = kind.startswith("*")
                added.field.add(
                    name=field,
                    number=number,
                    type=_FIELD.TYPE_MESSAGE,
                    type_name=f".{_PACKAGE}.{kind.lstrip('*')}",
                    label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
                )
            else:
                added.field.add(name=field, number=number, type=kind, label=_FIELD.LABEL_OPTIONAL)

    message("ModelSpec", ("name", 1, _FIELD.TYPE_STRING))
    message("GetModelStatusRequest", ("model_spec", 1, "ModelSpec"))
    message("ModelVersionStatus", ("version", 1, _FIELD.TYPE_INT64), ("state", 2, _FIELD.TYPE_INT32))
    message("GetModelStatusResponse", ("model_version_status", 1, "*ModelVersionStatus"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)

    def of(name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))

    return of("GetModelStatusRequest"), of("GetModelStatusResponse")


def encode_request(name: str) -> bytes:
    """The bytes of a `GetModelStatusRequest` for all versions of a model."""
    request, _ = _messages()
    data: bytes = request(model_spec={"name": name}).SerializeToString()
    return data


def available_versions(response: bytes) -> list[int]:
    """The versions that are AVAILABLE according to a `GetModelStatusResponse`, in its order."""
    _, message = _messages()
    return [
        one.version for one in message.FromString(response).model_version_status if one.state == AVAILABLE
    ]
