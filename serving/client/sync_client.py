"""The synchronous client."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Optional, TypeVar, Union, overload

import numpy as np

from tfpipeline.serving.client import conversations, generation, matching, streaming
from tfpipeline.serving.client.base import BaseClient
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
from tfpipeline.serving.client.sync_driver import SyncDriver

__all__ = ["PredictClient"]

_Kind = TypeVar("_Kind", bound=Prediction)
Text = Union[str, bytes]
Texts = Iterable[Text]
Adapter = Union[Texts, Text, None]


class PredictClient(SyncDriver):
    __doc__ = BaseClient.__doc__

    @overload
    def predict(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        expect: type[_Kind],
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[_Kind]: ...

    def predict(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        expect: type[Any] = Prediction,
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Predict for texts.

        Args:
            texts: str, or bytes in UTF-8. Without texts, no call is made.
            text_pair: the second text of each pair, for models of pairs.
            expect: the type of the predictions, such as :class:`Regression`, for type checkers and to be
                sure; by default any.
            adapter: the adapter of each text, or one for all, for models of several (``export --adapters``).
            batch_size: number of texts per request, those of similar lengths together; by default all in one.
                ``max_concurrency`` requests are sent at a time.
            timeout: maximum seconds per request; by default the client's timeout.
        Returns:
            One prediction per text, in order.
        Raises:
            AnswerError: the model's predictions are of another type than ``expect``.
            ClientError: see ``errors.py``; no other errors are raised intentionally.
        """
        sending = self._sending(batch_size, timeout)
        return self._run(conversations.predict(self.endpoint, texts, text_pair, sending, expect, adapter))

    def classify(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        adapter: Adapter = None,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[Classification]:
        """:meth:`predict` with ``expect=Classification``."""
        return self.predict(
            texts, text_pair, expect=Classification, adapter=adapter, batch_size=batch_size, timeout=timeout
        )

    def tag(
        self, texts: Texts, *, batch_size: Optional[int] = None, timeout: Optional[float] = None
    ) -> list[Tagging]:
        """:meth:`predict` with ``expect=Tagging``."""
        return self.predict(texts, expect=Tagging, batch_size=batch_size, timeout=timeout)

    def fill_mask(
        self, texts: Texts, *, batch_size: Optional[int] = None, timeout: Optional[float] = None
    ) -> list[FillMask]:
        """:meth:`predict` with ``expect=FillMask``: the most likely tokens for each [MASK] of a text."""
        return self.predict(texts, expect=FillMask, batch_size=batch_size, timeout=timeout)

    def answer(
        self,
        questions: Texts,
        passages: Texts,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[QuestionAnswering]:
        """:meth:`predict` with ``expect=QuestionAnswering``: each question is answered from its passage."""
        return self.predict(
            questions, passages, expect=QuestionAnswering, batch_size=batch_size, timeout=timeout
        )

    def embed(
        self,
        texts: Texts,
        *,
        prompt: Literal["query", "document"] = "query",
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> np.ndarray:
        """The vectors of texts, from a model of the task similarity.

        Args:
            texts: str, or bytes in UTF-8. Without texts, no call is made.
            prompt: whose prompt the model puts before the texts, if it was trained with prompts: that of
                queries, or that of the documents that are searched.
            batch_size, timeout: as of :meth:`predict`.
        Returns:
            float32 [N, D], in order; [0, 0] without texts.
        Raises:
            AnswerError: the model predicts something else.
            ClientError: see ``errors.py``.
        """
        sending = self._sending(batch_size, timeout)
        return self._run(matching.embed(self.endpoint, texts, prompt, sending))

    def similarity(
        self,
        texts: Texts,
        others: Texts,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> np.ndarray:
        """How similar two texts are, from a model of the task similarity.

        Args:
            texts: N texts, str, or bytes in UTF-8; they get the prompt of queries.
            others: N texts, each compared with the one in ``texts``; they get the prompt of documents.
            batch_size, timeout: as of :meth:`predict`.
        Returns:
            The cosines of their vectors, float32 [N].
        """
        sending = self._sending(batch_size, timeout)
        return self._run(matching.similarity(self.endpoint, texts, others, sending))

    def search(
        self,
        queries: Texts,
        k: int = 10,
        *,
        batch_size: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> list[list[Hit]]:
        """Search in the index of a model (``tfpipeline export --index``).

        Args:
            queries: N texts, str, or bytes in UTF-8.
            k: how many rows to find for each query, at most the ``--max-k`` of the export (100). An index
                with fewer rows gives all of them.
            batch_size, timeout: as of :meth:`predict`.
        Returns:
            For each query its hits, the best first; of equal scores the smaller id first.
        """
        sending = self._sending(batch_size, timeout)
        return self._run(matching.search(self.endpoint, queries, k, sending))

    def generate(
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
        """Write texts with a model of the task generation. A choice is one value for all texts, or a list
        with one for each; None for the model's own (``decoding`` in its card).

        Args:
            texts: N texts, str, or bytes in UTF-8; or dialogues, lists of turns: texts, or dicts with a
                ``text``.
            seed: 0 or more; the same seed and source give the same texts.
            do_sample, temperature, top_k, top_p: whether tokens are drawn at random, and from what.
            num_beams: of the search, if they are not; at most those of the model.
            min_new_tokens, max_new_tokens: the fewest and the most tokens. Fewer take less time.
            length_penalty, no_repeat_ngram_size, repetition_penalty, turn_separator: see docs/generation.md.
            batch_size, timeout: as of :meth:`predict`.
        Returns:
            For each text what was written, with all candidates.
        """
        sending = self._sending(batch_size, timeout)
        choices = generation.chosen(
            *(seed, do_sample, temperature, top_k, top_p, num_beams, min_new_tokens, max_new_tokens),
            *(length_penalty, no_repeat_ngram_size, repetition_penalty),
        )
        return self._run(generation.generate(self.endpoint, texts, choices, turn_separator, sending))

    @overload
    def predict_stream(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        adapter: Optional[Text] = None,
        batch_size: int = streaming.BATCH_SIZE,
        read_ahead: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Iterator[RowResult[Prediction]]: ...

    @overload
    def predict_stream(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        expect: type[_Kind],
        adapter: Optional[Text] = None,
        batch_size: int = streaming.BATCH_SIZE,
        read_ahead: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Iterator[RowResult[_Kind]]: ...

    def predict_stream(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        expect: type[Any] = Prediction,
        adapter: Optional[Text] = None,
        batch_size: int = streaming.BATCH_SIZE,
        read_ahead: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Iterator[RowResult[Any]]:
        """Predict for any number of texts, such as the lines of a file, without holding them all.

        A row that fails does not end the stream: its result has the error. A batch that the server refuses is
        divided, so that only the rows at fault fail.

        Args:
            texts: any iterable; it is read as the results are taken.
            text_pair: the second text of each pair, for models of pairs.
            expect: as of :meth:`predict`.
            adapter: the adapter of all texts, for models of several.
            batch_size: number of texts per request, those of similar lengths together. ``max_concurrency``
                requests are sent at a time.
            read_ahead: maximum number of texts that were read and whose results were not returned; by default
                16 batches per concurrent request. With 1, each result comes before the next text is read.
            timeout: maximum seconds per request; by default the client's timeout.
        Returns:
            One :class:`RowResult` per text, in order.
        Raises:
            InputError: ``texts`` is no iterable of texts, or the two have different lengths.
            CallError: no row can be predicted any more, for example because there is no such model.
            AnswerError: the model's predictions are of another type than ``expect``.
        """
        sending = self._sending(batch_size, timeout)
        ahead = streaming.read_ahead_of(read_ahead, sending)
        rows = streaming.rows(texts, text_pair)
        self._check_open()
        return self._drive(streaming.predict_stream(self.endpoint, sending, ahead, expect, adapter), rows)

    def explain(
        self,
        texts: Texts,
        text_pair: Optional[Texts] = None,
        *,
        labels: Union[Texts, Text, None] = None,
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
            batch_size: number of texts per request; None for all in one.
            timeout: seconds a request may take; by default the client's.
        Returns:
            One explanation a text, in their order.
        """
        sending = self._sending(batch_size, timeout)
        return self._run(conversations.explain(self.endpoint, texts, text_pair, labels, sending))

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
        """
        sending = self._sending(None, timeout)
        return self._run(conversations.predict_raw(self.endpoint, inputs, outputs, sending))

    def model_status(self, *, timeout: Optional[float] = None) -> list[VersionStatus]:
        """The states of the model's versions, the newest first; of the client's own only if it has one."""
        return self._run(conversations.model_status(self.endpoint, timeout))

    def metadata(self, *, timeout: Optional[float] = None) -> ModelMetadata:
        """The model's signatures: inputs and outputs by name, with dtype and shape."""
        return self._run(conversations.metadata(self.endpoint, timeout))

    def health(self, service: str = "", *, timeout: Optional[float] = None) -> Health:
        """Whether the server takes calls, by the standard health service (``grpc.health.v1``).

        It is asked once, without retries.

        Args:
            service: "" for the server as a whole.
            timeout: maximum seconds; by default the client's timeout.
        Raises:
            UnimplementedError: the server has no health service; ``tensorflow_model_server`` needs
                ``--enable_grpc_healthcheck_service``.
            NotFoundError: it does not know the service.
            ClientError: see ``errors.py``.
        """
        return self._run(conversations.health(service, timeout))

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

    def __enter__(self) -> PredictClient:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
