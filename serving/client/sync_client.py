"""The synchronous client."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Optional, TypeVar, Union

import grpc

from tfpipeline.serving.client import conversations
from tfpipeline.serving.client.base import BaseClient
from tfpipeline.serving.client.calls import ModelMetadata, RawAnswer, VersionStatus
from tfpipeline.serving.client.predictions import Prediction

__all__ = ["PredictClient"]

_Result = TypeVar("_Result")


class PredictClient(BaseClient):
    __doc__ = BaseClient.__doc__

    def _start(self) -> None:
        self._channel, self._stubs = self._open(grpc)

    def predict(
        self,
        texts: Iterable[Union[str, bytes]],
        text_pair: Optional[Iterable[Union[str, bytes]]] = None,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[Prediction]:
        """Ask for texts.

        Args:
            texts: str, or bytes in UTF-8. No texts: no call.
            text_pair: the second text of each pair, for models of pairs.
            batch_size: texts in a request; by default all in one. Requests go one after the other.
            timeout: seconds a request may take; by default the client's.
        Returns:
            One prediction a text, in their order.
        Raises:
            ClientError: see ``errors.py``; nothing else is raised on purpose.
        """
        return self._run(conversations.predict(self.endpoint, texts, text_pair, batch_size, timeout))

    def predict_raw(
        self,
        inputs: Mapping[str, Any],
        *,
        outputs: Optional[Collection[str]] = None,
        timeout: Optional[float] = None,
    ) -> RawAnswer:
        """Ask with named arrays.

        Args:
            inputs: name -> array-like. An array's dtype is kept; Python numbers travel in 32 bits.
            outputs: the outputs wanted; by default all.
            timeout: seconds it may take; by default the client's.
        Returns:
            Named arrays, and the version that answered.
        Raises:
            ClientError: see ``errors.py``.
        """
        return self._run(conversations.predict_raw(self.endpoint, inputs, outputs, timeout))

    def model_status(self, *, timeout: Optional[float] = None) -> list[VersionStatus]:
        """Where the model's versions stand, the newest first; only the client's own version if it has one.

        Raises:
            ClientError: see ``errors.py``.
        """
        return self._run(conversations.model_status(self.endpoint, timeout))

    def metadata(self, *, timeout: Optional[float] = None) -> ModelMetadata:
        """The model's signatures: inputs and outputs by name, with dtype and shape.

        Raises:
            ClientError: see ``errors.py``.
        """
        return self._run(conversations.metadata(self.endpoint, timeout))

    def wait_until_ready(self, timeout: float = 60.0) -> list[VersionStatus]:
        """Wait until a version is AVAILABLE: for a server that starts, a model it does not know yet, or one
        that loads.

        Args:
            timeout: seconds to wait at most.
        Returns:
            The status that said so.
        Raises:
            ModelFailedError: the server could not load the model; it holds the server's message.
            NotReadyError: the time is up; it says what was seen last.
            CallError: the server answers something that waiting can't change.
        """
        return self._run(conversations.wait_until_ready(self.endpoint, timeout))

    def close(self) -> None:
        """Close the connection; calls that wait for an answer end with CancelledError."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> PredictClient:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def _run(self, conversation: conversations.Conversation[_Result]) -> _Result:
        self._check_open()
        try:
            step = next(conversation)
            while True:
                if isinstance(step, conversations.Wait):
                    time.sleep(step.seconds)
                    step = conversation.send(None)
                    continue
                try:
                    response = self._stubs[step.method.path](step.request, timeout=self._deadline(step))
                except grpc.RpcError as error:
                    step = conversation.throw(self._error(error, step))
                else:
                    step = conversation.send(response)
        except StopIteration as done:
            result: _Result = done.value
            return result
