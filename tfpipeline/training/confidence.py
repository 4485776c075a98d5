"""How sure answers are: what is fitted on validation rows after training, and applied in the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfpipeline.tasks import Task


@dataclasses.dataclass(frozen=True)
class Confidence:
    """What makes a trained model's probabilities honest, and lets it abstain.

    Args:
        temperatures: those of ``Task.temperatures``, float32; none leaves the probabilities as trained.
        thresholds: output name -> the least confidence of an answer that is given; an answer below it
            abstains. By default there are no such outputs.
    """

    temperatures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def calibrated(self, task: Task, outputs: Mapping[str, tf.Tensor]) -> Mapping[str, tf.Tensor]:
        """A model's outputs at the temperatures, in the graph."""
        if not self.temperatures:
            return outputs
        return task.at_temperatures(outputs, {name: tf.constant(t) for name, t in self.temperatures.items()})

    def abstentions(self, task: Task, predictions: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The outputs that say which answers abstain, int32 [B], 1 for those that do; in the graph."""
        if not self.thresholds:
            return {}
        sure = task.confidences(predictions)
        return {
            name: tf.cast(sure[name] < np.float32(threshold), tf.int32)
            for name, threshold in self.thresholds.items()
        }

    def near_ties(self, task: Task, predictions: Mapping[str, np.ndarray], tolerance: float) -> np.ndarray:
        """Rows, bool [N], in which a rounding may decide whether the answer abstains."""
        ties = np.zeros(len(next(iter(predictions.values()))), bool)
        sure = task.confidences(predictions) if self.thresholds else {}
        for name, threshold in self.thresholds.items():
            ties |= np.abs(np.asarray(sure[name]) - threshold) <= tolerance
        return ties

    def identity(self) -> dict[str, Any]:
        """All of it, as JSON has it; rounded, as what is fitted on float32 outputs is no more exact."""
        return {
            "temperatures": {name: np.round(t, 5).tolist() for name, t in self.temperatures.items()},
            "thresholds": {name: round(float(t), 6) for name, t in self.thresholds.items()},
        }


UNFITTED = Confidence()
