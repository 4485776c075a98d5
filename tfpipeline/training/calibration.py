"""Calibrates a model's probabilities on rows that it was not trained on.

A temperature divides logits, so it changes the confidence of predictions but not the predictions themselves.
It minimizes the negative log-likelihood of the rows (Guo et al. 2017, arXiv:1706.04599, section 4.2), which
is a convex function of 1 / temperature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfpipeline.console import say
from tfpipeline.errors import UserError
from tfpipeline.tasks import Task
from tfpipeline.training.confidence import Confidence
from tfpipeline.training.inference import Predictions
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.validation import ValidationRows

# Scores that depend on how sure a model is, not only on what it predicts.
SCORES_OF_CONFIDENCE = frozenset({"loss", "expected_calibration_error"})
LEAST, MOST = 0.05, 20.0  # temperatures
Slopes = dict[str, np.ndarray]

_SHOWN = 5  # names listed in a message
_STEPS = 26  # bisections of the range between LEAST and MOST: seven digits


def calibrated_title(title: str) -> str:
    """The title of a model's scores with fitted temperatures, in a report that also has those without."""
    return f"{title}, calibrated"


class Batch(NamedTuple):
    """What is kept per batch.

    Attributes:
        rows: row numbers, int [B].
        outputs: the model's outputs.
        inputs: the other inputs of the predictions.
        targets: the batch with the targets of the loss, and the tokens.
        weights: weights of the rows, float64 [B].
    """

    rows: np.ndarray
    outputs: dict[str, tf.Tensor]
    inputs: dict[str, tf.Tensor]
    targets: dict[str, tf.Tensor]
    weights: tf.Tensor


class Collected:
    """Collects a model's outputs for a set of rows with their targets; passed as ``see`` to an ``Inference``.

    Memory: the head's outputs for all rows, and the rows' tokens.

    Args:
        weights: of the rows, float64 [N].
    """

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights
        self.batches: list[Batch] = []

    def __call__(
        self,
        rows: np.ndarray,
        outputs: Mapping[str, tf.Tensor],
        inputs: Mapping[str, tf.Tensor],
        targets: Mapping[str, tf.Tensor],
    ) -> None:
        """Keep a batch."""
        weights = tf.constant(self._weights[rows], tf.float64)
        self.batches.append(Batch(rows, dict(outputs), dict(inputs), dict(targets), weights))

    def predictions(self, task: Task, confidence: Confidence) -> Predictions:
        """The model's predictions for the rows with another confidence."""

        @tf.function(reduce_retracing=True, autograph=False)
        def predict(
            outputs: Mapping[str, tf.Tensor],
            inputs: Mapping[str, tf.Tensor],
            targets: Mapping[str, tf.Tensor],
        ) -> tuple[Mapping[str, tf.Tensor], tf.Tensor]:
            outputs = confidence.calibrated(task, outputs)
            return task.scored_predictions(outputs, inputs), task.loss(outputs, targets)

        joined: dict[str, np.ndarray] = {}
        losses = np.empty(len(self._weights), np.float32)
        for batch in self.batches:
            predictions, own = predict(batch.outputs, batch.inputs, batch.targets)
            for name, tensor in predictions.items():
                array = tensor.numpy()
                if name not in joined:
                    joined[name] = np.empty((len(losses), *array.shape[1:]), array.dtype)
                joined[name][batch.rows] = array
            losses[batch.rows] = own.numpy()
        return Predictions(joined, losses)


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Fitted temperatures.

    Attributes:
        temperatures: name -> float32 array, of the shape that the task defines.
        unfitted: the names of temperatures that the rows do not determine and that stay 1; ``NAME[index]``
            for one label's temperature.
    """

    temperatures: Mapping[str, np.ndarray]
    unfitted: Sequence[str]


def fit_temperatures(task: Task, collected: Collected) -> Fitted:
    """Fit the temperatures with the highest likelihood.

    A temperature has no optimum between 0.05 and 20 if all predictions are right (higher confidence is always
    better), or if a label has no rows. It then stays 1. Computed in float64.

    Args:
        task: has ``temperatures``.
        collected: the outputs and targets of the rows.
    Raises:
        UserError: the task does not support calibration.
    """
    shapes = task.temperatures()
    low = {name: np.full(shape, np.log(1 / MOST)) for name, shape in shapes.items()}
    high = {name: np.full(shape, np.log(1 / LEAST)) for name, shape in shapes.items()}
    slopes_at = _slopes_of(task, collected)
    falls, rises = slopes_at(low), slopes_at(high)
    told = {name: (falls[name] < 0) & (rises[name] > 0) for name in shapes}
    for _ in range(_STEPS):
        middle = {name: (low[name] + high[name]) / 2 for name in shapes}
        slopes = slopes_at(middle)
        for name in shapes:
            beyond = slopes[name] < 0  # the minimum is at a larger 1 / temperature
            low[name] = np.where(beyond, middle[name], low[name])
            high[name] = np.where(beyond, high[name], middle[name])
    temperatures, unfitted = {}, []
    for name, shape in shapes.items():
        fitted = np.where(told[name], np.exp(-(low[name] + high[name]) / 2), 1)
        temperatures[name] = np.round(fitted, 6).astype(np.float32)
        missing = np.flatnonzero(~np.atleast_1d(told[name]))
        unfitted += [f"{name}[{index}]" if shape else name for index in missing]
    return Fitted(temperatures, unfitted)


def _slopes_of(task: Task, collected: Collected) -> Callable[[Mapping[str, np.ndarray]], Slopes]:
    """A function from logarithms of 1 / temperature to the derivatives of the rows' negative log-likelihood
    with respect to 1 / temperature; both are float64.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def slopes(
        outputs: Mapping[str, tf.Tensor],
        targets: Mapping[str, tf.Tensor],
        weights: tf.Tensor,
        inverse: Mapping[str, tf.Tensor],
    ) -> Any:
        wide = {
            name: tf.cast(tensor, tf.float64) if tensor.dtype.is_floating else tensor
            for name, tensor in outputs.items()
        }
        with tf.GradientTape() as tape:
            tape.watch(inverse)
            scaled = task.at_temperatures(wide, {name: 1 / value for name, value in inverse.items()})
            total = tf.reduce_sum(weights * task.likelihood_losses(scaled, targets))
        return tape.gradient(total, inverse)

    def at(logs: Mapping[str, np.ndarray]) -> Slopes:
        inverse = {name: tf.constant(np.exp(value), tf.float64) for name, value in logs.items()}
        total = {name: np.zeros_like(value) for name, value in logs.items()}
        for batch in collected.batches:
            for name, slope in slopes(batch.outputs, batch.targets, batch.weights, inverse).items():
                total[name] = total[name] + slope.numpy()
        return total

    return at


