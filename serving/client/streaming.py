"""Predictions for more texts than fit into memory, row by row."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Optional, TypeVar

import numpy as np

from tfpipeline.serving.client import calls, checks, conversations, predictions, tensors, texts
from tfpipeline.serving.client.concurrency import Dispatcher
from tfpipeline.serving.client.conversations import Sending
from tfpipeline.serving.client.errors import (
    AnswerError,
    CallError,
    ClientError,
    DeadlineExceededError,
    FailedPreconditionError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from tfpipeline.serving.client.steps import END, Conversation, Give, Read

__all__ = ["RowResult"]

BATCH_SIZE = 32
# Batches per concurrent request that are read ahead: half of them are sorted by length together, while the
# other half is under way. Padded tokens per real one, with lengths like those of tweets and 32 texts a batch:
# 2.8 unsorted, 1.6 sorted over 4 batches, 1.3 over 8, 1.2 over 16, 1.0 over all.
_AHEAD = 16
# No row can be predicted any more.
_HOPELESS = (
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnimplementedError,
)
# The rows of the batch are not at fault, so asking for each alone would only add load.
_NOT_THE_ROWS = (UnavailableError, DeadlineExceededError)

_Kind = TypeVar("_Kind", bound=predictions.Prediction)
_Prediction = TypeVar("_Prediction", bound=predictions.Prediction, covariant=True)


@dataclass(frozen=True)
class RowResult(Generic[_Prediction]):
    """A row of ``predict_stream``: its prediction, or why it has none.

    Attributes:
        row: its number in the input, from 0.
        text: the text as it was read.
        prediction: None if it failed.
        error: None if it did not fail.
    """

    row: int
    text: Any
    prediction: Optional[_Prediction] = None
    error: Optional[ClientError] = None

    def result(self) -> _Prediction:
        """The prediction.

        Raises:
            ClientError: the row's error.
        """
        if self.error is not None:
            raise self.error
        assert self.prediction is not None  # a row has one of the two
        return self.prediction


class _Row(NamedTuple):
    """A row that is to be sent: its number, its texts as they were read, and as they are sent."""

    number: int
    given: Any
    sent: tuple[bytes, ...]


def read_ahead_of(read_ahead: Optional[int], sending: Sending) -> int:
    """The number of rows to read ahead.

    Raises:
        InputError: the number given is none.
    """
    if read_ahead is None:
        return _AHEAD * sending.concurrent * (sending.batch_size or BATCH_SIZE)
    return checks.whole("read_ahead", read_ahead, 1)


def predict_stream(
    endpoint: calls.Endpoint,
    sending: Sending,
    read_ahead: int,
    expect: type[_Kind],
    adapter: Optional[Any] = None,
) -> Conversation[None]:
    """Give a :class:`RowResult` for each row read, in order; rows are tuples of one text or two.

    Args:
        read_ahead: maximum number of rows that were read and not given.
        expect: the kind of the predictions.
        adapter: the name of the adapter of all rows; None for a model without.
    Raises:
        CallError: no row can be predicted any more, e.g. because there is no such model.
        AnswerError: the predictions are of another kind.
    """
    conversations.check_kind(expect)
    further = {} if adapter is None else {texts.ADAPTER: tensors.utf8([adapter], texts.ADAPTER)[0]}
    stream = _Stream(endpoint, sending, read_ahead, expect, further)
    yield from stream.run()


class _Stream(Generic[_Kind]):
    def __init__(
        self,
        endpoint: calls.Endpoint,
        sending: Sending,
        read_ahead: int,
        expect: type[_Kind],
        further: Mapping[str, bytes],
    ) -> None:
        self._further = further
        self._endpoint = endpoint
        self._sending = sending
        self._size = sending.batch_size or BATCH_SIZE
        self._most = read_ahead
        self._expect = expect
        self._dispatcher = Dispatcher(sending.hedging)
        self._waiting: deque[list[_Row]] = deque()  # batches that are not sent yet
        self._finished: dict[int, RowResult[_Kind]] = {}
        self._read = self._given = 0
        self._ended = False

    def run(self) -> Conversation[None]:
        while True:
            yield from self._give()
            if not self._waiting and not self._ended and self._read - self._given < self._most:
                yield from self._read_batches()
                continue
            while self._waiting and len(self._dispatcher) < self._sending.concurrent:
                batch = self._waiting.popleft()
                yield from self._dispatcher.start(batch, self._call(batch))
            if len(self._dispatcher):
                self._keep(*(yield from self._dispatcher.finish()))
            elif self._ended and not self._waiting and self._read == self._given:
                return

    def _give(self) -> Conversation[None]:
        """Give the rows that are next in order and finished."""
        ready = []
        while self._given in self._finished:
            ready.append(self._finished.pop(self._given))
            self._given += 1
        if ready:
            yield Give(ready)

    def _read_batches(self) -> Conversation[None]:
        """Read rows, and make batches of similar lengths of them."""
        room = self._most - (self._read - self._given)
        rows: list[_Row] = []
        for _ in range(min(room, max(self._size, self._most // 2))):
            given = yield Read()
            if given is END:
                self._ended = True
                break
            number, self._read = self._read, self._read + 1
            try:
                rows.append(_Row(number, given[0], tuple(_sent(given))))
            except InputError as error:
                self._finished[number] = RowResult(number, given[0], error=error)
        rows.sort(key=lambda row: -sum(map(len, row.sent)))
        self._waiting.extend(rows[start : start + self._size] for start in range(0, len(rows), self._size))

    def _call(self, batch: Sequence[_Row]) -> Any:
        columns = {}
        for name, texts_of_rows in zip(("text", "text_pair"), zip(*(row.sent for row in batch))):
            columns[name] = np.empty(len(batch), dtype=object)
            columns[name][:] = texts_of_rows
        columns.update({name: np.full(len(batch), value, object) for name, value in self._further.items()})
        return conversations.request_of(self._endpoint, columns, range(len(batch)), self._sending)

    def _keep(self, batch: list[_Row], outcome: Any) -> None:
        """Keep a batch's predictions; a batch that failed is divided until its faulty rows are alone."""
        try:
            if isinstance(outcome, CallError):
                raise outcome
            answers = conversations.answers_of(outcome, len(batch))
        except _HOPELESS:
            raise
        except (CallError, AnswerError) as error:
            if len(batch) > 1 and not _concerns_all(error):
                half = len(batch) // 2
                self._waiting.extendleft([batch[half:], batch[:half]])
                return
            for row in batch:
                self._finished[row.number] = RowResult(row.number, row.given, error=error)
            return
        fitting = conversations.of_kind(answers, self._expect, conversations.of_signature(self._endpoint))
        for row, answer in zip(batch, fitting):
            self._finished[row.number] = RowResult(row.number, row.given, answer)


