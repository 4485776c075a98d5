"""Carries out the steps of conversations with gRPC's blocking calls and futures."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any, Optional, TypeVar

import grpc

from tfpipeline.serving.client import calls, steps, telemetry
from tfpipeline.serving.client.base import BaseClient
from tfpipeline.serving.client.errors import CallError, ClosedError

_Result = TypeVar("_Result")


class SyncDriver(BaseClient):
    """A client that carries out conversations; see :class:`PredictClient` for its methods."""

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._channel: Any = None
        self._stubs: dict[str, Any] = {}
        self._places = None if self._max_concurrency is None else threading.Semaphore(self._max_concurrency)

    def close(self) -> None:
        """Close the connection; calls that are under way end with ClosedError."""
        if self._process not in (None, os.getpid()):
            self._closed = True  # a process that was forked must not touch the channel of the other one
            return
        with self._lock:
            self._closed = True
            if self._channel is not None:
                self._channel.close()

    def _run(self, conversation: steps.Conversation[_Result]) -> _Result:
        """Carry out a conversation that gives nothing before its end."""
        driven = self._drive(conversation)
        try:
            next(driven)
        except StopIteration as done:
            result: _Result = done.value
            return result
        raise AssertionError("a conversation without a reader gave results")

    def _drive(
        self, conversation: steps.Conversation[_Result], rows: Optional[Iterator[Any]] = None
    ) -> Generator[Any, None, _Result]:
        """Carry out a conversation; yields what it gives.

        Args:
            conversation: what to carry out.
            rows: the input that it reads.
        """
        self._check_open()
        under_way = _UnderWay()
        try:
            step = steps.advance(conversation)
            while not isinstance(step, steps.Done):
                if isinstance(step, steps.Give):
                    yield from step.results
                try:
                    answer = self._carry_out(step, under_way, rows)
                except CallError as error:
                    step = steps.advance(conversation, error=error)
                else:
                    step = steps.advance(conversation, answer)
            return step.result
        finally:
            under_way.cancel_all()

    def _carry_out(self, step: steps.Step, under_way: _UnderWay, rows: Optional[Iterator[Any]]) -> Any:
        if isinstance(step, steps.Call):
            return self._call(step)
        if isinstance(step, steps.Start):
            return self._begin(step, under_way)
        if isinstance(step, steps.Finish):
            return self._finish(step, under_way)
        if isinstance(step, steps.Cancel):
            return under_way.cancel(step.key)
        if isinstance(step, steps.Read):
            return steps.END if rows is None else next(rows, steps.END)
        return time.sleep(step.seconds) if isinstance(step, steps.Wait) else None

    def _call(self, step: steps.Call) -> Any:
        with self._place(step):
            stub = self._stub(step)
            try:
                return stub(step.request, timeout=self._deadline(step), metadata=self._headers)
            except grpc.RpcError as error:
                raise self._failed(error, step) from None
            except ValueError as error:
                raise self._closed_or(error) from error

    def _begin(self, step: steps.Start, under_way: _UnderWay) -> bool:
        if self._places is not None and not self._places.acquire(blocking=not step.optional):
            return False
        try:
            future = self._stub(step.call).future(
                step.call.request, timeout=self._deadline(step.call), metadata=self._headers
            )
        except BaseException as error:
            self._leave()
            if isinstance(error, ValueError):
                raise self._closed_or(error) from error
            raise
        under_way.add(step, future, self._leave)
        return True

    def _finish(self, step: steps.Finish, under_way: _UnderWay) -> Optional[steps.Finished]:
        begun, future = under_way.next(step.seconds)
        if future is None:
            return None
        try:
            outcome = future.result()
        except grpc.FutureCancelledError:  # not by us
            outcome = self._status_error("CANCELLED", "an interceptor cancelled the call", begun.call)
        except grpc.RpcError as error:
            outcome = self._failed(error, begun.call)
        if isinstance(outcome, ClosedError):
            raise outcome
        return steps.Finished(begun.key, outcome)

    def _place(self, step: steps.Call) -> Any:
        """A place among the requests at a time; other calls do not need one."""
        if self._places is None or step.method is not calls.PREDICT:
            return contextlib.nullcontext()
        return self._places

    def _leave(self) -> None:
        if self._places is not None:
            self._places.release()

    def _stub(self, step: steps.Call) -> Any:
        self._check_open()
        if self._channel is None:
            with self._lock:
                self._check_open()
                if self._channel is None:
                    self._process = os.getpid()
                    channel = telemetry.traced(self._tracing, self._open(grpc))
                    if self._interceptors:
                        channel = grpc.intercept_channel(channel, *self._interceptors)
                    self._stubs = self._stubs_of(channel)
                    self._channel = channel
        return self._stubs[step.method.path]

    def _failed(self, error: Any, step: steps.Call) -> Exception:
        if self._closed:
            return self._closed_error()
        connected = None
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            connected = _is_connected(self._channel)
        again = None
        address = self._other_address(error)
        if address is not None:
            with self._open(grpc, address) as channel:
                try:
                    self._asking(channel)
                except grpc.RpcError as other:
                    again = other
        return self._error(error, step, connected, again)

    def _closed_or(self, error: Exception) -> Exception:
        """gRPC raises ValueError for a call on a closed channel."""
        return self._closed_error() if self._closed else error


class _UnderWay:
    """The calls of a conversation that are under way."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[steps.Start, Any]] = {}
        # Filled by gRPC's thread.
        self._finished: queue.SimpleQueue[int] = queue.SimpleQueue()

    def add(self, step: steps.Start, future: Any, leave: Any) -> None:
        def finished(_: Any) -> None:
            leave()
            self._finished.put(step.key)

        self._begun[step.key] = step, future
        future.add_done_callback(finished)

    def next(self, seconds: Optional[float]) -> tuple[Any, Any]:
        """The next call that finishes, or (None, None) when the time is up."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                key = self._finished.get(timeout=left)
            except queue.Empty:
                return None, None
            if key in self._begun:  # else it was cancelled
                step, future = self._begun.pop(key)
                return step, future

    def cancel(self, key: int) -> None:
        self._begun.pop(key)[1].cancel()

    def cancel_all(self) -> None:
        for key in list(self._begun):
            self.cancel(key)


def _is_connected(channel: Any) -> Optional[bool]:
    """Whether there is a connection; None if that cannot be found out.

    gRPC's public way, ``subscribe``, starts a thread and outlives the channel, so the private one is asked.
    """
    for _ in range(8):  # interceptors wrap channels in channels
        ask = getattr(channel, "check_connectivity_state", None)
        if ask is not None:
            with contextlib.suppress(ValueError):  # it was closed meanwhile
                return bool(ask(False) == grpc.ChannelConnectivity.READY.value[0])
            return None
        channel = getattr(channel, "_channel", None)
    return None
