"""A gRPC status as an exception, raised by all parts of the embedded server."""

from __future__ import annotations

from pathlib import Path

import grpc

# TensorFlow's error codes and gRPC's status codes have the same numbers.
_CODES = {code.value[0]: code for code in grpc.StatusCode}

# Source: ToGRPCStatus in tensorflow/serving, model_servers/grpc_status_util.cc.
_MESSAGE_LIMIT = 1024


class StatusError(Exception):
    """A response that is not OK.

    Args:
        code: the gRPC status.
        message: the message, in TensorFlow Serving's words.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def number(self) -> int:
        """The number of the code in TensorFlow's `error.Code`."""
        return int(self.code.value[0])

    def details(self) -> str:
        """The message as sent to the client, truncated as in TensorFlow Serving."""
        if len(self.message) > _MESSAGE_LIMIT:
            return self.message[:_MESSAGE_LIMIT] + "...TRUNCATED"
        return self.message


def from_number(number: int, message: str) -> StatusError:
    """The error for a TensorFlow error code."""
    return StatusError(_CODES.get(number, grpc.StatusCode.UNKNOWN), message)


def invalid_argument(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)


def unimplemented(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.UNIMPLEMENTED, message)


def unavailable(message: str) -> StatusError:
    return StatusError(grpc.StatusCode.UNAVAILABLE, message)


def no_saved_model(path: Path) -> StatusError:
    """The error for a version directory without a graph file. Source: LoadSessionBundleOrSavedModelBundle in
    tensorflow/serving, session_bundle/oss/session_bundle_util.cc.
    """
    return not_found(
        "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
        f"`saved_model.pb`)\nSpecified file path: {path}"
    )
