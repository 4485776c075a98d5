"""The logic of the clients without input and output: one conversation per method; see ``steps.py``."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional, TypeVar

import numpy as np

from tfpipeline.serving.client import calls, checks, concurrency, predictions
from tfpipeline.serving.client import texts as columns_of
from tfpipeline.serving.client.errors import (
    AnswerError,
    CallError,
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
from tfpipeline.serving.client.steps import Call, Conversation, Wait

# A server that starts, loads or is overloaded may be ready later. Other statuses do not change by themselves.
_NOT_YET = (UnavailableError, NotFoundError, DeadlineExceededError, ResourceExhaustedError)
# Seconds between two checks, and the maximum time per check: a server that hangs is queried again.
_POLL = 0.25
_LOOK = 5.0
EXPLAIN = "explain"  # the signature of models that were exported with --explain

_Kind = TypeVar("_Kind", bound=predictions.Prediction)


@dataclass(frozen=True)
class Sending:
    """How texts become requests.

    Attributes:
        batch_size: texts per request; None for all in one.
        timeout: seconds per request; None for the client's own.
        concurrent: the number of requests of one conversation at a time.
        hedging: None to send each request once.
    Raises:
        InputError: a value is invalid.
    """

    batch_size: Optional[int] = None
    timeout: Optional[float] = None
    concurrent: int = 1
    hedging: Optional[concurrency.Hedging] = None

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            checks.whole("batch_size", self.batch_size, 1, otherwise=", or None for one request")
        if self.timeout is not None:
            checks.seconds(self.timeout)


def predict(
    endpoint: calls.Endpoint,
    texts: Iterable[Any],
    text_pair: Optional[Iterable[Any]],
    sending: Sending,
    expect: type[_Kind],
    adapter: Any = None,
) -> Conversation[list[_Kind]]:
    """Predict for texts.

    Raises:
        AnswerError: the predictions are not of the kind ``expect``.
    """
    check_kind(expect)
    columns = columns_of.text_inputs(texts, text_pair, adapter)
    answers = yield from ask_in_batches(endpoint, columns, sending)
    return of_kind(answers, expect, of_signature(endpoint))


def explain(
    endpoint: calls.Endpoint,
    texts: Iterable[Any],
    text_pair: Optional[Iterable[Any]],
    labels: Optional[Iterable[Any]],
    sending: Sending,
) -> Conversation[list[predictions.Explanation]]:
    """Ask for explanations.

    Raises:
        AnswerError: the signature gives something else.
    """
    columns = columns_of.explain_inputs(texts, text_pair, labels)
    endpoint = replace(endpoint, signature=EXPLAIN)
    answers = yield from ask_in_batches(endpoint, columns, sending)
    explanations = [answer for answer in answers if isinstance(answer, predictions.Explanation)]
    if len(explanations) < len(answers):
        raise AnswerError(
            f'the signature "{EXPLAIN}" of {endpoint} does not give explanations as this client knows them; '
            "export the model again with --explain, or use predict_raw()"
        )
    return explanations


def of_signature(endpoint: calls.Endpoint) -> str:
    """The model and its signature, for errors of :func:`of_kind`."""
    return f'{endpoint}, signature "{endpoint.signature}",'


def check_kind(kind: Any) -> None:
    """Check an argument ``expect``.

    Raises:
        InputError: it is no kind of prediction.
    """
    if not (isinstance(kind, type) and issubclass(kind, predictions.Prediction)):
        raise InputError(f"expect is {kind!r}; give a class of predictions, such as Classification")


def of_kind(answers: Sequence[predictions.Prediction], kind: type[_Kind], who: str) -> list[_Kind]:
    """Predictions of one kind.

    Args:
        answers: predictions of any kind.
        kind: the kind.
        who: the model, for errors.
    Raises:
        AnswerError: one of them is of another kind.
    """
    fitting = [answer for answer in answers if isinstance(answer, kind)]
    if len(fitting) < len(answers):
        other = next(answer for answer in answers if not isinstance(answer, kind))
        raise AnswerError(
            f"{who} answers with {type(other).__name__}, not with {kind.__name__}; use predict(), or its "
            f"argument expect={type(other).__name__}"
        )
    return fitting


def request_of(
    endpoint: calls.Endpoint, columns: Mapping[str, np.ndarray], rows: Sequence[int], sending: Sending
) -> Call:
    """The call for some rows of columns."""
    part = {name: column[np.asarray(rows, dtype=np.intp)] for name, column in columns.items()}
    return Call(calls.PREDICT, calls.predict_request(endpoint, part), sending.timeout)


def answers_of(response: Any, rows: int) -> list[predictions.Prediction]:
    """The predictions of a response, one for each of the rows that were asked."""
    return predictions.decode(calls.predict_answer(response).outputs, rows=rows)


def ask_in_batches(
    endpoint: calls.Endpoint,
    columns: Mapping[str, np.ndarray],
    sending: Sending,
    read: Callable[[Any, int], Sequence[Any]] = answers_of,
) -> Conversation[list[Any]]:
    """Predictions in the order of the rows, from batches of similar lengths.

    Args:
        endpoint: the model.
        columns: name -> array [B]; ``text`` among them.
        sending: how rows become requests.
        read: the rows' values in a response; by default their predictions.
    """
    count = len(columns["text"])
    size = sending.batch_size or max(count, 1)
    order = columns_of.by_length(columns) if size < count else list(range(count))
    batches = [order[start : start + size] for start in range(0, count, size)]
    found: dict[int, Any] = {}

    def keep(batch: Sequence[int], outcome: Any) -> None:
        if isinstance(outcome, CallError):
            raise outcome
        found.update(zip(batch, read(outcome, len(batch))))

    if sending.concurrent == 1 or len(batches) < 2:
        for batch in batches:
            call = request_of(endpoint, columns, batch, sending)
            keep(batch, (yield from concurrency.ask(call, sending.hedging)))
    else:
        dispatcher = concurrency.Dispatcher(sending.hedging)
        for batch in batches:
            if len(dispatcher) == sending.concurrent:
                keep(*(yield from dispatcher.finish()))
            yield from dispatcher.start(batch, request_of(endpoint, columns, batch, sending))
        while len(dispatcher):
            keep(*(yield from dispatcher.finish()))
    return [found[row] for row in range(count)]


def predict_raw(
    endpoint: calls.Endpoint,
    inputs: Mapping[str, Any],
    outputs: Optional[Collection[str]],
    sending: Sending,
) -> Conversation[calls.RawAnswer]:
    """Call the signature with named arrays."""
    call = Call(calls.PREDICT, calls.predict_request(endpoint, inputs, outputs), sending.timeout)
    return calls.predict_answer((yield from concurrency.ask(call, sending.hedging)), outputs)


def health(service: str, timeout: Optional[float]) -> Conversation[calls.Health]:
    """Ask whether a server takes calls."""
    if not isinstance(service, str):
        raise InputError(f'service is {type(service).__name__}; give a name, or "" for the whole server')
    return calls.health_answer((yield Call(calls.HEALTH, calls.health_request(service), timeout)))


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
    end = clock() + checks.seconds(timeout)
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
