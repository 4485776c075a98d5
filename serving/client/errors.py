"""What the client raises: every message is one sentence that says what, where, and what to do.

    ClientError
    ├── InputError                an input cannot be sent; no call was made
    ├── AnswerError               the response cannot be read, or does not match the request
    ├── ClosedError               the client was closed, before the call or while it was under way, or belongs
    │                             to the process that this one was forked from
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

from typing import ClassVar, Optional

from tfpipeline.serving.client import hints

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
    """The client was closed, before the call or while it was under way, or belongs to the process that this
    one was forked from.
    """


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
    # What the message says: "TARGET PROBLEM (CALL, MODEL): DETAILS; ADVICE". See hints.py for details that
    # say more than the status does.
    problem: ClassVar[str] = ""
    advice: ClassVar[str] = ""

    def __init__(self, message: str, details: str = "", target: str = "") -> None:
        super().__init__(message)
        self.details = details
        self.target = target


class CancelledError(CallError):
    code = "CANCELLED"
    problem = "or a proxy on the way cancelled the call"
    advice = "send it again, or see the server's log"


class UnknownError(CallError):
    code = "UNKNOWN"
    problem = "failed without giving a reason"
    advice = "see the server's log"


class InvalidArgumentError(CallError):
    code = "INVALID_ARGUMENT"
    problem = "refuses the request"
    advice = "the client's metadata() lists the names, dtypes and shapes of the model's inputs"


class DeadlineExceededError(CallError):
    code = "DEADLINE_EXCEEDED"
    problem = "did not answer in {timeout}"
    advice = "raise timeout, or see the server's log"


class NotFoundError(CallError):
    code = "NOT_FOUND"
    problem = "has no such model or version"
    advice = "check the name and the version; wait_until_ready() of the client waits while it is loading"


class AlreadyExistsError(CallError):
    code = "ALREADY_EXISTS"
    problem = "already has an object of this name"
    advice = "choose another name"


class PermissionDeniedError(CallError):
    code = "PERMISSION_DENIED"
    problem = "does not allow this"
    advice = "ask the server's administrator for access"


class ResourceExhaustedError(CallError):
    code = "RESOURCE_EXHAUSTED"
    problem = "is overloaded"
    advice = (
        "send fewer requests at a time (max_concurrency of the client limits them), or start more servers"
    )


class FailedPreconditionError(CallError):
    code = "FAILED_PRECONDITION"
    problem = "cannot handle this request"
    advice = "the client's metadata() lists the model's signatures"


class AbortedError(CallError):
    code = "ABORTED"
    problem = "aborted the request"
    advice = "send it again"


class OutOfRangeError(CallError):
    code = "OUT_OF_RANGE"
    problem = "reports a value that is out of range"
    advice = "correct the input"


class UnimplementedError(CallError):
    code = "UNIMPLEMENTED"
    problem = "does not support this call"
    advice = "is it TensorFlow Serving's gRPC port (8500 by default)?"


class InternalError(CallError):
    code = "INTERNAL"
    problem = "had an internal error"
    advice = "see the server's log"


class UnavailableError(CallError):
    code = "UNAVAILABLE"
    problem = "is unavailable"
    advice = "send the request again later, or see the server's log"


class DataLossError(CallError):
    code = "DATA_LOSS"
    problem = "lost or damaged data"
    advice = "see the server's log"


class UnauthenticatedError(CallError):
    code = "UNAUTHENTICATED"
    problem = "does not accept the caller's credentials"
    advice = "check headers and credentials of the client"


BY_CODE: dict[str, type[CallError]] = {cls.code: cls for cls in CallError.__subclasses__()}


def from_status(
    code: str,
    details: str,
    *,
    target: str,
    asked: str,
    timeout: float,
    situation: Optional[hints.Situation] = None,
) -> CallError:
    """The one error of a gRPC status.

    Args:
        code: the status' name, e.g. ``"NOT_FOUND"``.
        details: the server's message, or gRPC's own.
        target: the server.
        asked: the call and the model, as the message shows them.
        timeout: the call's deadline in seconds.
        situation: what is known of the call besides, for better advice.
    """
    # gRPC maps numbers outside its table to UNKNOWN, and so do we.
    cls = BY_CODE.get(code, UnknownError)
    hint = hints.find(cls.code, details, situation or hints.Situation())
    problem = (hint.problem or cls.problem).format(timeout=f"{timeout:g} s")
    advice = hint.advice or cls.advice
    said = one_line(hints.reason(details)) or "no details"
    return cls(f"{target} {problem} ({asked}): {said}; {advice}", details, target)


def one_line(text: str) -> str:
    """A server's message fit for the middle of a sentence: one line, no full stop, not endless."""
    text = " ".join(text.split())
    if len(text) > _DETAILS_LIMIT:
        text = text[:_DETAILS_LIMIT] + "..."
    elif text.endswith("."):
        text = text.rstrip(".")
    return text
