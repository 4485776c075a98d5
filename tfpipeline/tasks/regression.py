"""Regression: a number for each text (or pair of texts).

The model learns the number as standard deviations from the mean of the training rows. So every unit trains
with the same learning rate, and an untrained head starts at the mean. Predictions and scores are in the
data's own unit.
Loss: squared error, or Huber's (Huber 1964, doi 10.1214/aoms/1177703732), in standard deviations.
Served answer: ``value`` float32 [B].
"""

from __future__ import annotations

import dataclasses
import operator
from array import array
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tfpipeline.checkpoints.heads import CheckpointHead
from tfpipeline.data.records import parse_float, shortened
from tfpipeline.errors import UserError
from tfpipeline.tasks import _explained
from tfpipeline.tasks._pooled import PooledOptions, PooledTask
from tfpipeline.tasks.options import Fitter
from tfpipeline.tasks.scorer import Arrays, Scorer

if TYPE_CHECKING:
    import tensorflow as tf

    from tfpipeline.checkpoints.checkpoint import Checkpoint
    from tfpipeline.data import Example

_LARGEST = float(np.finfo(np.float32).max)
_STEPS = 100  # minimum number of distinct float32 values per standard deviation
_MISTAKES = 100  # only the worst: every row is slightly wrong


class RegressionScorer(Scorer):
    """Scores predicted numbers."""

    task: Regression
    best_metric = "pearson"
    lower_is_better = frozenset({"rmse", "mae"})

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        from tfpipeline.metrics import regression

        return regression.compute(targets["value"], predictions["value"], weights)

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        from tfpipeline.metrics import regression

        return regression.confidence_intervals(targets["value"], predictions["value"], weights)

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        from tfpipeline.metrics import regression

        return regression.report(targets["value"], predictions["value"], weights)

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        from tfpipeline.metrics.baseline import tfidf_ridge

        values = tfidf_ridge(
            [example.joined_text for example in train],
            _values(train),
            [example.joined_text for example in test],
        )
        return "TF-IDF + ridge regression", {"value": values.astype(np.float32)}

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        values, truth = predictions["value"], targets["value"]
        worst_first = np.argsort(-np.abs(values - truth), kind="stable")[:_MISTAKES]
        return [(int(row), f"{truth[row]:g}", f"{values[row]:.4g}") for row in worst_first]

    def figures(self, predictions: Arrays, targets: Arrays) -> dict[str, Any]:
        from matplotlib.figure import Figure

        values, truth = predictions["value"], targets["value"]
        figure = Figure(figsize=(5, 5))
        axes = figure.subplots()
        axes.scatter(truth, values, s=4, alpha=0.4)
        axes.axline((float(truth.mean()),) * 2, slope=1, color="grey", linewidth=1)
        axes.set(xlabel="expected", ylabel="predicted")
        return {"scatter": figure}


