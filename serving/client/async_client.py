"""The asyncio client: the same calls, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Optional, TypeVar, Union

import grpc
import grpc.aio

from tfpipeline.serving.client import conversations
from tfpipeline.serving.client.base import BaseClient
from tfpipeline.serving.client.calls import ModelMetadata, RawAnswer, VersionStatus
from tfpipeline.serving.client.predictions import Explanation, Prediction

__all__ = ["AsyncPredictClient"]

_Result = TypeVar("_Result")


class AsyncPredictClient(BaseClient):
    """:class:`PredictClient` for asyncio, with the same arguments, results and errors.

    It belongs to the event loop that makes its first call. A task that is cancelled cancels its call.
    """

    def _start(self) -> None:
        # grpc.aio ties a channel to the running loop; there may be none yet.
        self._channel: Any = None
        self._stubs: dict[str, Any] = {}

    async def predict(
        self,
        texts: Iterable[Union[str, bytes]],
        text_pair: Optional[Iterable[Union[str, bytes]]] = None,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[Prediction]:
        """See :meth:`PredictClient.predict`."""
        return await self._run(conversations.predict(self.endpoint, texts, text_pair, batch_size, timeout))

    async def explain(
        self,
        texts: Iterable[Union[str, bytes]],
        text_pair: Optional[Iterable[Union[str, bytes]]] = None,
        *,
        labels: Union[Iterable[Union[str, bytes]], str, bytes, None] = None,
        batch_size: Optional[int] = 8,
        timeout: Optional[float] = None,
    ) -> list[Explanation]:
        """See :meth:`PredictClient.explain`."""
        return await self._run(
            conversations.explain(self.endpoint, texts, text_pair, labels, batch_size, timeout)
        )

    async def predict_raw(
        self,
        inputs: Mapping[str, Any],
        *,
        outputs: Optional[Collection[str]] = None,
        timeout: Optional[float] = None,
    ) -> RawAnswer:
        """See :meth:`PredictClient.predict_raw`."""
        return await self._run(conversations.predict_raw(self.endpoint, inputs, outputs, timeout))

    async def model_status(self, *, timeout: Optional[float] = None) -> list[VersionStatus]:
        """See :meth:`PredictClient.model_status`."""
        return await self._run(conversations.model_status(self.endpoint, timeout))

    async def metadata(self, *, timeout: Optional[float] = None) -> ModelMetadata:
        """See :meth:`PredictClient.metadata`."""
        return await self._run(conversations.metadata(self.endpoint, timeout))

    async def wait_until_ready(self, timeout: float = 60.0) -> list[VersionStatus]:
        """See :meth:`PredictClient.wait_until_ready`."""
        return await self._run(conversations.wait_until_ready(self.endpoint, timeout))

    async def close(self) -> None:
        """Close the connection; pending calls end with CancelledError."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncPredictClient:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def _run(self, conversation: conversations.Conversation[_Result]) -> _Result:
        self._check_open()
        if self._channel is None:
            self._channel, self._stubs = self._open(grpc.aio)
        try:
            step = next(conversation)
            while True:
                if isinstance(step, conversations.Wait):
                    await asyncio.sleep(step.seconds)
                    step = conversation.send(None)
                    continue
                try:
                    response = await self._stubs[step.method.path](step.request, timeout=self._deadline(step))
                except grpc.RpcError as error:
                    step = conversation.throw(self._error(error, step))
                except asyncio.CancelledError:
                    # gRPC raises this too when close() ends the call; the task itself goes on then.
                    if not self._closed or _task_is_cancelled():
                        raise
                    step = conversation.throw(self._status_error("CANCELLED", "the client was closed", step))
                else:
                    step = conversation.send(response)
        except StopIteration as done:
            result: _Result = done.value
            return result


def _task_is_cancelled() -> bool:
    task = asyncio.current_task()
    # Before Python 3.11 a task cannot tell, and close() is assumed to be the reason.
    return task is not None and hasattr(task, "cancelling") and task.cancelling() > 0
