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
from tfpipeline.serving.client.predictions import Explanation, Prediction

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
        """Predict for texts.

        Args:
            texts: str, or bytes in UTF-8. Without texts, no call is made.
            text_pair: the second text of each pair, for models of pairs.
            batch_size: number of texts per request; by default all in one. Requests are sent one after the
                other.
            timeout: maximum seconds per request; by default the client's timeout.
        Returns:
            One prediction per text, in order.
        Raises:
            ClientError: see ``errors.py``; no other errors are raised intentionally.
        """
        return self._run(conversations.predict(self.endpoint, texts, text_pair, batch_size, timeout))

    def explain(
        self,
        texts: Iterable[Union[str, bytes]],
        text_pair: Optional[Iterable[Union[str, bytes]]] = None,
        *,
        labels: Union[Iterable[Union[str, bytes]], str, bytes, None] = None,
        batch_size: Optional[int] = 8,
        timeout: Optional[float] = None,
    ) -> list[Explanation]:
        """Ask what each word contributes to a prediction.

        The model must have the signature ``explain`` (``tfpipeline export --explain``). An explanation costs
        about a hundred predictions of its text.

        Args:
            texts: str, or bytes in UTF-8. No texts: no call.
            text_pair: the second text of each pair, for models of pairs.
            labels: the answer to explain: of each text one, or one for all; "" for the predicted one, which
                is the default. See docs/explanations.md.
            batch_size: texts in a request; None for all in one. Requests go one after the other.
            timeout: seconds a request may take; by default the client's.
        Returns:
            One explanation a text, in their order.
        Raises:
            ClientError: see ``errors.py``.
        """
        return self._run(conversations.explain(self.endpoint, texts, text_pair, labels, batch_size, timeout))

    def predict_raw(
        self,
        inputs: Mapping[str, Any],
        *,
        outputs: Optional[Collection[str]] = None,
        timeout: Optional[float] = None,
    ) -> RawAnswer:
        """Call the signature with named arrays.

        Args:
            inputs: name -> array-like. Arrays keep their dtype; Python numbers are sent in 32 bits.
            outputs: the outputs to return; by default all.
            timeout: maximum seconds; by default the client's timeout.
        Returns:
            Named arrays, and the version that computed them.
        Raises:
            ClientError: see ``errors.py``.
        """
        return self._run(conversations.predict_raw(self.endpoint, inputs, outputs, timeout))

    def model_status(self, *, timeout: Optional[float] = None) -> list[VersionStatus]:
        """The states of the model's versions, the newest first; only the client's own version if it has one.

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
        """Wait until a version is AVAILABLE: while the server starts, while it does not know the model yet,
        and while the model loads.

        Args:
            timeout: maximum seconds to wait.
        Returns:
            The status of the available version.
        Raises:
            ModelFailedError: the server could not load the model; the error has the server's message.
            NotReadyError: the timeout expired; the error has the last state.
            CallError: the server returned an error that waiting cannot change.
        """
        return self._run(conversations.wait_until_ready(self.endpoint, timeout))

    def close(self) -> None:
        """Close the connection; pending calls end with CancelledError."""
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
