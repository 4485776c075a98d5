"""Interface of a task's scorer: the metrics, and what a report shows."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tfpipeline.data import Example

Arrays = Mapping[str, np.ndarray]
# The number of times that each token id occurs in the training rows, int64 [V]; counted when it is called.
Counts = Callable[[], np.ndarray]
# M texts -> their vectors, float32 [M, D], from the model that is being scored.
Embed = Callable[[Sequence[str]], np.ndarray]


class Mistake(NamedTuple):
    """A wrong prediction, as a report shows it.

    Attributes:
        text: the text of the row.
        expected: what is right.
        predicted: what the model predicted.
        source: the row's file and line.
    """

    text: str
    expected: str
    predicted: str
    source: str = ""


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

    def check(self, examples: Sequence[Example]) -> None:
        """Check rows that are about to be scored in an evaluation, before any model is run.

        Raises:
            UserError: they cannot be scored; names the first row's file and line.
        """
        return None

    def complete(self, predictions: Arrays, targets: Arrays, embed: Embed | None = None) -> Arrays:
        """Add what follows from the predictions of all rows together, such as ranks in a search.

        It is called once; all methods below receive the result. By default nothing is added. Predictions that
        are already complete are returned unchanged.

        Args:
            predictions, targets: see the class.
            embed: embeds further texts, such as those of a corpus; None in validation, where only the rows
                are scored.
        """
        return predictions

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

    def token_baseline(self, counts: Counts, predictions: Arrays) -> tuple[str, dict[str, np.ndarray]] | None:
        """Like :meth:`baseline`, but of a model that only knows how often each token occurs; None if there is
        none.

        Args:
            counts: counts the tokens of the training rows.
            predictions: those of the trained model, which say what it was asked for.
        """
        return None

    def baselines(
        self, train: Sequence[Example] | None, test: Sequence[Example]
    ) -> Iterable[tuple[str, Arrays]]:
        """The models to compare with: the name of each, and its complete predictions for ``test``.

        By default this is the :meth:`baseline`, if there are training rows.

        Args:
            train: the training rows; None if they are not known, as those of a fine-tuned checkpoint.
            test: the rows to predict.
        """
        found = None if train is None else self.baseline(train, test)
        return () if found is None else (found,)

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        """Rows with a wrong prediction, the worst first: (row, expected, predicted); by default none."""
        return []

    def shown_mistakes(
        self, predictions: Arrays, targets: Arrays, examples: Sequence[Example], most: int
    ) -> list[Mistake]:
        """The first ``most`` of the :meth:`mistakes`, with the texts and the places of their rows.

        A task overrides this if the texts of other rows belong to a mistake.

        Args:
            predictions, targets: see the class.
            examples: the N rows.
            most: the number of mistakes to show at most.
        """
        return [
            Mistake(examples[row].joined_text, expected, predicted, examples[row].source)
            for row, expected, predicted in self.mistakes(predictions, targets)[:most]
        ]

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
