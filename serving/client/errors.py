"""What the client raises: every message is one sentence that says what, where, and what to do.

    ClientError
    ├── InputError                an input cannot be sent; no call was made
    ├── AnswerError               the response cannot be read, or does not match the request
    ├── ClosedError               the client was closed before the call
    ├── NotReadyError             wait_until_ready: the timeout expired
    ├── ModelFailedError          wait_until_ready: the server could not load the model
    └── CallError                 the call ended with a gRPC status other than OK; one class per status:
        ├── CancelledError            ├── PermissionDeniedError      ├── UnimplementedError
        ├── UnknownError              ├── ResourceExhaustedError     ├── InternalError
        ├── InvalidArgumentError      ├── FailedPreconditionError    ├── UnavailableError
        ├── DeadlineExceededError     ├── AbortedError               ├── DataLossError
        ├── NotFoundError             └── OutOfRangeError            └── UnauthenticatedError
        └── AlreadyExistsError

The names are gRPC's own (https://grpc.io/docs/guides/status-codes/). This module imports neither grpc nor
numpy, so that a command line can name the errors without paying for them.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "AnswerError",
    "CallError",
    "CancelledError",
    "ClientError",
    "ClosedError",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InputError",
    "InternalError",
    "InvalidArgumentError",
    "ModelFailedError",
    "NotFoundError",
    "NotReadyError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
]

# A server may put a whole graph into its message. A length that fits a terminal is enough.
_DETAILS_LIMIT = 600


class ClientError(Exception):
    """The base class of all errors that the client raises intentionally."""


class InputError(ClientError):
    """An input cannot be sent; no call was made."""


class AnswerError(ClientError):
    """The server's response cannot be read, or does not match the request."""


class ClosedError(ClientError):
    """The client was closed before the call."""


class NotReadyError(ClientError):
    """The model was not ready within the timeout; the message has the last state."""


class ModelFailedError(ClientError):
    """The server could not load the model; the message includes the server's."""


class CallError(ClientError):
    """A call ended with a gRPC status other than OK.

    Attributes:
        code: the status' name, e.g. ``"NOT_FOUND"``.
        details: the server's message, or gRPC's own, unshortened.
        target: the server.
    """

    code: ClassVar[str] = ""
    template: ClassVar[str] = ""

    def __init__(self, message: str, details: str = "", target: str = "") -> None:
        super().__init__(message)
        self.details = details
        self.target = target


class CancelledError(CallError):
    code = "CANCELLED"
    template = (
        "the call to {target} was cancelled ({asked}): {details}; was the client closed while it was waiting?"
    )


class UnknownError(CallError):
    code = "UNKNOWN"
    template = "{target} failed without giving a reason ({asked}): {details}; see the server's log"


class InvalidArgumentError(CallError):
    code = "INVALID_ARGUMENT"
    template = (
        "{target} refuses the request ({asked}): {details}; "
        "metadata() lists the names, dtypes and shapes of the model's inputs"
    )


class DeadlineExceededError(CallError):
    code = "DEADLINE_EXCEEDED"
    template = (
        "{target} did not answer in {timeout} ({asked}): {details}; "
        "raise timeout, or send fewer texts in a request"
    )


class NotFoundError(CallError):
    code = "NOT_FOUND"
    template = (
        "{target} has no such model or version ({asked}): {details}; "
        "check the name and the version, or wait_until_ready() if it is still loading"
    )


class AlreadyExistsError(CallError):
    code = "ALREADY_EXISTS"
    template = "{target} already has an object of this name ({asked}): {details}; choose another name"


class PermissionDeniedError(CallError):
    code = "PERMISSION_DENIED"
    template = "{target} does not allow this ({asked}): {details}; ask the server's administrator for access"


class ResourceExhaustedError(CallError):
    code = "RESOURCE_EXHAUSTED"
    template = (
        "{target} is overloaded ({asked}): {details}; send fewer requests at a time, "
        "or raise the server's --grpc_max_threads"
    )
    # The same status says that a message is longer than one side accepts.
    too_long = (
        "a message to or from {target} is too long ({asked}): {details}; "
        "send fewer texts in a request, or raise max_message_bytes"
    )


class FailedPreconditionError(CallError):
    code = "FAILED_PRECONDITION"
    template = (
        "{target} cannot handle this request ({asked}): {details}; metadata() lists the model's signatures"
    )


class AbortedError(CallError):
    code = "ABORTED"
    template = "{target} aborted the request ({asked}): {details}; send it again"


class OutOfRangeError(CallError):
    code = "OUT_OF_RANGE"
    template = "{target} reports a value that is out of range ({asked}): {details}; correct the input"


class UnimplementedError(CallError):
    code = "UNIMPLEMENTED"
    template = (
        "{target} does not support this call ({asked}): {details}; "
        "is it a TensorFlow Serving gRPC port (8500 by default, not the REST port 8501)?"
    )


class InternalError(CallError):
    code = "INTERNAL"
    template = "{target} had an internal error ({asked}): {details}; see the server's log"


class UnavailableError(CallError):
    code = "UNAVAILABLE"
    template = (
        "{target} cannot be reached ({asked}): {details}; is the server running, and is the address right?"
    )


class DataLossError(CallError):
    code = "DATA_LOSS"
    template = "{target} lost or damaged data ({asked}): {details}; see the server's log"


class UnauthenticatedError(CallError):
    code = "UNAUTHENTICATED"
    template = "{target} does not accept the caller's credentials ({asked}): {details}; check credentials"


BY_CODE: dict[str, type[CallError]] = {cls.code: cls for cls in CallError.__subclasses__()}


def from_status(code: str, details: str, *, target: str, asked: str, timeout: float) -> CallError:
    """The one error of a gRPC status.

    Args:
        code: the status' name, e.g. ``"NOT_FOUND"``.
        details: the server's message, or gRPC's own.
        target: the server.
        asked: the call and the model, as the message shows them.
        timeout: the call's deadline in seconds.
    """
    # gRPC maps numbers outside its table to UNKNOWN, and so do we.
    cls = BY_CODE.get(code, UnknownError)
    template = cls.template
    if cls is ResourceExhaustedError and "larger than max" in details:
        template = ResourceExhaustedError.too_long
    message = template.format(
        target=target, asked=asked, details=one_line(details) or "no details", timeout=f"{timeout:g} s"
    )
    return cls(message, details, target)


def one_line(text: str) -> str:
    """A server's message fit for the middle of a sentence: one line, no full stop, not endless."""
    text = " ".join(text.split())
    if len(text) > _DETAILS_LIMIT:
        text = text[:_DETAILS_LIMIT] + "..."
    elif text.endswith("."):
        text = text.rstrip(".")
    return text
