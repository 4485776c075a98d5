"""Interface of a task's scorer: the metrics, and what a report shows."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tfpipeline.data import Example

Arrays = Mapping[str, np.ndarray]


class Scorer(abc.ABC):
    """Scores a task's predictions: metrics, and the contents of the report.

    ``predictions`` come from ``Task.scored_predictions``, ``targets`` from ``Task.targets``, and ``weights``
    are the weights of the rows. All are arrays over the N rows of a data set, each [N, ...].

    Args:
        task: the task that is scored.

    Attributes:
        best_metric: the metric that picks the best checkpoint unless the run file names another.
        lower_is_better: names of metrics for which lower is better (besides ``loss``).
    """

    best_metric: str
    lower_is_better: frozenset[str] = frozenset()

    def __init__(self, task: Any) -> None:
        self.task = task

    @abc.abstractmethod
    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        """Named scores over the data set."""

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals of some of the :meth:`metrics`, by name; by default none."""
        return {}

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        """The metrics as a table for readers; by default one line per metric."""
        scores = self.metrics(predictions, targets, weights)
        width = max(map(len, scores))
        return "".join(f"{name:<{width}}  {value:10.4f}\n" for name, value in scores.items())

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        """The name of a cheap model and its predictions for ``test``, to compare with; None if there is
        none.
        """
        return None

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        """Rows with a wrong prediction, the worst first: (row, expected, predicted); by default none."""
        return []

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        """Rows, bool [N], in which rounding may change strings or integers, because two deciding numbers are
        almost equal.
        """
        return np.zeros(len(next(iter(predictions.values()))), bool)

    def right(self, predictions: Arrays, targets: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Which predictions are entirely right.

        Returns:
            For each name from ``Task.abstains``, the numbers of the rows with a target, int [M], and whether
            their predictions are right, bool [M].
        """
        raise NotImplementedError

    def figures(self, predictions: Arrays, targets: Arrays) -> dict[str, Any]:
        """Plots for the report: name -> ``matplotlib.figure.Figure``.

        A figure's label (``set_label``), if it has one, is printed below it. Plots are drawn after the scores
        are saved. If a plot fails, a warning says so.
        """
        return {}

    def tune(self, head: Any, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> Arrays:
        """Tune values that are not trained (thresholds) on validation rows, before these are scored.

        The values are assigned to non-trainable variables of ``head``, so that they are saved, resumed and
        exported with the weights they belong to.

        Returns:
            The predictions with the tuned values.
        """
        return predictions
