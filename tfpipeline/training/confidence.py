"""Temperatures and abstention thresholds: fitted on validation rows after training, applied in the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.tasks import Task


@dataclasses.dataclass(frozen=True)
class Confidence:
    """Calibrates a trained model's probabilities, and lets the model abstain.

    Args:
        temperatures: the temperatures named by ``Task.temperatures``, float32; if empty, the probabilities
            stay as trained.
        thresholds: output name -> minimum confidence; a prediction with a lower confidence abstains. By
            default there are no such outputs.
    """

    temperatures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def calibrated(self, task: Task, outputs: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """A model's outputs with the temperatures applied, in the graph."""
        if not self.temperatures:
            return outputs
        return task.at_temperatures(outputs, {name: tf.constant(t) for name, t in self.temperatures.items()})

    def abstentions(self, task: Task, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs that mark abstentions, int32 [B], 1 where the model abstains; in the graph."""
        if not self.thresholds:
            return {}
        sure = task.confidences(predictions)
        return {
            name: tf.cast(sure[name] < np.float32(threshold), tf.int32)
            for name, threshold in self.thresholds.items()
        }

    def near_ties(self, task: Task, predictions: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
        """The rows in which rounding may decide whether the model abstains, bool [N]."""
        ties = np.zeros(len(next(iter(predictions.values()))), bool)
        sure = task.confidences(predictions) if self.thresholds else {}
        for name, threshold in self.thresholds.items():
            ties |= np.abs(np.asarray(sure[name]) - threshold) <= tolerance
        return ties

    def identity(self) -> dict[str, Any]:
        """All values as JSON, rounded: values fitted on float32 outputs are not more exact."""
        return {
            "temperatures": {name: np.round(t, 5).tolist() for name, t in self.temperatures.items()},
            "thresholds": {name: round(float(t), 6) for name, t in self.thresholds.items()},
        }


UNFITTED = Confidence()
