"""Predictions of a run, or of a fine-tuned checkpoint, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from tfpipeline.console import say
from tfpipeline.errors import UserError, explain_missing_extra
from tfpipeline.paths import AnyPath
from tfpipeline.predictors.base import (
    GENERATE,
    SIGNATURE,
    Labels,
    Predictor,
    Texts,
    check_inputs,
    check_signature,
    explanations_of,
    utf8_inputs,
    written,
)
from tfpipeline.serving.client import Explanation, Generation, Hit, Prediction, generation, predictions
from tfpipeline.serving.client import texts as columns

if TYPE_CHECKING:
    from tfpipeline.training.trained_model import TrainedModel


class RunPredictor(Predictor):
    """Runs a trained run's model, or a fine-tuned checkpoint, in this process.

    Args:
        run: a run directory, a checkpoint in any form, or an open run.
        weights: "best", "last" or "initial".
        signature: a signature of the exported model that takes strings; it determines the unit of offsets.
    """

    def __init__(
        self, run: Union[AnyPath, TrainedModel], weights: str = "best", signature: str = SIGNATURE
    ) -> None:
        with explain_missing_extra():
            from tfpipeline.runtime import import_tensorflow

            import_tensorflow()
            from tfpipeline.export import signatures
            from tfpipeline.training import TrainedModel, open_run
        self._run = run if isinstance(run, TrainedModel) else open_run(run)
        units = signatures.text_signatures(self._run.task)
        further = {
            name: declared
            for name, declared in self._run.task.signatures().items()
            if declared.inputs.keys() <= {"text", "text_pair"}
        }
        writes = [name for name in self._run.task.signatures() if name == GENERATE]
        check_signature(self._run.name, signature, [*units, *further, *writes])
        self._signature = signature
        self._unit = units.get(signature, "code_points")
        self._declared = further.get(signature)
        self._writer: Optional[Callable[..., Any]] = None
        self._weights = weights
        self._explanations: Optional[Callable[[dict[str, Any]], Any]] = None
        self._model = self._run.model(weights)
        self._asked = False

    def predict(
        self, texts: Texts, text_pair: Optional[Texts] = None, adapter: Labels = None
    ) -> list[Prediction]:
        if self._signature == GENERATE and text_pair is None:
            return list(self.generate(texts))
        inputs = utf8_inputs(texts, text_pair, adapter)
        check_inputs("run", self._wanted(inputs), inputs)
        self._say_what_is_unknown(inputs["text"], inputs.get("text_pair"))
        if self._declared is not None:
            graph = self._run.graph(self._model)
            answers = self._declared.function(graph, inputs)
            return predictions.decode({name: tensor.numpy() for name, tensor in answers.items()})
        arrays = self._run.predict(self._model, inputs["text"], inputs.get("text_pair"), unit=self._unit)
        return predictions.decode(arrays)

    def explain(
        self, texts: Texts, text_pair: Optional[Texts] = None, labels: Labels = None
    ) -> list[Explanation]:
        from tfpipeline.export import explanations
        from tfpipeline.runtime import import_tensorflow

        tf = import_tensorflow()
        inputs = columns.explain_inputs(texts, text_pair, labels)
        check_inputs("run", [*self._run.text_inputs.names, explanations.LABEL], inputs)
        if self._explanations is None:
            explanations.check(self._run.task, self._run.model_config)
            # As it is exported, whatever precision it was trained in.
            graph = self._run.graph(self._run.model(self._weights, precision="float32"))
            text = {name: tf.TensorSpec([None], tf.string) for name in inputs}
            self._explanations = tf.function(
                explanations.Explanations(graph).__call__, input_signature=[text], autograph=False
            )
        second = list(inputs["text_pair"]) if self._run.has_pairs else None
        self._say_what_is_unknown(list(inputs["text"]), second)
        return explanations_of(tf, self._explanations, inputs)

    def search(self, queries: Texts, k: int = 10) -> list[list[Hit]]:
        name = self._run.name
        raise UserError(
            f"{name} is a model without an index; make one (tfpipeline index {name} --data FILE --to INDEX) "
            "and name it"
        )

    def generate(self, texts: generation.Sources, **choices: Any) -> list[Generation]:
        from tfpipeline.export.signatures import traced
        from tfpipeline.runtime import import_tensorflow

        declared = self._run.task.signatures().get(GENERATE)
        if declared is None:
            raise UserError(
                f"{self._run.name} is a model of the task {self._run.config.task.name}, which writes no texts"
            )
        if self._writer is None:
            self._writer = traced(declared, self._run.graph(self._model))
        return written(import_tensorflow(), self._writer, texts, choices)

    def _wanted(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """The inputs of a prediction: a task that does not ask for pairs may be given one."""
        if self._declared is not None:
            return tuple(self._declared.inputs)
        names = self._run.text_inputs.names
        options = self._run.config.task
        may_have_pair = options.encoding == "separate" and not options.asks_for_pairs
        return (*names, "text_pair") if may_have_pair and "text_pair" in given else names

    def _say_what_is_unknown(self, texts: list[bytes], text_pair: Optional[list[bytes]]) -> None:
        """Warn once, because the first texts show whether they are in the vocabulary's language."""
        if self._asked or not texts:
            return
        self._asked = True
        note = self._run.note_on_texts(texts, text_pair)
        if note is not None:
            say(note)
