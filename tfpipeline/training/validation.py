"""A run's validation rows, which calibration and other decisions after training are based on."""

from __future__ import annotations

from tfpipeline.errors import UserError
from tfpipeline.training.inference import Inference, Predictions, See
from tfpipeline.training.prediction_graph import PredictionGraph
from tfpipeline.training.rows import read_targets
from tfpipeline.training.trained_model import TrainedModel

SPLIT = "validation"


def require_validation_rows(run: TrainedModel, what: str) -> None:
    """Raise a UserError if a run (or a checkpoint) has no validation rows.

    Args:
        run: the run.
        what: what needs the rows, such as an option.
    """
    if not run.has_split(SPLIT):
        raise UserError(
            f"{what} needs validation rows, and {run.name} has none; train with data.validation, or with "
            "data.split.validation"
        )


class ValidationRows:
    """The validation rows of a run, with their tokens and targets.

    Args:
        run: a run with validation rows.

    Attributes:
        targets: the targets, as the task defines them.
        weights: weights of the rows, float64 [N].
    """

    def __init__(self, run: TrainedModel) -> None:
        self.task = run.task
        self.examples = run.examples(SPLIT)
        self.targets, self.weights = read_targets(run.task, self.examples)
        self.cache = run.token_cache(SPLIT, self.examples)
        self._inferences: list[Inference] = []

    def __len__(self) -> int:
        return len(self.examples)

    def predict(self, graph: PredictionGraph, title: str, see: See | None = None) -> Predictions:
        """A model's predictions for the rows, with progress under ``title``; ``see`` as for ``Inference``."""
        inference = Inference(graph)
        # Kept alive: TensorFlow counts retracing by a function's address, which a new function could reuse.
        self._inferences.append(inference)
        return inference(self.examples, self.cache, self.targets, title, self.weights, see)

    def scores(self, predictions: Predictions) -> dict[str, float]:
        """The loss and the task's metrics."""
        return predictions.scores(self.task, self.targets, self.weights)