def calibrate(graph: PredictionGraph, rows: ValidationRows) -> tuple[Fitted, Predictions, Predictions]:
    """Fit the temperatures of a trained model on validation rows.

    Returns:
        The temperatures, and the model's predictions for the rows before and after calibration.
    Raises:
        UserError: the task does not support calibration.
    """
    graph.task.temperatures()  # raises before the expensive work
    collected = Collected(rows.weights)
    before = rows.predict(graph, "validation rows", collected)
    fitted = fit_temperatures(graph.task, collected)
    if fitted.unfitted:
        names = ", ".join([*fitted.unfitted[:_SHOWN], *(["..."] if len(fitted.unfitted) > _SHOWN else [])])
        say(f"warning: the validation rows do not determine the temperature, which stays 1: {names}")
    return fitted, before, collected.predictions(graph.task, Confidence(fitted.temperatures))


@dataclasses.dataclass(frozen=True)
class Abstention:
    """The confidence from which on a model answers, and the effect on the rows.

    Attributes:
        threshold: predictions with a lower confidence abstain; 0 to 1.
        coverage: share of the rows that are answered.
        right: share of the answered rows that are right.
    """

    threshold: float
    coverage: float
    right: float


def abstention(confidences: np.ndarray, right: np.ndarray, weights: np.ndarray, share: float) -> Abstention:
    """The lowest threshold at which at least a given share of the answered rows is right.

    The threshold is midway between two neighbouring confidences, so that no confidence is close to it. If no
    float32 lies between them, it is the upper one. If all rows can be answered, it is 0.

    Args:
        confidences: float [N], 0 to 1; compared as float32, as in the served model.
        right: bool [N], whether the answers are right.
        weights: float [N], at least 0.
        share: the required share; above 0, at most 1.
    Raises:
        UserError: even the most confident predictions are right less often, or no row has a weight above 0.
    """
    counted = weights > 0
    sure, right, weights = confidences[counted].astype(np.float32), right[counted], weights[counted]
    falling = np.argsort(-sure, kind="stable")
    sure = sure[falling]
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True)) if len(sure) else np.zeros(0, np.int64)
    answered = weights[falling].cumsum()[last]
    shares = (weights * right)[falling].cumsum()[last] / answered
    enough = np.flatnonzero(shares >= share * (1 - 1e-12))
    if not len(enough):
        best = f"; at best {shares.max():.4g} of the answered ones are" if len(shares) else ""
        raise UserError(
            f"no threshold makes {share:g} of the answered validation rows right{best}; ask for a lower "
            "share, or train a better model"
        )
    place = int(enough[-1])
    threshold = np.float32(0)
    if place + 1 < len(last):
        lower, upper = sure[last[place + 1]], sure[last[place]]
        middle = np.float32((np.float64(lower) + np.float64(upper)) / 2)
        threshold = middle if middle > lower else upper
    return Abstention(float(threshold), float(answered[place] / weights.sum()), float(shares[place]))
