"""Carries out the steps of conversations with grpc.aio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Optional, TypeVar, Union

import grpc
import grpc.aio

from tfpipeline.serving.client import calls, steps, streaming, telemetry
from tfpipeline.serving.client.base import BaseClient
from tfpipeline.serving.client.errors import CallError

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Connection:
    """What belongs to one event loop; grpc.aio ties a channel to the loop it is made in."""

    loop: asyncio.AbstractEventLoop
    channel: Any
    stubs: dict[str, Any]
    places: Optional[asyncio.Semaphore]


class AsyncDriver(BaseClient):
    """A client that carries out conversations; see :class:`AsyncPredictClient` for its methods."""

    _interceptor_class = grpc.aio.UnaryUnaryClientInterceptor

    def _start(self) -> None:
        self._lock = threading.Lock()  # event loops may run in several threads
        self._connections: dict[int, _Connection] = {}

    async def close(self) -> None:
        """Close the connections, those of other event loops too; calls that are under way end with
        ClosedError.
        """
        if self._process not in (None, os.getpid()):
            self._closed = True  # a process that was forked must not touch the channels of the other one
            return
        with self._lock:
            self._closed = True
            connections = list(self._connections.values())
            self._connections.clear()
        here = asyncio.get_running_loop()
        for connection in connections:
            if connection.loop is here:
                await connection.channel.close()
            elif connection.loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(connection.channel.close(), connection.loop)
                await asyncio.wrap_future(closing)

    async def _run(self, conversation: steps.Conversation[_Result]) -> _Result:
        """Carry out a conversation that gives nothing before its end."""
        self._check_open()
        under_way = _UnderWay()
        try:
            step = steps.advance(conversation)
            while not isinstance(step, steps.Done):
                step = await self._next_step(conversation, step, under_way, None)
            return step.result
        finally:
            under_way.cancel_all()

    async def _stream(
        self, conversation: steps.Conversation[None], rows: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
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
                    for result in step.results:
                        yield result
                step = await self._next_step(conversation, step, under_way, rows)
        finally:
            under_way.cancel_all()

    async def _next_step(
        self,
        conversation: steps.Conversation[_Result],
        step: steps.Step,
        under_way: _UnderWay,
        rows: Optional[AsyncIterator[Any]],
    ) -> Union[steps.Step, steps.Done[_Result]]:
        try:
            answer = await self._carry_out(step, under_way, rows)
        except CallError as error:
            return steps.advance(conversation, error=error)
        return steps.advance(conversation, answer)

    async def _carry_out(
        self, step: steps.Step, under_way: _UnderWay, rows: Optional[AsyncIterator[Any]]
    ) -> Any:
        if isinstance(step, steps.Call):
            async with self._place(step):
                return await self._call(step)
        if isinstance(step, steps.Start):
            return await self._begin(step, under_way)
        if isinstance(step, steps.Finish):
            return await under_way.next(step.seconds)
        if isinstance(step, steps.Cancel):
            return under_way.cancel(step.key)
        if isinstance(step, steps.Read):
            return steps.END if rows is None else await streaming.following(rows)
        if isinstance(step, steps.Wait):
            return await asyncio.sleep(step.seconds)
        return None

    async def _call(self, step: steps.Call) -> Any:
        connection = self._connection()
        try:
            return await connection.stubs[step.method.path](
                step.request, timeout=self._deadline(step), metadata=self._headers
            )
        except grpc.aio.UsageError as error:  # the channel is closed
            raise (self._closed_error() if self._closed else error) from error
        except grpc.RpcError as error:
            if self._closed:
                raise self._closed_error() from error
            connected = connection.channel.get_state() is grpc.ChannelConnectivity.READY
            again = await self._ask_again(error)
            raise self._error(error, step, connected, again) from None
        except asyncio.CancelledError as error:
            # gRPC raises this too when close() ends the call; the task itself goes on then.
            if not self._closed or _task_is_cancelled():
                raise
            raise self._closed_error() from error

    async def _ask_again(self, error: Any) -> Any:
        address = self._other_address(error)
        if address is None:
            return None
        async with self._open(grpc.aio, address) as channel:
            try:
                await self._asking(channel)
            except grpc.RpcError as again:
                return again
        return None

    async def _begin(self, step: steps.Start, under_way: _UnderWay) -> bool:
        places = self._connection().places
        if places is not None:
            if step.optional and places.locked():
                return False
            await places.acquire()

        async def outcome() -> Any:
            try:
                return await self._call(step.call)
            except CallError as error:
                return error
            finally:
                if places is not None:
                    places.release()

        under_way.add(step.key, asyncio.ensure_future(outcome()))
        return True

    def _place(self, step: steps.Call) -> Any:
        """A place among the requests at a time; other calls do not need one."""
        places = self._connection().places if step.method is calls.PREDICT else None
        return places if places is not None else _NoPlace()

    def _connection(self) -> _Connection:
        """The connection of the running event loop; those of loops that have ended are dropped."""
        self._check_open()
        loop = asyncio.get_running_loop()
        connection = self._connections.get(id(loop))
        if connection is not None and connection.loop is loop:
            return connection
        with self._lock:
            self._check_open()
            self._process = os.getpid()
            for key, other in list(self._connections.items()):
                if other.loop.is_closed():
                    del self._connections[key]
            channel = self._open(
                grpc.aio, interceptors=[*telemetry.interceptors(self._tracing), *self._interceptors]
            )
            limit = self._max_concurrency
            places = None if limit is None else asyncio.Semaphore(limit)
            connection = _Connection(loop, channel, self._stubs_of(channel), places)
            self._connections[id(loop)] = connection
        return connection


class _UnderWay:
    """The calls of a conversation that are under way."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[Any]] = {}

    def add(self, key: int, task: asyncio.Task[Any]) -> None:
        self._tasks[key] = task

    async def next(self, seconds: Optional[float]) -> Optional[steps.Finished]:
        """The next call that finishes, or None when the time is up."""
        done, _ = await asyncio.wait(
            self._tasks.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for key, task in self._tasks.items():
            if task in done:
                del self._tasks[key]
                return steps.Finished(key, task.result())
        return None

    def cancel(self, key: int) -> None:
        self._tasks.pop(key).cancel()

    def cancel_all(self) -> None:
        for task in self._tasks.values():
            if task.done() and not task.cancelled():
                task.exception()  # it is of no interest any more; asyncio would warn
            task.cancel()


class _NoPlace(contextlib.AbstractAsyncContextManager[None]):
    """contextlib.nullcontext is asynchronous from Python 3.10 on."""

    async def __aexit__(self, *_: object) -> None:
        pass


def _task_is_cancelled() -> bool:
    task = asyncio.current_task()
    # Before Python 3.11 a task cannot tell, and close() is assumed to be the reason.
    return task is not None and hasattr(task, "cancelling") and task.cancelling() > 0
