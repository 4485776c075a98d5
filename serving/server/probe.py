"""Asks a server which versions it serves, without loading TensorFlow.

Source: tensorflow_serving/apis/get_model_status.proto and model.proto.
"""

from __future__ import annotations

import functools
from typing import Any

from tfpipeline.serving.server.declared_messages import INT32, INT64, STRING, declare

METHOD = "/tensorflow.serving.ModelService/GetModelStatus"
AVAILABLE = 30


@functools.lru_cache(maxsize=1)
def _messages() -> dict[str, Any]:
    return declare(
        "tensorflow.serving",
        {
            "ModelSpec": {"name": (1, STRING)},
            "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
            "ModelVersionStatus": {"version": (1, INT64), "state": (2, INT32)},
            "GetModelStatusResponse": {"model_version_status": (1, ["ModelVersionStatus"])},
        },
    )


def encode_request(name: str) -> bytes:
    """The bytes of a `GetModelStatusRequest` for all versions of a model."""
    request = _messages()["GetModelStatusRequest"]
    data: bytes = request(model_spec={"name": name}).SerializeToString()
    return data


def available_versions(response: bytes) -> list[int]:
    """The versions that are AVAILABLE according to a `GetModelStatusResponse`, in its order."""
    status = _messages()["GetModelStatusResponse"].FromString(response)
    return [one.version for one in status.model_version_status if one.state == AVAILABLE]
