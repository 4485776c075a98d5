"""The steps of a conversation: what the clients carry out for it.

A conversation is a generator without input and output. It yields steps and is sent their results; the
synchronous and the asyncio client differ only in how they carry the steps out, so that they cannot differ in
anything else.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Optional, TypeVar, Union

from tfpipeline.serving.client import calls
from tfpipeline.serving.client.errors import CallError


@dataclass(frozen=True)
class Call:
    """Carry out a call; the conversation is sent the response, or has the ``CallError`` thrown in.

    Attributes:
        timeout: seconds; None for the client's own.
    """

    method: calls.Method
    request: Any
    timeout: Optional[float] = None


@dataclass(frozen=True)
class Wait:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True)
class Start:
    """Begin a call and go on; the conversation is sent whether it was begun.

    Attributes:
        key: names the call for :class:`Finish` and :class:`Cancel`.
        optional: do not begin it if that means waiting for other calls of the client.
    """

    call: Call
    key: int
    optional: bool = False


@dataclass(frozen=True)
class Finish:
    """Wait for any of the calls that were begun; the conversation is sent a :class:`Finished`, or None when
    the time is up first.

    Attributes:
        seconds: maximum time to wait; None for no limit but the calls' own deadlines.
    """

    seconds: Optional[float] = None


class Finished(NamedTuple):
    """The outcome of a call that was begun."""

    key: int
    outcome: Any  # the response, or a CallError


@dataclass(frozen=True)
class Cancel:
    """Give up a call that was begun; it does not finish any more."""

    key: int


@dataclass(frozen=True)
class Read:
    """Read a row of the caller's input; the conversation is sent the row, or ``END``."""


END = object()


@dataclass(frozen=True)
class Give:
    """Hand results to the caller, who may take any time."""

    results: Sequence[Any]


Step = Union[Call, Wait, Start, Finish, Cancel, Read, Give]
_Result = TypeVar("_Result")
Conversation = Generator[Step, Any, _Result]


@dataclass(frozen=True)
class Done(Generic[_Result]):
    """The conversation has ended."""

    result: _Result


def advance(
    conversation: Conversation[_Result], answer: Any = None, error: Optional[CallError] = None
) -> Union[Step, Done[_Result]]:
    """Send a step's answer to a conversation, or throw its error in; None starts it.

    Returns:
        The next step. A coroutine cannot let StopIteration pass, so the end is a value.
    """
    try:
        return conversation.send(answer) if error is None else conversation.throw(error)
    except StopIteration as done:
        return Done(done.value)
