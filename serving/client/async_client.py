"""The asyncio client: the same calls, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Optional, TypeVar, Union, overload

import numpy as np

from tfpipeline.serving.client import conversations, generation, matching, streaming
from tfpipeline.serving.client.async_driver import AsyncDriver
from tfpipeline.serving.client.calls import Health, ModelMetadata, RawAnswer, VersionStatus
from tfpipeline.serving.client.generation import Flag, Real, Sources, Whole
from tfpipeline.serving.client.predictions import (
    Classification,
    Explanation,
    FillMask,
    Generation,
    Hit,
    Prediction,
    QuestionAnswering,
    Tagging,
)
from tfpipeline.serving.client.streaming import RowResult

__all__ = ["AsyncPredictClient"]

_Kind = TypeVar("_Kind", bound=Prediction)
Text = Union[str, bytes]
Texts = Iterable[Text]
Adapter = Union[Texts, Text, None]
StreamedTexts = Union[Texts, AsyncIterable[Text]]


class AsyncPredictClient(AsyncDriver):
    """:class:`PredictClient` for asyncio, with the same arguments, results and errors.

    It can be used in any event loop, and has a connection of its own in each. A task that is cancelled
    cancels its call.
    """

    @overload
    async def predict(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[Prediction]: ...

    @overload
    async def predict(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        expect: type[_Kind],
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[_Kind]: ...

    async def predict(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        expect: type[Any] = Prediction,
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """See :meth:`PredictClient.predict`."""
        sending = self._sending(batch_size, timeout)
        return await self._run(
            conversations.predict(self.endpoint, texts, text_pair, sending, expect, adapter)
        )

    async def classify(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[Classification]:
        """See :meth:`PredictClient.classify`."""
        return await self.predict(
            texts, text_pair, expect=Classification, adapter=adapter, batch_size=batch_size, timeout=timeout
        )

    async def tag(
        self, texts: Texts, *, batch_size: Optional[int] = None, timeout: Optional[float] = None
    ) -> list[Tagging]:
        """See :meth:`PredictClient.tag`."""
        return await self.predict(texts, expect=Tagging, batch_size=batch_size, timeout=timeout)

    async def fill_mask(
        self, texts: Texts, *, batch_size: Optional[int] = None, timeout: Optional[float] = None
    ) -> list[FillMask]:
        """See :meth:`PredictClient.fill_mask`."""
        return await self.predict(texts, expect=FillMask, batch_size=batch_size, timeout=timeout)

    async def answer(
        self,
        questions: Texts,
        passages: Texts,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[QuestionAnswering]:
        """See :meth:`PredictClient.answer`."""
        return await self.predict(
            questions, passages, expect=QuestionAnswering, batch_size=batch_size, timeout=timeout
        )

    async def embed(
        self,
        texts: Texts,
        *,
        prompt: Literal["query", "document"] = "query",
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> np.ndarray:
        """See :meth:`PredictClient.embed`."""
        sending = self._sending(batch_size, timeout)
        return await self._run(matching.embed(self.endpoint, texts, prompt, sending))

    async def similarity(
        self,
        texts: Texts,
        others: Texts,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> np.ndarray:
        """See :meth:`PredictClient.similarity`."""
        sending = self._sending(batch_size, timeout)
        return await self._run(matching.similarity(self.endpoint, texts, others, sending))

    async def search(
        self,
        queries: Texts,
        k: int = 10,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[list[Hit]]:
        """See :meth:`PredictClient.search`."""
        sending = self._sending(batch_size, timeout)
        return await self._run(matching.search(self.endpoint, queries, k, sending))

    async def generate(
        self,
        texts: Sources,
        *,
        seed: Whole = None,
        do_sample: Flag = None,
        temperature: Real = None,
        top_k: Whole = None,
        top_p: Real = None,
        num_beams: Whole = None,
        min_new_tokens: Whole = None,
        max_new_tokens: Whole = None,
        length_penalty: Real = None,
        no_repeat_ngram_size: Whole = None,
        repetition_penalty: Real = None,
        turn_separator: str = generation.SEPARATOR,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[Generation]:
        """See :meth:`PredictClient.generate`."""
        sending = self._sending(batch_size, timeout)
        choices = generation.chosen(
            *(seed, do_sample, temperature, top_k, top_p, num_beams, min_new_tokens, max_new_tokens),
            *(length_penalty, no_repeat_ngram_size, repetition_penalty),
        )
        return await self._run(generation.generate(self.endpoint, texts, choices, turn_separator, sending))

    @overload
    def predict_stream(
        self,
        texts: StreamedTexts,
        text_pair: Optional[StreamedTexts] = None,
        *,
        adapter: Optional[Text] = None,
        batch_size: int = streaming.BATCH_SIZE,
        read_ahead: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> AsyncIterator[RowResult[Prediction]]: ...

    @overload
    def predict_stream(
        self,
        texts: StreamedTexts,
        text_pair: Optional[StreamedTexts] = None,
        *,
        expect: type[_Kind],
        adapter: Optional[Text] = None,
        batch_size: int = streaming.BATCH_SIZE,
        read_ahead: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> AsyncIterator[RowResult[_Kind]]: ...

    def predict_stream(
        self,
        texts: StreamedTexts,
        text_pair: Optional[StreamedTexts] = None,
        *,
        expect: type[Any] = Prediction,
        adapter: Optional[Text] = None,
        batch_size: int = streaming.BATCH_SIZE,
        read_ahead: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> AsyncIterator[RowResult[Any]]:
        """See :meth:`PredictClient.predict_stream`; the texts may be asynchronous iterables too."""
        sending = self._sending(batch_size, timeout)
        ahead = streaming.read_ahead_of(read_ahead, sending)
        rows = streaming.awaited_rows(texts, text_pair)
        self._check_open()
        return self._stream(streaming.predict_stream(self.endpoint, sending, ahead, expect, adapter), rows)

    async def explain(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        labels: Union[Texts, Text, None] = None,
        batch_size: Optional[int] = 8,
        timeout: Optional[float] = None,
    ) -> list[Explanation]:
        """See :meth:`PredictClient.explain`."""
        sending = self._sending(batch_size, timeout)
        return await self._run(conversations.explain(self.endpoint, texts, text_pair, labels, sending))

    async def predict_raw(
        self,
        inputs: Mapping[str, Any],
        *,
        outputs: Optional[Collection[str]] = None,
        timeout: Optional[float] = None,
    ) -> RawAnswer:
        """See :meth:`PredictClient.predict_raw`."""
        sending = self._sending(None, timeout)
        return await self._run(conversations.predict_raw(self.endpoint, inputs, outputs, sending))

    async def model_status(self, *, timeout: Optional[float] = None) -> list[VersionStatus]:
        """See :meth:`PredictClient.model_status`."""
        return await self._run(conversations.model_status(self.endpoint, timeout))

    async def metadata(self, *, timeout: Optional[float] = None) -> ModelMetadata:
        """See :meth:`PredictClient.metadata`."""
        return await self._run(conversations.metadata(self.endpoint, timeout))

    async def health(self, service: str = "", *, timeout: Optional[float] = None) -> Health:
        """See :meth:`PredictClient.health`."""
        return await self._run(conversations.health(service, timeout))

    async def wait_until_ready(self, timeout: float = 60.0) -> list[VersionStatus]:
        """See :meth:`PredictClient.wait_until_ready`."""
        return await self._run(conversations.wait_until_ready(self.endpoint, timeout))

    async def __aenter__(self) -> AsyncPredictClient:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()
