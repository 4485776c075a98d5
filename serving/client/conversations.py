"""The logic of the clients without input and output: generators that yield calls and waits.

Each conversation yields :class:`Call` and :class:`Wait` steps, is sent each call's response (or has its
``CallError`` thrown in), and returns the result. The synchronous and the asyncio client differ only in how
they carry the steps out, so that they cannot differ in anything else.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, TypeVar, Union

from tfpipeline.serving.client import calls, predictions
from tfpipeline.serving.client.errors import (
    AnswerError,
    DeadlineExceededError,
    InputError,
    InvalidArgumentError,
    ModelFailedError,
    NotFoundError,
    NotReadyError,
    ResourceExhaustedError,
    UnavailableError,
    one_line,
)

# A server that starts, loads or is overloaded may be ready later. Other statuses do not change by themselves.
_NOT_YET = (UnavailableError, NotFoundError, DeadlineExceededError, ResourceExhaustedError)
# Seconds between two checks, and the maximum time per check: a server that hangs is queried again.
_POLL = 0.25
EXPLAIN = "explain"  # the signature of models that were exported with --explain
_LOOK = 5.0


@dataclass(frozen=True)
class Call:
    """Carry out a call; the conversation is sent the response.

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


_Result = TypeVar("_Result")
Conversation = Generator[Union[Call, Wait], Any, _Result]


def check_seconds(timeout: Any, name: str = "timeout") -> float:
    """A number of seconds above 0.

    Raises:
        InputError: it is not; every call has a deadline.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < 1e9:
        raise InputError(f"{name} is {timeout!r}; give seconds, more than 0 (every call has a deadline)")
    return float(timeout)


def predict(
    endpoint: calls.Endpoint,
    texts: Iterable[Any],
    text_pair: Optional[Iterable[Any]],
    batch_size: Optional[int],
    timeout: Optional[float],
) -> Conversation[list[predictions.Prediction]]:
    """Predict for texts, ``batch_size`` per request, one request after the other."""
    _check_batch_size(batch_size)
    columns = calls.text_inputs(texts, text_pair)
    return (yield from _ask_in_batches(endpoint, columns, batch_size, timeout))


def explain(
    endpoint: calls.Endpoint,
    texts: Iterable[Any],
    text_pair: Optional[Iterable[Any]],
    labels: Optional[Iterable[Any]],
    batch_size: Optional[int],
    timeout: Optional[float],
) -> Conversation[list[predictions.Explanation]]:
    """Ask for explanations, ``batch_size`` texts per request, one request after the other.

    Raises:
        AnswerError: the signature gives something else.
    """
    _check_batch_size(batch_size)
    columns = calls.explain_inputs(texts, text_pair, labels)
    endpoint = replace(endpoint, signature=EXPLAIN)
    answers = yield from _ask_in_batches(endpoint, columns, batch_size, timeout)
    explanations = [answer for answer in answers if isinstance(answer, predictions.Explanation)]
    if len(explanations) < len(answers):
        raise AnswerError(
            f'the signature "{EXPLAIN}" of {endpoint} does not give explanations as this client knows them; '
            "export the model again with --explain, or use predict_raw()"
        )
    return explanations


def _check_batch_size(batch_size: Optional[int]) -> None:
    if batch_size is not None and (
        isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
    ):
        raise InputError(
            f"batch_size is {batch_size!r}; give a whole number from 1 on, or None for one request"
        )


def _ask_in_batches(
    endpoint: calls.Endpoint,
    columns: Mapping[str, Any],
    batch_size: Optional[int],
    timeout: Optional[float],
) -> Conversation[list[predictions.Prediction]]:
    count = len(columns["text"])
    answers: list[predictions.Prediction] = []
    for start in range(0, count, batch_size or max(count, 1)):
        part = {name: column[start : start + (batch_size or count)] for name, column in columns.items()}
        response = yield Call(calls.PREDICT, calls.predict_request(endpoint, part), timeout)
        answers += predictions.decode(calls.predict_answer(response).outputs, rows=len(part["text"]))
    return answers


def predict_raw(
    endpoint: calls.Endpoint,
    inputs: Mapping[str, Any],
    outputs: Optional[Collection[str]],
    timeout: Optional[float],
) -> Conversation[calls.RawAnswer]:
    """Call the signature with named arrays."""
    response = yield Call(calls.PREDICT, calls.predict_request(endpoint, inputs, outputs), timeout)
    return calls.predict_answer(response, outputs)


def model_status(
    endpoint: calls.Endpoint, timeout: Optional[float]
) -> Conversation[list[calls.VersionStatus]]:
    """Get the states of the versions."""
    return calls.status_answer((yield Call(calls.STATUS, calls.status_request(endpoint), timeout)))


def metadata(endpoint: calls.Endpoint, timeout: Optional[float]) -> Conversation[calls.ModelMetadata]:
    """Get the signatures of the model."""
    return calls.metadata_answer((yield Call(calls.METADATA, calls.metadata_request(endpoint), timeout)))


def wait_until_ready(
    endpoint: calls.Endpoint, timeout: float, clock: Callable[[], float] = time.monotonic
) -> Conversation[list[calls.VersionStatus]]:
    """Poll until a version is AVAILABLE.

    Raises:
        ModelFailedError: a version ended with an error and no other is on its way.
        NotReadyError: the timeout expired.
        CallError: a status that waiting cannot change.
    """
    end = clock() + check_seconds(timeout)
    request = calls.status_request(endpoint)
    seen = ""
    while True:
        try:
            response = yield Call(calls.STATUS, request, min(_LOOK, max(end - clock(), 0.001)))
            statuses = calls.status_answer(response)
            if any(status.state is calls.VersionState.AVAILABLE for status in statuses):
                yield from _resolve_label(endpoint, min(_LOOK, max(end - clock(), 0.001)))
                return statuses
            _raise_if_failed(endpoint, statuses)
            seen = ", ".join(map(str, statuses)) or "it has no version"
        except _NOT_YET as error:
            # The last check may be cut short by the timeout, so the state before it says more.
            if not (seen and isinstance(error, DeadlineExceededError)):
                seen = f"{error.code} ({one_line(error.details)})"
        left = end - clock()
        if left <= 0:
            raise NotReadyError(
                f"{endpoint} at {endpoint.target} was not ready after {timeout:g} s (last seen: {seen}); "
                "see the server's log, or wait longer"
            )
        yield Wait(min(_POLL, left))


def _resolve_label(endpoint: calls.Endpoint, timeout: float) -> Conversation[None]:
    """Get the version of a label. Servers ignore labels in a model's status, but the metadata requires that
    the label exists.

    Raises:
        NotFoundError: there is no such label yet.
    """
    if endpoint.version_label is None:
        return
    try:
        yield Call(calls.METADATA, calls.metadata_request(endpoint), timeout)
    except InvalidArgumentError as error:  # as TensorFlow Serving says it
        raise NotFoundError(str(error), error.details, error.target) from error


def _raise_if_failed(endpoint: calls.Endpoint, statuses: Sequence[calls.VersionStatus]) -> None:
    ended = [status for status in statuses if status.state is calls.VersionState.END]
    failed = [status for status in ended if status.error]
    if failed and len(ended) == len(statuses):
        newest = failed[0]
        raise ModelFailedError(
            f'{endpoint.target} could not load version {newest.version} of model "{endpoint.model}": '
            f"{one_line(newest.error)}; repair the exported model or the server's configuration"
        )
