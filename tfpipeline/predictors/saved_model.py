"""Predictions of a SavedModel in this process."""

from __future__ import annotations

from typing import Any, Optional

from tfpipeline import paths
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.paths import AnyPath
from tfpipeline.predictors.base import (
    EXPLAIN,
    GENERATE,
    SEARCH,
    SIGNATURE,
    Labels,
    Predictor,
    Texts,
    asked,
    check_inputs,
    check_signature,
    explanations_of,
    utf8_inputs,
    written,
)
from tfpipeline.serving.client import (
    Explanation,
    Generation,
    Hit,
    Prediction,
    checks,
    generation,
    predictions,
)
from tfpipeline.serving.client import texts as columns

_SEARCHED = 32  # queries at a time


class SavedModelPredictor(Predictor):
    """Runs a SavedModel in this process.

    Args:
        path: a version's directory, or a model's directory (its newest version is taken).
        signature: a signature that takes strings.
    """

    def __init__(self, path: AnyPath, signature: str = SIGNATURE) -> None:
        path = paths.expand(path).removeprefix("file://")
        with explain_missing_extra():
            from tfpipeline.runtime import import_tensorflow

            tf = import_tensorflow()
        self._tensorflow = tf
        try:
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            first = str(error).splitlines()[0]
            raise UserError(f"cannot load the SavedModel in {path}: {first}; export it again") from error
        check_signature(path, signature, self._model.signatures)
        self._path, self._signature = path, signature
        self._function = self._model.signatures[signature]
        self._inputs = list(self._function.structured_input_signature[1])

    def predict(
        self, texts: Texts, text_pair: Optional[Texts] = None, adapter: Labels = None
    ) -> list[Prediction]:
        if self._signature == GENERATE and text_pair is None:
            return list(self.generate(texts))
        inputs = utf8_inputs(texts, text_pair, adapter)
        check_inputs("SavedModel", self._inputs, inputs)
        return asked(self._tensorflow, self._function, inputs, "predict this")

    def explain(
        self, texts: Texts, text_pair: Optional[Texts] = None, labels: Labels = None
    ) -> list[Explanation]:
        if EXPLAIN not in self._model.signatures:
            raise UserError(f'{self._path} has no signature "{EXPLAIN}"; export it again with --explain')
        inputs = columns.explain_inputs(texts, text_pair, labels)
        function = self._model.signatures[EXPLAIN]
        check_inputs("SavedModel", function.structured_input_signature[1], inputs)
        return explanations_of(self._tensorflow, lambda asked: function(**asked), inputs)

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        if SEARCH not in self._model.signatures:
            raise UserError(f'{self._path} has no signature "{SEARCH}"; export it again with --index')
        checks.whole("k", k, 1)
        texts = utf8_inputs(queries, None)["text"]
        found: list[list[Hit]] = []
        for start in range(0, len(texts), _SEARCHED):
            part = texts[start : start + _SEARCHED]
            inputs = {"text": part, "k": [k] * len(part)}
            answers = asked(self._tensorflow, self._model.signatures[SEARCH], inputs, "search for this")
            found += [one.hits for one in answers if isinstance(one, predictions.SearchResult)]
        return found

    def generate(self, texts: generation.Sources, **choices: Any) -> list[Generation]:
        if GENERATE not in self._model.signatures:
            raise UserError(
                f'{self._path} has no signature "{GENERATE}"; export a run of the task generation'
            )
        return written(self._tensorflow, self._model.signatures[GENERATE], texts, choices)