class Regression(PooledTask):
    """Predicts one number per text; see the module."""

    options: RegressionOptions
    scorer_class = RegressionScorer
    outputs = 1

    def __init__(self, options: RegressionOptions, fitted: Mapping[str, float]) -> None:
        super().__init__(options, dict(fitted))
        self.mean, self.scale = fitted["mean"], fitted["scale"]

    def checkpoint_head(self, head: Any) -> CheckpointHead:
        """Convert the head, with the mean and scale of the training rows folded into the dense layer."""
        converted = super().checkpoint_head(head)
        tensors = {}
        for name, weights in converted.tensors.items():
            scaled = weights.astype(np.float64) * self.scale
            tensors[name] = (scaled + self.mean if name.endswith("/bias") else scaled).astype(np.float32)
        return dataclasses.replace(converted, tensors=tensors)

    def targets(self, examples: Sequence[Example], *, training: bool = False) -> dict[str, np.ndarray]:
        return {"value": _values(examples).astype(np.float32)}

    def loss(self, outputs: Mapping[str, tf.Tensor], targets: Mapping[str, tf.Tensor]) -> tf.Tensor:
        import tensorflow as tf

        logits = outputs["logits"][:, 0]
        wanted = (tf.cast(targets["value"], logits.dtype) - self.mean) / self.scale
        error = tf.abs(logits - wanted)
        if self.options.loss == "mse":
            return error * error
        delta = self.options.delta
        return tf.where(error <= delta, 0.5 * error * error, delta * (error - 0.5 * delta))

    def temperatures(self) -> Mapping[str, tuple[int, ...]]:
        raise UserError("a regression predicts a number, not a probability, so nothing can be calibrated")

    def abstains(self) -> Sequence[str]:
        raise UserError("a regression predicts a number, not a probability, so it cannot abstain")

    def predictions(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        import tensorflow as tf

        scale, mean = (self.of_rows(operator.attrgetter(name), inputs) for name in ("scale", "mean"))
        value = tf.cast(outputs["logits"][:, 0], tf.float32)
        return {"value": value * tf.cast(scale, tf.float32) + tf.cast(mean, tf.float32)}

    def pair_score_labels(self) -> Sequence[str]:
        return ()

    def pair_score(self, outputs: Mapping[str, tf.Tensor], label: str | None) -> tf.Tensor:
        """The predicted number."""
        return self.predictions(outputs, {})["value"]

    def explanation_target(
        self, outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor], wanted: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """The predicted number, whose name is ``value``."""
        import tensorflow as tf

        known = tf.equal(wanted, "") | tf.equal(wanted, "value")
        wanted = _explained.require(known, wanted, "value, as the task has no labels")
        return {"label": tf.fill(tf.shape(wanted), "value")}

    def explained(self, outputs: Mapping[str, tf.Tensor], target: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The predicted number, in the data's unit."""
        return self.predictions(outputs, {})["value"]


class RegressionOptions(PooledOptions):
    """The ``task`` section of a run file for regression."""

    problem_type: ClassVar[str] = "regression"
    task_class = Regression

    name: Literal["regression"] = "regression"
    loss: Literal["mse", "huber"] = Field(
        "mse", description="Mean squared error, or the Huber loss, which is less sensitive to outliers."
    )
    delta: float = Field(
        1.0, gt=0, description="huber only: the error, in standard deviations, from which the loss is linear."
    )

    def strata(self, example: Example) -> Collection[Hashable]:
        return ()  # numbers are not classes, so the split is random

    def preprocess(self, example: Example) -> Example:
        _value(example)
        return example

    def fitter(self) -> Fitter:
        return _RegressionFitter(self)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Regression:
        cls.require_pooler(checkpoint)
        if len(checkpoint.labels) != 1:
            raise UserError(
                f"{checkpoint} is a regression of {len(checkpoint.labels)} numbers; one of a single number "
                "can be used"
            )
        return Regression(cls(pooling="pooler"), {"mean": 0.0, "scale": 1.0})


class _RegressionFitter(Fitter):
    """Collects the numbers and their weights, 16 bytes per row."""

    def __init__(self, options: RegressionOptions) -> None:
        self._options = options
        self._values, self._weights = array("d"), array("d")

    def add(self, example: Example) -> None:
        self._values.append(_value(example))
        self._weights.append(example.weight)

    def finish(self) -> Regression:
        values, weights = np.frombuffer(self._values), np.frombuffer(self._weights)
        mean = float(np.average(values, weights=weights))
        scale = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
        if not scale > 0:
            raise UserError(
                f"all training rows have the value {mean:g}; a regression needs at least two different ones"
            )
        if np.spacing(np.float32(abs(mean))) > scale / _STEPS:
            raise UserError(
                f"the training rows' numbers lie within {scale:.3g} of {mean:.10g}, too close for float32 to "
                "distinguish; subtract a constant from the label column"
            )
        return Regression(self._options, {"mean": mean, "scale": scale})


def _values(examples: Sequence[Example]) -> np.ndarray:
    """The rows' numbers, float64 [N], each within the range of float32."""
    return np.fromiter(map(_value, examples), np.float64, len(examples))


def _value(example: Example) -> float:
    """A row's number."""
    if example.label is None:
        raise UserError(
            f"{example.source}: the row has no number in the label column; write one or remove the row"
        )
    value = parse_float(example.label)
    if not abs(value) <= _LARGEST:  # also when it is NaN
        raise UserError(
            f'{example.source}: the label "{shortened(example.label)}" is not a finite float32 number; '
            "correct the row or remove it"
        )
    return value


OPTIONS = RegressionOptions
