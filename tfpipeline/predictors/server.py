"""Predictions of a running server."""

from __future__ import annotations

from typing import Any, Optional

from tfpipeline.predictors.base import GENERATE, Labels, Predictor, Texts
from tfpipeline.serving.client import Explanation, Generation, Hit, PredictClient, Prediction, generation


class ServerPredictor(Predictor):
    """Queries a running server with the thin client; see :class:`PredictClient` for the options."""

    def __init__(self, target: str, model: str, **options: Any) -> None:
        self._client = PredictClient(target, model=model, **options)
        self._signature = options.get("signature")

    def predict(
        self, texts: Texts, text_pair: Optional[Texts] = None, adapter: Labels = None
    ) -> list[Prediction]:
        if self._signature == GENERATE and text_pair is None:
            return list(self.generate(texts))
        return self._client.predict(texts, text_pair, adapter=adapter)

    def generate(self, texts: generation.Sources, **choices: Any) -> list[Generation]:
        return self._client.generate(texts, **choices)

    def explain(
        self, texts: Texts, text_pair: Optional[Texts] = None, labels: Labels = None
    ) -> list[Explanation]:
        return self._client.explain(texts, text_pair, labels=labels)

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        return self._client.search(queries, k)

    def close(self) -> None:
        self._client.close()