def _concerns_all(error: ClientError) -> bool:
    overloaded = isinstance(error, ResourceExhaustedError) and "larger than max" not in error.details
    return overloaded or isinstance(error, _NOT_THE_ROWS)


def _sent(given: Sequence[Any]) -> Iterator[bytes]:
    for name, text in zip(("text", "text_pair"), given):
        try:
            yield from tensors.utf8([text], name)
        except InputError as error:
            # The row's number is in its result; here it would be that of a list of one.
            raise InputError(str(error).replace("row 0 of input", "input", 1)) from None


def rows(given: Any, text_pair: Optional[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of the caller's columns.

    Raises:
        InputError: they are no columns, or one of them ends before the other.
    """
    columns = [texts.rows_of(given, "text")]
    if text_pair is not None:
        columns.append(texts.rows_of(text_pair, "text_pair"))
    return _zipped(columns)


def _zipped(columns: Sequence[Iterator[Any]]) -> Iterator[tuple[Any, ...]]:
    for count, text in enumerate(columns[0]):
        row = (text, *(next(other, END) for other in columns[1:]))
        if row[-1] is END:
            raise InputError(_uneven("text_pair", count))
        yield row
    if any(next(other, END) is not END for other in columns[1:]):
        raise InputError(_uneven("text", None))


def _uneven(shorter: str, count: Optional[int]) -> str:
    rows_read = "" if count is None else f" after {count} {'row' if count == 1 else 'rows'}"
    return f'input "{shorter}" ends{rows_read} before the other; give a second text for each text'


def awaited_rows(given: Any, text_pair: Optional[Any]) -> AsyncIterator[tuple[Any, ...]]:
    """:func:`rows` of columns that may be asynchronous."""
    columns = [_awaited(given, "text")]
    if text_pair is not None:
        columns.append(_awaited(text_pair, "text_pair"))
    return _awaited_zipped(columns)


async def _awaited_zipped(columns: Sequence[AsyncIterator[Any]]) -> AsyncIterator[tuple[Any, ...]]:
    count = 0
    async for text in columns[0]:
        row = (text, *[await following(other) for other in columns[1:]])
        if row[-1] is END:
            raise InputError(_uneven("text_pair", count))
        count += 1
        yield row
    for other in columns[1:]:
        if await following(other) is not END:
            raise InputError(_uneven("text", None))


async def following(column: AsyncIterator[Any]) -> Any:
    """The next value; ``END`` if there is none."""
    try:
        return await column.__anext__()
    except StopAsyncIteration:
        return END


def _awaited(column: Any, name: str) -> AsyncIterator[Any]:
    if hasattr(column, "__aiter__"):
        found: AsyncIterator[Any] = column.__aiter__()
        return found
    return _as_asynchronous(texts.rows_of(column, name))


async def _as_asynchronous(column: Iterator[Any]) -> AsyncIterator[Any]:
    for value in column:
        yield value
