"""The scores of several heads: each head's own scores, on the rows with a label for it, and their mean."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpipeline.console import plural
from tfpipeline.errors import UserError
from tfpipeline.tasks.base import Task
from tfpipeline.tasks.multitask.rows import HeadSequence
from tfpipeline.tasks.scorer import Arrays, Scorer

if TYPE_CHECKING:
    from tfpipeline.data import Example
    from tfpipeline.tasks.multitask.task import Multitask

MEAN = "mean"
SHARE = "share"  # the target with the weight of a row for a head


class MultitaskScorer(Scorer):
    """Scores each head by its own task's scorer."""

    task: Multitask
    best_metric = MEAN

    def __init__(self, task: Multitask) -> None:
        super().__init__(task)
        self.lower_is_better = frozenset(
            f"{name}/{metric}" for name, part in task.parts.items() for metric in part.scorer.lower_is_better
        )

    def metrics(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> dict[str, float]:
        """Each head's metrics, and ``mean``: the mean of the heads' best metrics, where those for which lower
        is better are subtracted.
        """
        scores: dict[str, float] = {}
        for name, part, rows in self._scored(predictions, targets, weights):
            own = part.scorer.metrics(*_of_rows(name, rows, predictions, targets), weights[rows])
            scores.update({f"{name}/{metric}": value for metric, value in own.items()})
        if not scores:
            raise UserError(
                "there is nothing to score: no row has a label for one of the heads and a weight above 0"
            )
        best = [f"{name}/{part.scorer.best_metric}" for name, part in self.task.parts.items()]
        signed = [
            -scores[metric] if metric in self.lower_is_better else scores[metric]
            for metric in best
            if metric in scores
        ]
        return {MEAN: float(np.mean(signed)), **scores}

    def intervals(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> dict[str, tuple[float, float]]:
        intervals = {}
        for name, part, rows in self._scored(predictions, targets, weights):
            own = part.scorer.intervals(*_of_rows(name, rows, predictions, targets), weights[rows])
            intervals.update({f"{name}/{metric}": interval for metric, interval in own.items()})
        return intervals

    def report(self, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> str:
        tables = []
        for name, part, rows in self._scored(predictions, targets, weights):
            table = part.scorer.report(*_of_rows(name, rows, predictions, targets), weights[rows])
            tables.append(f"{name} ({len(rows)} {plural(len(rows), 'row')})\n\n{table}")
        return "\n".join(tables)

    def baseline(
        self, train: Sequence[Example], test: Sequence[Example]
    ) -> tuple[str, dict[str, np.ndarray]] | None:
        titles, predictions = [], {}
        heads = self.task.options.head_columns
        labelled = np.zeros((len(heads), len(train)), bool)
        for number, example in enumerate(train):
            labelled[:, number] = [head.row(example) is not None for head in heads]
        for head, its_rows in zip(heads, labelled):
            own = self.task.parts[head.name].scorer.baseline(
                HeadSequence(head, train, np.flatnonzero(its_rows)),
                HeadSequence(head, test, np.arange(len(test))),
            )
            if own is not None:
                titles.append(own[0])
                predictions.update({f"{head.name}/{key}": values for key, values in own[1].items()})
        return (", ".join(dict.fromkeys(titles)), predictions) if titles else None

    def mistakes(self, predictions: Arrays, targets: Arrays) -> list[tuple[int, str, str]]:
        by_head = []
        for name, part in self.task.parts.items():
            rows = labelled_rows(name, targets)
            own = part.scorer.mistakes(*_of_rows(name, rows, predictions, targets))
            by_head.append([(int(rows[row]), f"{name}: {want}", got) for row, want, got in own])
        # The worst of each head first, then the second worst of each, because readers look at the first few.
        turns = itertools.zip_longest(*by_head)
        return [mistake for turn in turns for mistake in turn if mistake is not None]

    def near_ties(self, predictions: Arrays, tolerance: float) -> np.ndarray:
        ties = [
            part.scorer.near_ties(of_head(name, predictions), tolerance)
            for name, part in self.task.parts.items()
        ]
        return np.any(ties, axis=0)

    def right(self, predictions: Arrays, targets: Arrays) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        results = {}
        for name in dict.fromkeys(output.rpartition("/")[0] for output in self.task.abstains()):
            part, rows = self.task.parts[name], labelled_rows(name, targets)
            own = part.scorer.right(*_of_rows(name, rows, predictions, targets))
            results.update({f"{name}/{key}": (rows[numbers], right) for key, (numbers, right) in own.items()})
        return results

    def figures(self, predictions: Arrays, targets: Arrays) -> dict[str, Any]:
        figures = {}
        for name, part in self.task.parts.items():
            rows = labelled_rows(name, targets)
            if len(rows):
                own = part.scorer.figures(*_of_rows(name, rows, predictions, targets))
                figures.update({f"{name}-{title}": figure for title, figure in own.items()})
        return figures

    def tune(self, head: Any, predictions: Arrays, targets: Arrays, weights: np.ndarray) -> Arrays:
        tuned = dict(predictions)
        for name, part, rows in self._scored(predictions, targets, weights):
            own = part.scorer.tune(
                head.heads[name], *_of_rows(name, rows, predictions, targets), weights[rows]
            )
            for key, values in own.items():
                changed = np.array(predictions[f"{name}/{key}"])
                changed[rows] = values
                tuned[f"{name}/{key}"] = changed
        return tuned

    def _scored(
        self, predictions: Arrays, targets: Arrays, weights: np.ndarray
    ) -> Iterator[tuple[str, Task, np.ndarray]]:
        """The heads for which these rows and predictions can be scored, with the rows' numbers."""
        for name, part in self.task.parts.items():
            rows = labelled_rows(name, targets)
            if len(rows) and (weights[rows] > 0).any() and of_head(name, predictions):
                yield name, part, rows


def labelled_rows(name: str, targets: Arrays) -> np.ndarray:
    """The numbers of the rows with a label for a head, int64."""
    return np.flatnonzero(targets[f"{name}/{SHARE}"] > 0)


def of_head(name: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """A head's own entries, under their own names."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def take(arrays: Arrays, rows: np.ndarray | Sequence[int]) -> dict[str, np.ndarray]:
    """The given rows of each array."""
    return {name: array[rows] for name, array in arrays.items()}


def _of_rows(name: str, rows: np.ndarray, predictions: Arrays, targets: Arrays) -> tuple[Arrays, Arrays]:
    """A head's own predictions and targets for the given rows."""
    return take(of_head(name, predictions), rows), take(of_head(name, targets), rows)
